//! Checkpoints: header and tensors, as the input of children, soups and sessions (form of the input: [`safetensors`]).

use std::collections::BTreeSet;

use super::{file, folder, safetensors};
use pbtnas_core::checkpoint::{
    CheckpointError, Entry, InitialTensors, Meta, Reader, ShrinkPerturb, Surgery, offspring, soup, write,
};
use pbtnas_core::durable_fs::digest_file;
use pbtnas_core::search::{MemberId, RngKey};
use pbtnas_engine::synthetic::{SyntheticConfig, SyntheticTask};
use pbtnas_engine::task::{MemberContext, Seeds, Start, Task};

pub fn fuzz(input: &[u8]) {
    let path = file("checkpoint", &safetensors(input));
    let Ok(reader) = Reader::open(&path) else { return };

    // A checkpoint can be read to its end and rewritten with the same contents.
    let entries: Vec<Entry> = reader.entries().collect();
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names.len(), entries.len());
    let mut bytes = Vec::new();
    let written = write(&mut bytes, reader.meta(), entries.clone(), |entry, out| {
        assert_eq!(reader.entry(&entry.name), Some((entry.dtype, entry.shape.as_slice())));
        out.write_all(&reader.bytes(entry)?).map_err(CheckpointError::from)
    })
    .expect("what is read can be written");
    let copy = file("copy", &bytes);
    assert_eq!(digest_file(&copy).expect("it is there"), written);
    let again = Reader::open(&copy).expect("what is written can be read");
    assert_eq!(again.meta(), reader.meta());
    assert_eq!(again.entries().collect::<Vec<_>>(), entries);
    for entry in &entries {
        assert_eq!(again.bytes(entry).expect("a tensor"), reader.bytes(entry).expect("a tensor"));
    }

    // A parent.
    let config = SyntheticConfig { layers: 2, options: 3, steps_per_epoch: 2, ..SyntheticConfig::default() };
    let task = SyntheticTask::new(config);
    let genotype = &reader.meta().genotype;
    if task.space().check_genotype(genotype).is_err() {
        return;
    }
    let place = MemberContext::outside(Seeds { run: 1, generation: 1, member: MemberId(0) }, folder());
    let new = task.fresh(genotype, &place).expect("a genotype of the space has tensors");
    let shrink_perturb = ShrinkPerturb { lambda: 0.4, gamma: 0.1 };
    let replaced = ["layer0".to_owned()];
    for surgery in [
        Surgery::Copy,
        Surgery::Mix { donor: &again, replaced: &replaced, shrink_perturb },
        Surgery::Redraw { variable: "layer1" },
        Surgery::MutateWeights,
        Surgery::ShrinkPerturb(shrink_perturb),
    ] {
        child(&task, &new, &reader, &surgery);
    }
    let mut bytes = Vec::new();
    let part = &["net/head".to_owned()][..];
    for part in [None, Some(part)] {
        bytes.clear();
        if soup(&mut bytes, new.tensors(), &[&reader, &again], part, reader.meta()).is_ok() {
            Reader::open(&file("soup", &bytes)).expect("a soup is a checkpoint");
        }
    }

    // A member.
    if let Ok(mut session) = task.session(Start::Checkpoint(&reader), place) {
        let before = session.position();
        assert!(before.1 < session.steps_per_epoch());
        session.advance(u32::MAX).expect("it trains");
        assert!(session.position() > before);
    }
}

fn child(task: &SyntheticTask, new: &InitialTensors, base: &Reader, surgery: &Surgery) {
    let noise = RngKey { run: 1, generation: 1, member: Some(MemberId(0)), purpose: "noise" };
    let meta = Meta { epoch: 1, ..base.meta().clone() };
    let mut bytes = Vec::new();
    if offspring(&mut bytes, task.space(), new, base, surgery, &noise, &meta).is_ok() {
        let child = Reader::open(&file("child", &bytes)).expect("a child is a checkpoint");
        assert_eq!(child.meta(), &meta);
        for spec in new.tensors() {
            assert!(child.entry(&format!("model/{}", spec.name)).is_some());
        }
    }
}

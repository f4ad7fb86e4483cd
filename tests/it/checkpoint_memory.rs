//! The memory needed to build a child does not grow with the checkpoint.

use std::io::{BufWriter, Write};
use std::path::Path;

use pbtnas_core::checkpoint::{
    Entry, Init, InitialTensors, Meta, Reader, ShrinkPerturb, Surgery, TensorSpec, offspring, write,
};
use pbtnas_core::search::{Genotype, RngKey, Space, Variable};
use safetensors::Dtype;

const MIB: usize = 1 << 20;

fn specs(mib: usize) -> Vec<TensorSpec> {
    (0..2)
        .map(|i| TensorSpec {
            name: format!("net/layer{i}/weight"),
            shape: vec![mib / 2, MIB / 4],
            dtype: Dtype::F32,
            init: Init::Normal { mean: 0.0, std: 1.0 },
            trained: true,
            average: None,
        })
        .collect()
}

fn parent(path: &Path, mib: usize) -> Reader {
    let entries = specs(mib)
        .into_iter()
        .map(|spec| Entry { name: format!("model/{}", spec.name), dtype: spec.dtype, shape: spec.shape })
        .collect();
    let meta = Meta { genotype: Genotype::new([]), epoch: 0, step: 0, files: Vec::new() };
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    let chunk = vec![1; MIB];
    write(&mut file, &meta, entries, |_, out| {
        for _ in 0..mib / 2 {
            out.write_all(&chunk)?;
        }
        Ok::<_, std::io::Error>(())
    })
    .unwrap();
    file.flush().unwrap();
    Reader::open(path).unwrap()
}

/// Peak resident memory of this process since it was last reset, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn offspring_memory_is_bounded() {
    // In its own process: other tests of this one take memory, too.
    if std::env::var_os("PBTNAS_TEST_ALONE").is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["checkpoint_memory::offspring_memory_is_bounded", "--exact", "--nocapture"])
            .env("PBTNAS_TEST_ALONE", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let variable = Variable::choice("layer0", vec!["a".into()], vec!["net/layer0/".into()]);
    let space = Space::new(vec![variable]);
    let mib = 96;
    let base = parent(&dir.path().join("base"), mib);
    let donor = parent(&dir.path().join("donor"), mib);
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let replaced = ["layer0".to_owned()];
    let shrink_perturb = ShrinkPerturb { lambda: 0.4, gamma: 0.1 };
    let surgery = Surgery::Mix { donor: &donor, replaced: &replaced, shrink_perturb };
    let noise = RngKey { run: 1, generation: 1, member: None, purpose: "noise" };
    let new = InitialTensors::sampled(specs(mib));
    let mut file = std::fs::File::create(dir.path().join("child")).unwrap();
    let written = offspring(&mut file, &space, &new, &base, &surgery, &noise, base.meta()).unwrap();
    let grown = peak().saturating_sub(before);
    println!("a child of {} MiB took {} KiB of memory", written.size / MIB as u64, grown / 1024);
    assert!(written.size > (mib * MIB) as u64);
    assert!(grown < 16 * MIB, "{grown} bytes");
}

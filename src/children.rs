//! The first checkpoints of members that were made of others: mixes, mutations, perturbed survivors.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::checkpoint::{
    CheckpointError, Meta, Reader, ShrinkPerturb, Surgery, Written, digest_file, offspring,
};
use crate::parallel;
use crate::place::place;
use crate::search::{Change, MemberId, Offspring, Origin};
use crate::signal::StopSignal;
use crate::state::{FileRef, Published, Run, Staged, StateError, ensure_dir, is_there, stage};
use crate::tasks::Task;

/// The members that an offspring's first checkpoint is made of.
pub fn parents(child: &Offspring) -> Vec<MemberId> {
    if child.origin.is_made() { child.origin.parents(child.id) } else { Vec::new() }
}

/// Makes the start checkpoints of all children, several at a time: as many as there are cores.
pub fn make_children(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    children: &[&Offspring],
    parents: &BTreeMap<MemberId, Reader>,
) -> Result<BTreeMap<MemberId, FileRef>> {
    let made = parallel::each(children, |child| {
        Ok::<_, anyhow::Error>((child.id, make_child(run, task, generation, child, parents)?))
    })?;
    Ok(made.into_iter().collect())
}

/// Makes one child's start checkpoint. If one is there, that of an earlier process, it must be the same.
pub fn make_child(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    child: &Offspring,
    parents: &BTreeMap<MemberId, Reader>,
) -> Result<FileRef> {
    let path = run.layout.start(generation, child.id);
    let dir = run.layout.member(generation, child.id);
    ensure_dir(&dir)?;
    let draw = || {
        stage_child(run, task, generation, child, parents, &dir, &StopSignal::default())
            .with_context(|| format!("failed to make {}", path.display()))
    };
    let (staged, mut written) = draw()?;
    if staged.publish(NAME)? == Published::Existed {
        let there = digest_file(&path)?;
        if there == written || is_there(&run.layout.plan(generation))? {
            written = there;
        } else {
            // No plan names it yet, and it is not what comes out of these parents.
            eprintln!("pbtnas: {} is damaged; it is made again", path.display());
            draw()?.0.replace(NAME)?;
        }
    }
    Ok(FileRef { path: run.layout.relative(&path), size: written.size, digest: written.digest })
}

const NAME: &str = "start.safetensors";

/// Writes a child's first checkpoint into a temporary file in `dir`.
pub fn stage_child(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    child: &Offspring,
    parents: &BTreeMap<MemberId, Reader>,
    dir: &Path,
    stop: &StopSignal,
) -> Result<(Staged, Written)> {
    let parent = |id: &MemberId| parents.get(id).context("a parent was not opened");
    let shrink_perturb =
        ShrinkPerturb { shrink: run.config.search.shrink, perturb: run.config.search.perturb };
    let (base, surgery) = match &child.origin {
        Origin::Mix { base, donor, replaced, .. } => {
            (parent(base)?, Surgery::Mix { donor: parent(donor)?, replaced, shrink_perturb })
        }
        Origin::Mutation { parent: base, change } => (
            parent(base)?,
            match change {
                Change::Nothing => Surgery::Copy,
                Change::Variable { name } => Surgery::Redraw { variable: name },
                Change::Weights => Surgery::MutateWeights,
            },
        ),
        Origin::Perturbed => (parent(&child.id)?, Surgery::ShrinkPerturb(shrink_perturb)),
        Origin::Random | Origin::Survivor | Origin::Derived => {
            anyhow::bail!("member {} is no child", child.id)
        }
    };
    let place = place(run, generation, child.id, &run.layout.member(generation, child.id), stop);
    let new = task.fresh(&child.genotype, &place)?;
    let noise = place.seeds.at("noise");
    let donor = match &surgery {
        Surgery::Mix { donor, .. } => Some(donor.meta()),
        _ => None,
    };
    let files = files(task, &child.origin, base.meta(), donor);
    let meta = Meta { genotype: child.genotype.clone(), files, ..base.meta().clone() };
    stage(dir, |out| {
        offspring(out, &run.space, &new, base, &surgery, &noise, &meta).map_err(ChildError::from)
    })
    .map_err(|error| error.0)
}

/// The collected files that a child begins with.
fn files(task: &dyn Task, origin: &Origin, base: &Meta, donor: Option<&Meta>) -> Vec<String> {
    match origin {
        // It is the member that it was.
        Origin::Perturbed => base.files.clone(),
        _ => task.inherit(base, donor),
    }
}

/// Either way in which writing a child can fail.
struct ChildError(anyhow::Error);

impl From<StateError> for ChildError {
    fn from(error: StateError) -> Self {
        Self(error.into())
    }
}

impl From<CheckpointError> for ChildError {
    fn from(error: CheckpointError) -> Self {
        Self(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Genotype;
    use crate::tasks::rl::replay::Inherit;
    use crate::tasks::rl::{RlConfig, RlTask};

    #[test]
    fn a_perturbed_survivor_keeps_its_experience_and_a_mutation_has_one_parent() {
        let meta = |files: &[&str]| Meta {
            genotype: Genotype::new([]),
            epoch: 1,
            step: 0,
            files: files.iter().map(|name| (*name).to_owned()).collect(),
        };
        let (base, donor) = (meta(&["a", "b"]), meta(&["c"]));
        let mutation = Origin::Mutation { parent: MemberId(0), change: Change::Nothing };
        let none: &[&str] = &[];
        for (inherit, of_mix, of_mutation) in [
            (Inherit::Base, &["a", "b"][..], &["a", "b"][..]),
            (Inherit::Donor, &["c"], &["a", "b"]),
            (Inherit::None, none, none),
        ] {
            let task = RlTask::new(RlConfig { inherit, ..RlConfig::default() });
            assert_eq!(files(&task, &Origin::Perturbed, &base, None), ["a", "b"]);
            assert_eq!(files(&task, &mutation, &base, None), of_mutation);
            assert_eq!(task.inherit(&base, Some(&donor)), of_mix);
        }
    }
}

//! The first checkpoints of offspring: mixes, mutations and perturbed survivors.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::member_context::place;
use crate::run::Run;
use crate::signal::StopSignal;
use crate::task::Task;
use pbtnas_core::checkpoint::{CheckpointError, Meta, Reader, Surgery, offspring};
use pbtnas_core::durable_fs::{FileDigest, StorageError, digest_file};
use pbtnas_core::durable_fs::{Published, Staged, ensure_dir, exists, stage};
use pbtnas_core::parallel;
use pbtnas_core::run::FileRef;
use pbtnas_core::search::{Change, MemberId, Offspring, Origin};

/// The members that a child's first checkpoint is built from.
pub fn parents(child: &Offspring) -> Vec<MemberId> {
    if child.origin.is_made() { child.origin.parents(child.id) } else { Vec::new() }
}

/// Builds the first checkpoints of all children, in parallel on all cores.
pub fn build_all_offspring(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    children: &[&Offspring],
    parents: &BTreeMap<MemberId, Reader>,
) -> Result<BTreeMap<MemberId, FileRef>> {
    let made = parallel::each(children, |child| {
        Ok::<_, anyhow::Error>((child.id, build_offspring(run, task, generation, child, parents)?))
    })?;
    Ok(made.into_iter().collect())
}

/// Builds a child's first checkpoint. One that an earlier process published must be the same.
pub fn build_offspring(
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
            .with_context(|| format!("failed to build {}", path.display()))
    };
    let (staged, mut written) = draw()?;
    if staged.publish(NAME)? == Published::Existed {
        let there = digest_file(&path)?;
        if there == written || exists(&run.layout.plan(generation))? {
            written = there;
        } else {
            // No plan refers to it yet, and it differs from the rebuilt checkpoint.
            tracing::warn!("{} is damaged; rebuilding it", path.display());
            draw()?.0.replace(NAME)?;
        }
    }
    Ok(run.layout.file_ref(&path, written))
}

const NAME: &str = "start.safetensors";

/// Writes a child's first checkpoint to a temporary file in `dir`.
pub fn stage_child(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    child: &Offspring,
    parents: &BTreeMap<MemberId, Reader>,
    dir: &Path,
    stop: &StopSignal,
) -> Result<(Staged, FileDigest)> {
    let parent = |id: &MemberId| parents.get(id).context("a parent was not opened");
    let shrink_perturb = run.config.search.shrink_perturb;
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
            anyhow::bail!("member {} has no parents", child.id)
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

/// The collected files that a child starts with.
fn files(task: &dyn Task, origin: &Origin, base: &Meta, donor: Option<&Meta>) -> Vec<String> {
    match origin {
        // The same member as before, so it keeps its files.
        Origin::Perturbed => base.files.clone(),
        _ => task.inherit(base, donor),
    }
}

/// An error of writing a child's checkpoint.
struct ChildError(anyhow::Error);

impl From<StorageError> for ChildError {
    fn from(error: StorageError) -> Self {
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
    use crate::run::collected_tests::Collecting;
    use crate::synthetic::{SyntheticConfig, SyntheticTask};
    use pbtnas_core::search::Genotype;

    #[test]
    fn a_perturbed_survivor_keeps_its_files_whatever_its_children_inherit() {
        let meta = |file: &str| Meta {
            genotype: Genotype::new([]),
            epoch: 1,
            step: 0,
            files: vec![file.to_owned()],
        };
        let (base, donor) = (meta("base"), meta("donor"));
        let inner = SyntheticTask::new(SyntheticConfig::default());
        let task = Collecting { inner, capacity: 1, from_donor: true, falling: false };
        let mix = Origin::Mix { base: MemberId(0), donor: MemberId(1), replaced: vec![], explored: vec![] };
        assert_eq!(files(&task, &Origin::Perturbed, &base, Some(&donor)), ["base"]);
        assert_eq!(files(&task, &mix, &base, Some(&donor)), ["donor"]);
    }
}

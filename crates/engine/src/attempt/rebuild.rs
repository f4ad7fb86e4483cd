//! Rebuilds published checkpoints that have been damaged. All inputs and random numbers are reproducible, so the result
//! has the same bytes. If it does not (another type of CPU, a GPU), the member fails.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, anyhow};

use super::Trainer;
use super::heartbeat::LastMetrics;
use super::run::{AttemptOutcome, AttemptRun, Restored};
use super::snapshots::snapshot_name;
use crate::offspring::{build_offspring, parents, stage_child};
use pbtnas_core::checkpoint::{CheckpointError, Reader};
use pbtnas_core::durable_fs::{ensure_dir, remove};
use pbtnas_core::run::{FileRef, Outcome, StateError};
use pbtnas_core::search::{MemberId, Offspring};

impl AttemptRun<'_> {
    /// Rebuilds the checkpoint that this member starts from. Returns an outcome only if it was interrupted.
    pub fn rebuild_checkpoint(&self, file: &FileRef) -> Result<Option<AttemptOutcome>> {
        let generation =
            self.plan.generation.checked_sub(1).context("the first generation starts from fresh weights")?;
        if !self.planned.origin.is_made() {
            return self.rebuild_final(generation, self.planned.id, file);
        }
        tracing::info!("rebuilding it from its parents");
        let (child, readers) = match self.open_parents(generation)? {
            Ok(opened) => opened,
            Err(end) => return Ok(Some(end)),
        };
        let run = self.trainer.run;
        remove(&run.layout.start(self.plan.generation, child.id))?;
        build_offspring(run, self.trainer.task, self.plan.generation, &child, &readers)?;
        Ok(None)
    }

    /// Builds the first checkpoint of a child in its own attempt, and saves it as a snapshot.
    pub fn make_start(&self) -> Result<Restored> {
        let generation =
            self.plan.generation.checked_sub(1).context("the first generation starts from fresh weights")?;
        let (child, readers) = match self.open_parents(generation)? {
            Ok(opened) => opened,
            Err(end) => return Ok(Restored::Ended(end)),
        };
        let Trainer { run, task, stop, .. } = self.trainer;
        let dir = self.progress();
        ensure_dir(&dir)?;
        let staged = stage_child(run, *task, self.plan.generation, &child, &readers, &dir, stop);
        let (staged, written) =
            staged.map_err(explain_mismatch).context("failed to mix the parents' checkpoints")?;
        // The position is that of the base parent, the first of the parents.
        let base = parents(&child)
            .first()
            .and_then(|base| readers.get(base))
            .context("the child has no base parent")?;
        let name = snapshot_name(base.meta().epoch, base.meta().step, &written);
        staged.replace(&name)?;
        Ok(Restored::From(Some(Reader::open(&dir.join(name)).map_err(StateError::from)?)))
    }

    /// Returns this member as offspring, and its parents' checkpoints. Rebuilds damaged ones.
    fn open_parents(&self, generation: u32) -> Result<Result<(Offspring, Parents), AttemptOutcome>> {
        let run = self.trainer.run;
        let child = Offspring {
            id: self.planned.id,
            genotype: self.planned.genotype.clone(),
            origin: self.planned.origin.clone(),
        };
        let mut readers = BTreeMap::new();
        for parent in parents(&child) {
            let result = run.result(generation, parent)?.map(|result| result.outcome);
            let Some(Outcome::Trained { checkpoint, .. }) = result else {
                anyhow::bail!("parent {parent} of generation {generation} has no result")
            };
            let reader = match run.checkpoint(&checkpoint) {
                Err(error) if error.is_damage() => {
                    if let Some(end) = self.rebuild_final(generation, parent, &checkpoint)? {
                        return Ok(Err(end));
                    }
                    run.checkpoint(&checkpoint)?
                }
                found => found?,
            };
            readers.insert(parent, reader);
        }
        Ok(Ok((child, readers)))
    }

    /// Retrains a member of an earlier generation whose result is kept, to rebuild its checkpoint.
    fn rebuild_final(
        &self,
        generation: u32,
        member: MemberId,
        file: &FileRef,
    ) -> Result<Option<AttemptOutcome>> {
        tracing::info!("retraining member {member} of generation {generation}");
        let run = self.trainer.run;
        let plan = run.plan(generation)?;
        let planned = plan.members.get(member.0 as usize).context("the plan does not contain the member")?;
        let (trainer, attempt) = (self.trainer, self.attempt);
        let attempt_run =
            AttemptRun { trainer, plan: &plan, planned, attempt, last_metrics: LastMetrics::default() };
        let restored = match attempt_run.restore()? {
            Restored::From(reader) => reader,
            Restored::Ended(end) => return Ok(Some(end)),
        };
        let mut session = attempt_run.session(restored.as_ref())?;
        if let Some(end) = attempt_run.train_until_target(session.as_mut(), false)? {
            return Ok(Some(end));
        }
        // Retention may have removed the generation's files.
        let dir = run.layout.member(generation, member);
        ensure_dir(&dir)?;
        let (staged, written) = attempt_run.stage_in(&dir, session.as_ref())?;
        if written.digest != file.digest {
            let path = run.layout.final_checkpoint(generation, member);
            // Not a state error: another attempt would fail too, and the member is to be replaced.
            anyhow::bail!(
                "{} is damaged and could not be rebuilt: retraining gave {} instead of {}",
                path.display(),
                written.digest,
                file.digest
            );
        }
        staged.replace("final.safetensors")?;
        Ok(None)
    }
}

type Parents = BTreeMap<MemberId, Reader>;

/// Explains a mismatch between tensors of two intact checkpoints, which is an error of the user's program.
fn explain_mismatch(error: Error) -> Error {
    let tensor = error.chain().find_map(|cause| match cause.downcast_ref::<CheckpointError>() {
        Some(CheckpointError::Tensor { .. }) => Some(cause.to_string()),
        _ => None,
    });
    match tensor {
        Some(what) => anyhow!(
            "{what}: a tensor that differs between architectures must depend on a single variable, and `owns` of the \
             variable must contain a prefix of its name"
        ),
        None => error,
    }
}

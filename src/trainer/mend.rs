//! Checkpoints that were damaged after they were published are made again: everything they came from has an
//! address, so the same bytes come out. If they do not (another kind of CPU, a GPU), the member fails.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, anyhow};

use super::Trainer;
use super::heartbeat::Told;
use super::life::{Life, LifeEnd, Restored};
use super::snapshots::snapshot_name;
use crate::checkpoint::{CheckpointError, Reader};
use crate::children::{make_child, parents, stage_child};
use crate::search::{MemberId, Offspring};
use crate::state::{FileRef, Outcome, StateError, ensure_dir, remove};

impl Life<'_> {
    /// Makes the checkpoint again that this member starts from. Something else than none if that was
    /// interrupted.
    pub fn mend(&self, file: &FileRef) -> Result<Option<LifeEnd>> {
        let generation = self.plan.generation.checked_sub(1).context("the first generation starts afresh")?;
        if !self.planned.origin.is_made() {
            return self.mend_final(generation, self.planned.id, file);
        }
        eprintln!("pbtnas: making it again from its parents");
        let (child, readers) = match self.open_parents(generation)? {
            Ok(opened) => opened,
            Err(end) => return Ok(Some(end)),
        };
        let run = self.trainer.run;
        remove(&run.layout.start(self.plan.generation, child.id))?;
        make_child(run, self.trainer.task, self.plan.generation, &child, &readers)?;
        Ok(None)
    }

    /// Makes the first checkpoint of an offspring that makes it itself, as a snapshot.
    pub fn make_start(&self) -> Result<Restored> {
        let generation = self.plan.generation.checked_sub(1).context("the first generation starts afresh")?;
        let (child, readers) = match self.open_parents(generation)? {
            Ok(opened) => opened,
            Err(end) => return Ok(Restored::Ended(end)),
        };
        let Trainer { run, task, stop, .. } = self.trainer;
        let dir = self.progress();
        ensure_dir(&dir)?;
        let staged = stage_child(run, *task, self.plan.generation, &child, &readers, &dir, stop);
        let (staged, written) = staged.map_err(misfit).context("failed to mix the parents' checkpoints")?;
        // The position is the base's, which comes first of the parents.
        let base =
            parents(&child).first().and_then(|base| readers.get(base)).context("a child without a base")?;
        let name = snapshot_name(base.meta().epoch, base.meta().step, &written);
        staged.replace(&name)?;
        Ok(Restored::From(Some(Reader::open(&dir.join(name)).map_err(StateError::from)?)))
    }

    /// This member as an offspring, and its parents' checkpoints, which are made again if they are damaged.
    fn open_parents(&self, generation: u32) -> Result<Result<(Offspring, Parents), LifeEnd>> {
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
                    if let Some(end) = self.mend_final(generation, parent, &checkpoint)? {
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

    /// Trains a member of an earlier generation again, whose result stands.
    fn mend_final(&self, generation: u32, member: MemberId, file: &FileRef) -> Result<Option<LifeEnd>> {
        eprintln!("pbtnas: training member {member} of generation {generation} again");
        let run = self.trainer.run;
        let plan = run.plan(generation)?;
        let planned = plan.members.get(member.0 as usize).context("the plan lacks a member")?;
        let (trainer, attempt) = (self.trainer, self.attempt);
        let life = Life { trainer, plan: &plan, planned, attempt, told: Told::default() };
        let restored = match life.restore()? {
            Restored::From(reader) => reader,
            Restored::Ended(end) => return Ok(Some(end)),
        };
        let mut session = life.session(restored.as_ref())?;
        if let Some(end) = life.train_until_target(session.as_mut(), false)? {
            return Ok(Some(end));
        }
        // Its generation's files may have been dropped.
        let dir = run.layout.member(generation, member);
        ensure_dir(&dir)?;
        let (staged, written) = life.stage_in(&dir, session.as_ref())?;
        if written.digest != file.digest {
            let path = run.layout.final_checkpoint(generation, member);
            // Not a state error: no other attempt will do better, and the member is to be replaced.
            anyhow::bail!(
                "{} is lost: trained again it becomes {} instead of {}",
                path.display(),
                written.digest,
                file.digest
            );
        }
        staged.replace("final.safetensors")?;
        Ok(None)
    }
}

/// The parents' checkpoints.
type Parents = BTreeMap<MemberId, Reader>;

/// Tensors of two sound checkpoints that do not fit together are the user's program's fault, hence the member's.
fn misfit(error: Error) -> Error {
    let tensor = error.chain().find_map(|cause| match cause.downcast_ref::<CheckpointError>() {
        Some(CheckpointError::Tensor { .. }) => Some(cause.to_string()),
        _ => None,
    });
    match tensor {
        Some(what) => anyhow!(
            "{what}: a tensor that is not the same in every architecture must have a name under `owns` of the \
             variable that it depends on, and depend on no other"
        ),
        None => error,
    }
}

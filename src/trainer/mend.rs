//! Checkpoints that were damaged after they were published are made again: everything they came from has an
//! address, so the same bytes come out. If they do not (another kind of CPU, a GPU), the member fails.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::life::{Life, LifeEnd, Restored};
use crate::children::{make_child, parents};
use crate::search::{MemberId, Offspring};
use crate::state::{FileRef, Outcome, remove};

impl Life<'_> {
    /// Makes the checkpoint again that this member starts from. Something else than none if that was
    /// interrupted.
    pub fn mend(&self, file: &FileRef) -> Result<Option<LifeEnd>> {
        let generation = self.plan.generation.checked_sub(1).context("the first generation starts afresh")?;
        if !self.planned.origin.is_made() {
            return self.mend_final(generation, self.planned.id, file);
        }
        let run = self.trainer.run;
        eprintln!("pbtnas: making it again from its parents");
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
            if run.checkpoint(&checkpoint).is_err_and(|error| error.is_damage())
                && let Some(end) = self.mend_final(generation, parent, &checkpoint)?
            {
                return Ok(Some(end));
            }
            readers.insert(parent, run.checkpoint(&checkpoint)?);
        }
        remove(&run.layout.start(self.plan.generation, child.id))?;
        make_child(run, self.trainer.task, self.plan.generation, &child, &readers)?;
        Ok(None)
    }

    /// Trains a member of an earlier generation again, whose result stands.
    fn mend_final(&self, generation: u32, member: MemberId, file: &FileRef) -> Result<Option<LifeEnd>> {
        eprintln!("pbtnas: training member {member} of generation {generation} again");
        let run = self.trainer.run;
        let plan = run.plan(generation)?;
        let planned = plan.members.get(member.0 as usize).context("the plan lacks a member")?;
        let life = Life { trainer: self.trainer, plan: &plan, planned, attempt: self.attempt };
        let restored = match life.restore()? {
            Restored::From(reader) => reader,
            Restored::Ended(end) => return Ok(Some(end)),
        };
        let mut session = life.session(restored.as_ref())?;
        if let Some(end) = life.train_until_target(session.as_mut(), false)? {
            return Ok(Some(end));
        }
        let (staged, written) = life.stage_in(&run.layout.member(generation, member), session.as_ref())?;
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

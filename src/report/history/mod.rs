//! All that a run has been through: plans, results, attempts, heartbeats. What reports, exports and the live view read.

mod cost;
mod population;
#[cfg(test)]
pub mod testing;

use anyhow::Result;

pub use cost::{Cost, Span, cost, spans};
pub use population::{Frequencies, diversity, frequencies};

use crate::search::{Ancestor, MemberId};
use crate::state::{
    Attempt, FileRef, Heartbeat, MemberPlan, Outcome, ResultRecord, Run, read_attempts, read_json,
};

/// A run so far. Numbers and member ids are places in the lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Its generations, from the first.
    pub generations: Vec<Generation>,
}

/// A generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Counted from 0.
    pub number: u32,
    /// Epochs that are complete when its step starts.
    pub from_epoch: u32,
    /// Epochs that are complete when it ends.
    pub to_epoch: u32,
    /// In order of their ids.
    pub members: Vec<Member>,
    /// The preview of its best member, if the members' files are dropped.
    preview: Option<FileRef>,
}

/// A member of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Genotype, origin, start.
    pub plan: MemberPlan,
    /// What came out; none before.
    pub result: Option<ResultRecord>,
    /// The attempts so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// What the last attempt told, as long as there is no result.
    pub heartbeat: Option<Heartbeat>,
}

impl History {
    /// Reads all that is there.
    pub fn read(run: &Run) -> Result<Self> {
        let mut history = Self::default();
        history.refresh(run)?;
        Ok(history)
    }

    /// Reads what may have changed since: the members without a result, and what came after them. What is finished is
    /// not looked at again.
    pub fn refresh(&mut self, run: &Run) -> Result<()> {
        let Some(latest) = run.latest_generation()? else { return Ok(()) };
        for generation in self.generations.iter_mut().filter(|generation| !generation.is_finished()) {
            generation.refresh(run)?;
        }
        for number in self.generations.len() as u32..=latest {
            self.generations.push(Generation::read(run, number)?);
        }
        Ok(())
    }

    /// A member.
    pub fn member(&self, of: Ancestor) -> Option<&Member> {
        self.generations.get(of.generation as usize)?.members.get(of.member.0 as usize)
    }

    /// The last generation, if there is one.
    pub fn latest(&self) -> Option<&Generation> {
        self.generations.last()
    }

    /// The best member of all generations; among equals the first, as in best.json.
    pub fn best(&self) -> Option<(Ancestor, &Member)> {
        let all = self.generations.iter().filter_map(Generation::best);
        all.reduce(|best, other| if other.1.fitness() > best.1.fitness() { other } else { best })
    }
}

impl Generation {
    fn read(run: &Run, number: u32) -> Result<Self> {
        let plan = run.plan(number)?;
        let (from_epoch, to_epoch) = (plan.from_epoch, plan.to_epoch);
        let fresh = |plan| Member { plan, result: None, attempts: Vec::new(), heartbeat: None };
        let members = plan.members.into_iter().map(fresh).collect();
        let mut generation = Self { number, from_epoch, to_epoch, members, preview: None };
        generation.refresh(run)?;
        Ok(generation)
    }

    fn refresh(&mut self, run: &Run) -> Result<()> {
        if let Some(archive) = run.archive(self.number)? {
            let ends = archive.results.into_iter().zip(archive.attempts);
            for (member, (result, attempts)) in self.members.iter_mut().zip(ends) {
                (member.result, member.attempts, member.heartbeat) = (Some(result), attempts, None);
            }
            self.preview = archive.preview;
            return Ok(());
        }
        for member in self.members.iter_mut().filter(|member| member.result.is_none()) {
            let fresh = Member::read(run, self.number, member.plan.clone())?;
            *member = fresh;
        }
        Ok(())
    }

    /// Whether every member has a result.
    pub fn is_finished(&self) -> bool {
        self.members.iter().all(|member| member.result.is_some())
    }

    /// Its best member so far; among equals the first.
    pub fn best(&self) -> Option<(Ancestor, &Member)> {
        let with = self.members.iter().filter(|member| member.fitness().is_some());
        let best = with.reduce(|best, other| if other.fitness() > best.fitness() { other } else { best });
        best.map(|member| (Ancestor { generation: self.number, member: member.plan.id }, member))
    }

    /// Fitness of those members that have one, in order of their ids.
    pub fn fitness(&self) -> impl Iterator<Item = f64> + '_ {
        self.members.iter().filter_map(Member::fitness)
    }

    /// Epochs that a network has seen when its step ends, which are fewer for one that was drawn in the middle.
    pub fn epochs_of(&self, member: MemberId) -> u32 {
        match self.members.get(member.0 as usize).and_then(|member| member.result.as_ref()) {
            Some(ResultRecord { outcome: Outcome::Trained { epoch, .. }, .. }) => *epoch,
            _ => self.to_epoch,
        }
    }

    /// The picture of its best member, if there is one.
    pub fn preview(&self) -> Option<&FileRef> {
        self.preview.as_ref().or_else(|| self.best()?.1.preview())
    }
}

impl Member {
    /// Reads what is there of a member whose generation is not archived.
    pub fn read(run: &Run, generation: u32, plan: MemberPlan) -> Result<Self> {
        let id = plan.id;
        let result = run.result(generation, id)?;
        let attempts = read_attempts(&run.layout.attempts(generation, id))?;
        let heartbeat = match &result {
            Some(_) => None,
            // It is replaced every few seconds; what cannot be read now can be read later.
            None => read_json::<Heartbeat>(&run.layout.heartbeat(generation, id)).ok(),
        };
        Ok(Self { plan, result, attempts, heartbeat })
    }

    /// Its fitness; none before it is trained, and if it failed or diverged.
    pub fn fitness(&self) -> Option<f64> {
        self.result.as_ref().and_then(ResultRecord::fitness)
    }

    /// A picture of what it can do.
    pub fn preview(&self) -> Option<&FileRef> {
        match &self.result.as_ref()?.outcome {
            Outcome::Trained { preview, .. } => preview.as_ref(),
            Outcome::Failed { .. } => None,
        }
    }
}

//! All that a run has been through: plans, results, attempts, heartbeats. What reports, exports and the live view read.

mod cost;
mod population;
mod state;
#[cfg(test)]
pub mod testing;

use std::path::PathBuf;

use anyhow::Result;

pub use cost::{Cost, Span, bounds, cost, cost_of_generation, job_seconds, spans};
pub use population::{Frequencies, diversity, frequencies};
pub use state::MemberState;

use crate::search::Ancestor;
use crate::state::{
    Attempt, AttemptEnd, CurvePoint, Ending, FORMAT, FileRef, Heartbeat, MemberPlan, Outcome, ResultRecord,
    Run, find_json, names_in, refresh_attempts,
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
            generation.refresh(run, latest)?;
        }
        for number in self.generations.len() as u32..=latest {
            self.generations.push(Generation::read(run, number, latest)?);
        }
        Ok(())
    }

    /// The first generation that has a member without a result, the number of generations if there is none: what is
    /// before it is not read again.
    pub fn first_open(&self) -> usize {
        let finished = |generation: &Generation| generation.is_finished();
        self.generations.iter().position(|generation| !finished(generation)).unwrap_or(self.generations.len())
    }

    /// A member.
    pub fn member(&self, of: Ancestor) -> Option<&Member> {
        self.generations.get(of.generation as usize)?.members.get(of.member.0 as usize)
    }

    /// The last generation, if there is one.
    pub fn latest(&self) -> Option<&Generation> {
        self.generations.last()
    }

    /// The best member of all generations, supernets apart; among equals the first, as in best.json.
    pub fn best(&self) -> Option<(Ancestor, &Member)> {
        let all = self
            .generations
            .iter()
            .filter_map(|generation| generation.fittest(|member| !member.plan.genotype.is_supernet()));
        all.reduce(|best, other| if other.1.fitness() > best.1.fitness() { other } else { best })
    }
}

impl Generation {
    /// Reads all that is there of a generation; `latest` is the number of the last one.
    pub fn read(run: &Run, number: u32, latest: u32) -> Result<Self> {
        let plan = run.plan(number)?;
        let (from_epoch, to_epoch) = (plan.from_epoch, plan.to_epoch);
        let fresh = |plan| Member { plan, result: None, attempts: Vec::new(), heartbeat: None };
        let members = plan.members.into_iter().map(fresh).collect();
        let mut generation = Self { number, from_epoch, to_epoch, members, preview: None };
        generation.refresh(run, latest)?;
        Ok(generation)
    }

    fn refresh(&mut self, run: &Run, latest: u32) -> Result<()> {
        if self.take_archive(run)? {
            return Ok(());
        }
        // Of those that have not begun there is nothing to read.
        let begun = names_in(&run.layout.members(self.number))?;
        for member in self.members.iter_mut().filter(|member| member.result.is_none()) {
            let dir = run.layout.member(self.number, member.plan.id);
            if dir.file_name().is_some_and(|name| begun.contains(name)) {
                member.refresh(run, self.number)?;
            }
        }
        // Files may have been dropped while they were read; then they are in the archive by now.
        if self.number < latest {
            self.take_archive(run)?;
        }
        Ok(())
    }

    /// Takes everything from the archive, if the generation has one.
    fn take_archive(&mut self, run: &Run) -> Result<bool> {
        let Some(archive) = run.archive(self.number)? else { return Ok(false) };
        let ends = archive.results.into_iter().zip(archive.attempts);
        for (member, (result, attempts)) in self.members.iter_mut().zip(ends) {
            (member.result, member.attempts, member.heartbeat) = (Some(result), attempts, None);
            member.settle();
        }
        self.preview = archive.preview;
        Ok(true)
    }

    /// Whether every member has a result.
    pub fn is_finished(&self) -> bool {
        self.members.iter().all(|member| member.result.is_some())
    }

    /// Its best member so far; among equals the first.
    pub fn best(&self) -> Option<(Ancestor, &Member)> {
        self.fittest(|_| true)
    }

    /// The best of some of its members.
    fn fittest(&self, counts: impl Fn(&Member) -> bool) -> Option<(Ancestor, &Member)> {
        let with = self.members.iter().filter(|member| member.fitness().is_some() && counts(member));
        let best = with.reduce(|best, other| if other.fitness() > best.fitness() { other } else { best });
        best.map(|member| (Ancestor { generation: self.number, member: member.plan.id }, member))
    }

    /// Fitness of those members that have one, in order of their ids.
    pub fn fitness(&self) -> impl Iterator<Item = f64> + '_ {
        self.members.iter().filter_map(Member::fitness)
    }

    /// The picture of its best member, if there is one.
    pub fn preview(&self) -> Option<&FileRef> {
        self.preview.as_ref().or_else(|| self.best()?.1.preview())
    }
}

impl Member {
    /// Reads what came since, if its generation is not archived. Names are listed before files are opened: to look for
    /// a file that is not there costs a file server more.
    fn refresh(&mut self, run: &Run, generation: u32) -> Result<()> {
        let (layout, id) = (&run.layout, self.plan.id);
        let names = names_in(&layout.member(generation, id))?;
        let has = |path: PathBuf| path.file_name().is_some_and(|name| names.contains(name));
        if has(layout.result(generation, id)) {
            self.result = run.result_file(generation, id)?;
        }
        let attempts = layout.attempts(generation, id);
        if has(attempts.clone()) {
            refresh_attempts(&attempts, &mut self.attempts)?;
        }
        self.heartbeat = match (&self.result, self.attempts.is_empty()) {
            // It is replaced every few seconds; what cannot be read now can be read later.
            (None, false) => {
                let found = find_json::<Heartbeat>(&layout.heartbeat(generation, id));
                found.unwrap_or_else(|_| self.heartbeat.take())
            }
            _ => None,
        };
        self.settle();
        Ok(())
    }

    /// The attempt that published the result was done then, whether or not it came to write that down: its end is
    /// recorded after the result.
    fn settle(&mut self) {
        let Some(ResultRecord { outcome: Outcome::Trained { attempt, finished, .. }, .. }) = &self.result
        else {
            return;
        };
        let unended = self.attempts.iter_mut().find(|one| one.number == *attempt && one.end.is_none());
        if let Some(unended) = unended {
            unended.end = Some(AttemptEnd { format: FORMAT, ended: *finished, ending: Ending::Done });
        }
    }

    /// Its fitness; none before it is trained, and if it failed or diverged.
    pub fn fitness(&self) -> Option<f64> {
        self.result.as_ref().and_then(ResultRecord::fitness)
    }

    /// What training told on its way, so far if it still trains.
    pub fn curve(&self) -> &[CurvePoint] {
        match (&self.result, &self.heartbeat) {
            (Some(result), _) => match &result.outcome {
                Outcome::Trained { curve, .. } => curve,
                Outcome::Failed { .. } => &[],
            },
            (None, Some(beat)) => &beat.curve,
            (None, None) => &[],
        }
    }

    /// A picture of what it can do.
    pub fn preview(&self) -> Option<&FileRef> {
        match &self.result.as_ref()?.outcome {
            Outcome::Trained { preview, .. } => preview.as_ref(),
            Outcome::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Genotype, MemberId, Space, Variable};

    #[test]
    fn the_best_network_is_no_supernet() {
        let space = Space::new(vec![Variable::choice("x", vec!["a".into()], vec![])]);
        let mut supernet = testing::member(0, Some(9.0));
        supernet.plan.genotype = Genotype::supernet(&space);
        let members = vec![supernet, testing::member(1, Some(2.0))];
        let history = History { generations: vec![testing::generation(0, members)] };
        assert_eq!(history.generations[0].best().unwrap().0.member, MemberId(0));
        assert_eq!(history.best().unwrap().0.member, MemberId(1));
    }
}

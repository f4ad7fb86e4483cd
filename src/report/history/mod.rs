//! The history of a run: plans, results, attempts, heartbeats. `report`, `export` and `watch` read it.

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

use pbtnas_core::durable_fs::names_in;
use pbtnas_core::run::{
    Attempt, AttemptEnd, AttemptEndRecord, BestOf, CurvePoint, FORMAT, FileRef, Heartbeat, MemberPlan,
    Outcome, ResultRecord, find_json, refresh_attempts,
};
use pbtnas_core::search::Ancestor;
use pbtnas_engine::run::Run;

/// All generations of a run. Generation numbers and member ids are indices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    pub generations: Vec<Generation>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    pub number: u32,
    /// Complete epochs at its start.
    pub from_epoch: u32,
    /// Complete epochs at its end.
    pub to_epoch: u32,
    pub members: Vec<Member>,
    /// The preview of its best member, from the archive of the generation.
    preview: Option<FileRef>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub plan: MemberPlan,
    pub result: Option<ResultRecord>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// The heartbeat of the last attempt; none once there is a result.
    pub heartbeat: Option<Heartbeat>,
}

impl History {
    /// Reads the whole history.
    pub fn read(run: &Run) -> Result<Self> {
        let mut history = Self::default();
        history.refresh(run)?;
        Ok(history)
    }

    /// Reads what may have changed: members without a result, and new generations.
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

    /// The first generation with a member without a result, or the number of generations; `refresh` does not read the
    /// generations before it again.
    pub fn first_open(&self) -> usize {
        let finished = |generation: &Generation| generation.is_finished();
        self.generations.iter().position(|generation| !finished(generation)).unwrap_or(self.generations.len())
    }

    pub fn member(&self, of: Ancestor) -> Option<&Member> {
        self.generations.get(of.generation as usize)?.members.get(of.member.0 as usize)
    }

    pub fn latest(&self) -> Option<&Generation> {
        self.generations.last()
    }

    /// The best member, as in best.json: no supernet, and the first one among equals.
    pub fn best(&self, of: BestOf) -> Option<(Ancestor, &Member)> {
        let all = self
            .generations
            .iter()
            .filter_map(|generation| generation.fittest(|member| !member.plan.genotype.is_supernet()));
        all.reduce(|best, other| {
            let counts = other.1.fitness().is_some_and(|fitness| of.replaces(fitness, best.1.fitness()));
            if counts { other } else { best }
        })
    }
}

impl Generation {
    /// Reads a generation; `latest` is the number of the last one.
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
        // Members that have not started have no directory.
        let begun = names_in(&run.layout.members(self.number))?;
        for member in self.members.iter_mut().filter(|member| member.result.is_none()) {
            let dir = run.layout.member(self.number, member.plan.id);
            if dir.file_name().is_some_and(|name| begun.contains(name)) {
                member.refresh(run, self.number)?;
            }
        }
        // If retention deleted files meanwhile, the archive has their contents.
        if self.number < latest {
            self.take_archive(run)?;
        }
        Ok(())
    }

    /// Reads the archive, if the generation has one.
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

    /// The best member, supernets included; the first one among equals.
    pub fn best(&self) -> Option<(Ancestor, &Member)> {
        self.fittest(|_| true)
    }

    fn fittest(&self, counts: impl Fn(&Member) -> bool) -> Option<(Ancestor, &Member)> {
        let with = self.members.iter().filter(|member| member.fitness().is_some() && counts(member));
        let best = with.reduce(|best, other| if other.fitness() > best.fitness() { other } else { best });
        best.map(|member| (Ancestor { generation: self.number, member: member.plan.id }, member))
    }

    /// Fitness of the members that have one.
    pub fn fitness(&self) -> impl Iterator<Item = f64> + '_ {
        self.members.iter().filter_map(Member::fitness)
    }

    /// The preview image of its best member.
    pub fn preview(&self) -> Option<&FileRef> {
        self.preview.as_ref().or_else(|| self.best()?.1.preview())
    }
}

impl Member {
    /// Reads new records of a member whose generation is not archived. Lists names first: on file servers, opening a
    /// missing file costs more.
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
            // A heartbeat is replaced every few seconds: keep the previous one if it cannot be read.
            (None, false) => {
                let found = find_json::<Heartbeat>(&layout.heartbeat(generation, id));
                found.unwrap_or_else(|_| self.heartbeat.take())
            }
            _ => None,
        };
        self.settle();
        Ok(())
    }

    /// Marks the attempt that published the result as done: its end is recorded after the result, so that it may be
    /// missing.
    fn settle(&mut self) {
        let Some(ResultRecord { outcome: Outcome::Trained { attempt, finished, .. }, .. }) = &self.result
        else {
            return;
        };
        let unended = self.attempts.iter_mut().find(|one| one.number == *attempt && one.end.is_none());
        if let Some(unended) = unended {
            unended.end =
                Some(AttemptEndRecord { format: FORMAT, ended: *finished, ending: AttemptEnd::Done });
        }
    }

    /// Fitness; none before the result, and of failed and diverged members.
    pub fn fitness(&self) -> Option<f64> {
        self.result.as_ref().and_then(ResultRecord::fitness)
    }

    /// The curve of the result, or of the heartbeat.
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

    /// The preview image.
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
    use pbtnas_core::search::{Genotype, MemberId, Space, Variable};

    #[test]
    fn supernets_are_never_the_best_network() {
        let space = Space::new(vec![Variable::choice("x", vec!["a".into()], vec![])]);
        let mut supernet = testing::member(0, Some(9.0));
        supernet.plan.genotype = Genotype::supernet(&space);
        let members = vec![supernet, testing::member(1, Some(2.0))];
        let history = History { generations: vec![testing::generation(0, members)] };
        assert_eq!(history.generations[0].best().unwrap().0.member, MemberId(0));
        assert_eq!(history.best(BestOf::AllGenerations).unwrap().0.member, MemberId(1));
    }
}

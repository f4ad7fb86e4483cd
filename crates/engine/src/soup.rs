//! Greedy model soups after a search (paper, section 5.5; facts: Model soups), of the whole networks or of a part; then
//! the rest comes from the best member. A run may have both.
//!
//! The candidates are those of [`soup_candidates`]; their hyperparameters may differ. A round evaluates each candidate together with the current soup. The first candidate that improves the soup is added,
//! those before it are discarded, and the next round evaluates the rest. The result is the same as with one candidate
//! after the other, but the candidates of a round can be evaluated in parallel.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::advance::NextAction;
use crate::attempt::{Claim, Identity, TrainOutcome, ending_of, record_end, without_panic};
use crate::member_context::place;
use crate::run::Run;
use crate::signal::StopSignal;
use crate::task::{Evaluation, Measure, Part, Start, Task};
use pbtnas_core::checkpoint::{CheckpointError, Meta, Reader, soup};
use pbtnas_core::durable_fs::digest_file;
use pbtnas_core::durable_fs::{Lock, Published, ensure_dir, exists, remove, stage};
use pbtnas_core::run::{
    AttemptEnd, BestRecord, Exhausted, FORMAT, FileRef, Ingredient, SoupLayout, SoupPlan, SoupRecord,
    SoupResult, StateError, begin_attempt, drop_temporaries, exhausted, find_json_or_quarantine,
    publish_json, soup_candidates,
};
use pbtnas_core::search::MemberId;

/// The soup of a run, or of a part of its networks.
pub struct Soup<'a> {
    run: &'a Run,
    task: &'a dyn Task,
    /// The part that is averaged; the whole networks if `None`.
    part: Option<Part>,
    layout: SoupLayout,
}

/// Finds a part of a task's networks by name.
pub fn find_part(task: &dyn Task, name: &str) -> Result<Part> {
    let parts = task.parts();
    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
    let there = match names.as_slice() {
        [] => "the networks of this task have no parts: leave --part out".to_owned(),
        names => format!("the parts are {}", names.join(", ")),
    };
    parts
        .into_iter()
        .find(|part| part.name == name)
        .with_context(|| format!("unknown part {name:?}; {there}"))
}

impl<'a> Soup<'a> {
    /// Fails if the task has no part of this name.
    pub fn new(run: &'a Run, task: &'a dyn Task, part: Option<&str>) -> Result<Self> {
        let part = part.map(|name| find_part(task, name)).transpose()?;
        let layout = run.layout.soup(part.as_ref().map(|part| part.name));
        Ok(Self { run, task, part, layout })
    }

    pub fn run(&self) -> &'a Run {
        self.run
    }

    pub fn layout(&self) -> &SoupLayout {
        &self.layout
    }

    /// The part that is averaged; the whole networks if `None`.
    pub fn part(&self) -> Option<&'static str> {
        self.part.as_ref().map(|part| part.name)
    }

    /// The arguments of pbtnas, except `--state`, that continue this soup.
    pub fn arguments(&self) -> Vec<String> {
        let part = self.part().map(|part| ["--part", part]);
        ["soup"].into_iter().chain(part.into_iter().flatten()).map(str::to_owned).collect()
    }

    /// Advances as far as the results of the candidates allow. The members of the returned action are candidates.
    ///
    /// `idle` means that no process works on the round: candidates without remaining attempts are then discarded.
    pub fn advance(&self, idle: bool) -> Result<NextAction> {
        let mut round = 0;
        while exists(&self.layout.plan(round + 1))? {
            round += 1;
        }
        loop {
            if exists(&self.layout.record())? {
                drop_temporaries(self.layout.dir())?;
                return Ok(NextAction::Finished { generation: round });
            }
            if round == 0 {
                let plan = first_plan(self.run)?;
                round = 1;
                self.publish_plan(&plan)?;
                continue;
            }
            let plan = self.run.soup_plan(&self.layout, round)?;
            let mut results = Vec::new();
            for candidate in (0..plan.candidates.len() as u32).map(MemberId) {
                let found = match self.result(round, candidate)? {
                    None if idle => self.give_up(round, candidate)?,
                    found => found,
                };
                results.push(found);
            }
            match decide(&plan, &results) {
                Decision::Wait(generation, members) => return Ok(NextAction::Train { generation, members }),
                Decision::Next(plan) => {
                    round = plan.round;
                    self.publish_plan(&plan)?;
                }
                Decision::Finished { ingredients, fitness } => self.finish(&plan, ingredients, fitness)?,
            }
        }
    }

    fn publish_plan(&self, plan: &SoupPlan) -> Result<()> {
        ensure_dir(&self.layout.round(plan.round))?;
        publish_json(&self.layout.plan(plan.round), plan)?;
        Ok(())
    }

    /// The result of a candidate, if there is one.
    pub fn result(&self, round: u32, candidate: MemberId) -> Result<Option<SoupResult>> {
        Ok(find_json_or_quarantine(&self.layout.result(round, candidate))?)
    }

    /// Discards a candidate without remaining attempts.
    fn give_up(&self, round: u32, candidate: MemberId) -> Result<Option<SoupResult>> {
        let layout = &self.layout;
        let (lock, attempts) = (layout.candidate_lock(round, candidate), layout.attempts(round, candidate));
        let Some(exhausted) = exhausted(&lock, &attempts, self.run.config.training.max_attempts)? else {
            return Ok(None);
        };
        let Exhausted { reason, failures, .. } = &exhausted;
        let result = SoupResult {
            format: FORMAT,
            fitness: None,
            metrics: Default::default(),
            failed: Some(reason.clone()),
        };
        if publish_json(&layout.result(round, candidate), &result)? == Published::Created {
            tracing::warn!(
                "candidate {candidate} of round {round} was discarded after {failures} failed attempt(s): {reason}"
            );
        }
        self.result(round, candidate)
    }

    /// Evaluates a candidate: the mean of the current soup's members and of the candidate. Called by the jobs of
    /// [`crate::scheduler`].
    ///
    /// All soups of a run have the random numbers of the best member, so that only their weights differ, but for what
    /// [`Measure::Soup`] says. `claim` names the running attempt.
    pub fn evaluate_candidate(
        &self,
        round: u32,
        candidate: MemberId,
        identity: &Identity,
        claim: &Claim,
    ) -> Result<TrainOutcome> {
        let (run, layout) = (self.run, &self.layout);
        let dir = layout.candidate(round, candidate);
        ensure_dir(&dir)?;
        let lock = self.layout.candidate_lock(round, candidate);
        let _lock = match (&identity.job, Lock::try_take(&lock)) {
            (_, Some(lock)) => lock,
            (None, None) => return Ok(TrainOutcome::Busy),
            // A job is not restarted, so it waits for the lock, whose holder may be stuck.
            (Some(_), None) => Lock::take(&lock, Duration::from_secs(run.config.storage.retry_seconds)),
        };
        if self.result(round, candidate)?.is_some() {
            return Ok(TrainOutcome::Done);
        }
        let plan = run.soup_plan(layout, round)?;
        let added = plan
            .candidates
            .get(candidate.0 as usize)
            .with_context(|| format!("round {round} has no candidate {candidate}"))?;
        let attempts = layout.attempts(round, candidate);
        let (attempt, _) = begin_attempt(&attempts, identity.job.clone(), identity.host.clone(), None)?;
        claim.set(Some((attempts.clone(), attempt)));
        let evaluated = without_panic(|| {
            let all: Vec<&Ingredient> = plan.ingredients.iter().chain([added]).collect();
            let path = layout.candidate_checkpoint(round, candidate);
            self.write(&all, &path)?;
            let reader = Reader::open(&path)?;
            let first = &plan.ingredients[0];
            let place = place(run, first.generation, first.member, &dir, &StopSignal::default());
            let mut session = self.task.session(Start::Checkpoint(&reader), place)?;
            let measure =
                Measure::Soup { part: self.part(), generation: added.generation, member: added.member };
            let Evaluation { fitness, metrics } = session.evaluate(measure)?;
            let result = SoupResult {
                format: FORMAT,
                fitness: fitness.is_finite().then_some(fitness),
                metrics: metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
                failed: None,
            };
            publish_json(&layout.result(round, candidate), &result)?;
            remove(&path)?;
            Ok(())
        });
        let ending = match &evaluated {
            Ok(()) => AttemptEnd::Done,
            Err(error) => ending_of(error),
        };
        claim.set(None);
        record_end(&attempts, attempt, ending);
        evaluated.map(|()| TrainOutcome::Done)
    }

    /// Writes the mean of some members to a file, unless the file exists.
    fn write(&self, ingredients: &[&Ingredient], path: &Path) -> Result<FileRef> {
        let run = self.run;
        let name = path.file_name().and_then(|name| name.to_str());
        let (dir, name) = path.parent().zip(name).context("invalid soup path")?;
        ensure_dir(dir)?;
        let readers: Vec<Reader> =
            ingredients.iter().map(|one| run.checkpoint(&one.checkpoint)).collect::<Result<_, _>>()?;
        let readers: Vec<&Reader> = readers.iter().collect();
        let first = readers.first().context("the soup has no ingredient")?;
        let tensors = self.task.tensors_in(first)?;
        // A soup is not trained further, so it needs no collected files.
        let meta = Meta { files: Vec::new(), ..first.meta().clone() };
        let part = self.part.as_ref().map(|part| part.prefixes.as_slice());
        let (staged, _) = stage(dir, |out| {
            let mut out = std::io::BufWriter::new(out);
            let written = soup(&mut out, &tensors, &readers, part, &meta)?;
            std::io::Write::flush(&mut out).map_err(|source| CheckpointError::Io {
                doing: "write",
                path: path.to_owned(),
                source,
            })?;
            Ok::<_, StateError>(written)
        })
        .with_context(|| format!("failed to write {}", path.display()))?;
        staged.publish(name)?;
        Ok(run.layout.file_ref(path, digest_file(path)?))
    }

    /// Publishes the soup.
    fn finish(&self, plan: &SoupPlan, ingredients: Vec<Ingredient>, fitness: f64) -> Result<()> {
        let all: Vec<&Ingredient> = ingredients.iter().collect();
        let checkpoint = match all.as_slice() {
            [only] => only.checkpoint.clone(),
            several => self.write(several, &self.layout.checkpoint())?,
        };
        let record = SoupRecord { format: FORMAT, rounds: plan.round, ingredients, fitness, checkpoint };
        publish_json(&self.layout.record(), &record)?;
        Ok(())
    }
}

/// The decision after the results of a round.
#[derive(Debug, PartialEq)]
enum Decision {
    Wait(u32, Vec<MemberId>),
    Next(SoupPlan),
    Finished { ingredients: Vec<Ingredient>, fitness: f64 },
}

/// Decides from the plan of a round and the available results, in the order of the candidates. Pure.
fn decide(plan: &SoupPlan, results: &[Option<SoupResult>]) -> Decision {
    let missing = || {
        let open = results.iter().enumerate().filter(|(_, result)| result.is_none());
        Decision::Wait(plan.round, open.map(|(at, _)| MemberId(at as u32)).collect())
    };
    for (at, result) in results.iter().enumerate() {
        let Some(result) = result else { return missing() };
        let Some(fitness) = result.fitness.filter(|&fitness| fitness > plan.fitness) else { continue };
        let mut ingredients = plan.ingredients.clone();
        ingredients.push(plan.candidates[at].clone());
        let candidates = plan.candidates[at + 1..].to_vec();
        if candidates.is_empty() {
            return Decision::Finished { ingredients, fitness };
        }
        return Decision::Next(SoupPlan {
            format: FORMAT,
            round: plan.round + 1,
            ingredients,
            fitness,
            candidates,
        });
    }
    Decision::Finished { ingredients: plan.ingredients.clone(), fitness: plan.fitness }
}

/// The plan of the first round: the best member, and the candidates whose checkpoints exist.
fn first_plan(run: &Run) -> Result<SoupPlan> {
    let best = finished_best(run)?;
    let mut candidates: Vec<Ingredient> = Vec::new();
    let mut known = vec![best.checkpoint.digest.clone()];
    for candidate in soup_candidates(run, &best)? {
        let digest = &candidate.checkpoint.digest;
        // A child without changes has its parent's checkpoint.
        if !known.contains(digest) && exists(&run.path_of(&candidate.checkpoint)?)? {
            known.push(digest.clone());
            candidates.push(candidate);
        }
    }
    let first = Ingredient {
        generation: best.generation,
        member: best.member,
        fitness: Some(best.fitness),
        checkpoint: best.checkpoint,
    };
    Ok(SoupPlan { format: FORMAT, round: 1, fitness: best.fitness, ingredients: vec![first], candidates })
}

/// The best member of a finished search.
fn finished_best(run: &Run) -> Result<BestRecord> {
    let state = run.layout.root().display();
    let over = match run.latest_generation()? {
        Some(last) => {
            let plan = run.plan(last)?;
            let mut done = plan.to_epoch == run.config.search.epochs;
            for member in &plan.members {
                done = done && run.result(last, member.id)?.is_some();
            }
            done && run.best()?.is_none_or(|best| best.as_of == last)
        }
        None => false,
    };
    if !over {
        bail!(
            "a soup requires a finished search, and {state} is not finished: see `pbtnas status --state {state}`"
        );
    }
    run.best()?.with_context(|| format!("no member of {state} has a usable fitness"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::durable_fs::Digest;

    fn plan(candidates: u32) -> SoupPlan {
        let ingredient = |member| Ingredient {
            generation: 3,
            member: MemberId(member),
            fitness: Some(-f64::from(member)),
            checkpoint: FileRef { path: member.to_string(), size: 0, digest: Digest::of(b"") },
        };
        SoupPlan {
            format: FORMAT,
            round: 1,
            ingredients: vec![ingredient(0)],
            fitness: 0.0,
            candidates: (1..=candidates).map(ingredient).collect(),
        }
    }

    fn results(fitness: &[Option<f64>]) -> Vec<Option<SoupResult>> {
        let result =
            |fitness| SoupResult { format: FORMAT, fitness, metrics: Default::default(), failed: None };
        fitness.iter().map(|fitness| fitness.map(|f| result(Some(f).filter(|f| f.is_finite())))).collect()
    }

    #[test]
    fn the_first_candidate_that_improves_the_soup_is_added() {
        let results = results(&[Some(-1.0), Some(f64::NAN), Some(0.5), Some(2.0)]);
        let Decision::Next(next) = decide(&plan(4), &results) else { panic!() };
        let members = |list: &[Ingredient]| list.iter().map(|one| one.member.0).collect::<Vec<_>>();
        assert_eq!((next.round, next.fitness), (2, 0.5));
        assert_eq!(members(&next.ingredients), [0, 3]);
        assert_eq!(members(&next.candidates), [4]);
    }

    #[test]
    fn a_decision_does_not_wait_for_later_results() {
        assert_eq!(
            decide(&plan(3), &results(&[Some(-1.0), None, Some(1.0)])),
            Decision::Wait(1, vec![MemberId(1)])
        );
        let Decision::Next(next) = decide(&plan(3), &results(&[Some(0.1), None, None])) else { panic!() };
        assert_eq!(next.candidates.len(), 2);
    }

    #[test]
    fn it_ends_without_candidates_or_improvement() {
        let Decision::Finished { ingredients, fitness } =
            decide(&plan(2), &results(&[Some(0.0), Some(-1.0)]))
        else {
            panic!()
        };
        assert_eq!((ingredients.len(), fitness), (1, 0.0));
        let Decision::Finished { ingredients, fitness } = decide(&plan(1), &results(&[Some(1.0)])) else {
            panic!()
        };
        assert_eq!((ingredients.len(), fitness), (2, 1.0));
        assert!(matches!(decide(&plan(0), &[]), Decision::Finished { .. }));
    }
}

//! `pbtnas status`, and the tables that `pbtnas run` prints.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::history::{Generation, Member, MemberState};
use super::table::table;
use super::words::origin;
use crate::fmt;
use crate::fmt::{percent, short, spread};
use pbtnas_core::run::{BestRecord, Outcome};
use pbtnas_core::search::{Algorithm, MemberId, Origin};
use pbtnas_engine::run::Run;

/// What `pbtnas status --json` prints.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct RunStatus {
    /// The run directory.
    pub state: String,
    pub run_id: String,
    pub algorithm: Algorithm,
    /// The latest generation; null before the first one.
    pub generation: Option<u32>,
    /// Epochs that are complete at the end of the latest generation.
    pub to_epoch: u32,
    /// Epochs of the whole search.
    pub epochs: u32,
    /// Whether the search is complete.
    pub finished: bool,
    /// The best member of all generations so far.
    pub best: Option<BestRecord>,
    /// Members of the latest generation.
    pub members: Vec<MemberStatus>,
    /// Members of the latest generation whose last attempt failed, and members of the previous generation that failed
    /// permanently.
    pub failures: Vec<Failure>,
}

/// A failed member.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Failure {
    pub generation: u32,
    pub member: MemberId,
    /// The error; for the command task with the last lines that the command printed.
    pub reason: String,
}

/// A member of the latest generation.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct MemberStatus {
    pub id: MemberId,
    pub origin: Origin,
    pub state: MemberState,
    /// Values of the hyperparameters that are searched.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hyperparameters: BTreeMap<String, f64>,
    /// Completed fraction of the generation, 0 to 1.
    pub progress: f64,
    pub fitness: Option<f64>,
    /// Metrics of the evaluation, or the last metrics that training reported.
    pub metrics: BTreeMap<String, f64>,
    pub attempts: usize,
    /// Host of the last attempt.
    pub host: Option<String>,
    /// SLURM job of the last attempt.
    pub job: Option<String>,
}

/// Reads the status of a run. Reads the last two generations only.
pub fn status(run: &Run) -> Result<RunStatus> {
    let generation = run.latest_generation()?;
    let mut members = Vec::new();
    let mut failures = Vec::new();
    let (mut to_epoch, mut done) = (0, false);
    if let Some(before) = generation.and_then(|generation| generation.checked_sub(1)) {
        // `pbtnas verify` reports unreadable results.
        for result in run.results(before).unwrap_or_default().into_iter().flatten() {
            if let Outcome::Failed { reason, .. } = result.outcome {
                failures.push(Failure { generation: before, member: result.member, reason });
            }
        }
    }
    if let Some(number) = generation {
        let generation = Generation::read(run, number, number)?;
        (to_epoch, done) = (generation.to_epoch, generation.is_finished());
        for member in &generation.members {
            let failure = |reason| Failure { generation: number, member: member.plan.id, reason };
            failures.extend(member.failure().map(failure));
            members.push(member_status(run, member));
        }
    }
    let epochs = run.config.search.epochs;
    Ok(RunStatus {
        state: run.layout.root().display().to_string(),
        run_id: run.record.run_id.clone(),
        algorithm: run.config.search.algorithm,
        generation,
        to_epoch,
        epochs,
        finished: done && to_epoch == epochs,
        best: run.best()?,
        members,
        failures,
    })
}

fn member_status(run: &Run, member: &Member) -> MemberStatus {
    let (plan, last) = (&member.plan, member.attempts.last());
    MemberStatus {
        id: plan.id,
        origin: plan.origin.clone(),
        state: member.state(),
        hyperparameters: run
            .space
            .ranges()
            .filter_map(|(name, _)| Some((name.to_owned(), plan.genotype.number(name)?)))
            .collect(),
        progress: member.progress(),
        fitness: member.fitness(),
        metrics: member.metrics().cloned().unwrap_or_default(),
        attempts: member.attempts.len(),
        host: last.map(|attempt| attempt.start.host.clone()),
        job: last.and_then(|attempt| attempt.start.job.clone()),
    }
}

/// The text of `pbtnas status`.
pub fn status_table(status: &RunStatus) -> String {
    let mut text = format!("run {} in {} ({})\n", status.run_id, status.state, status.algorithm);
    match status.generation {
        None => text += "no generation yet; run `pbtnas step` or `pbtnas run`\n",
        Some(generation) => {
            let all_final = status.members.iter().all(|member| member.state.is_final());
            let any_done = status.members.iter().any(|member| member.state == MemberState::Done);
            let state = match all_final {
                true if !any_done => "complete, but no member has a fitness",
                _ if status.finished => "finished",
                true => "complete, the next generation is not planned yet",
                false => "training",
            };
            text += &format!(
                "generation {generation}, up to epoch {} of {}: {state}\n",
                status.to_epoch, status.epochs
            );
        }
    }
    if let Some(best) = &status.best {
        text += &format!(
            "best: member {} of generation {}, fitness {:.4}\n",
            best.member, best.generation, best.fitness
        );
    }
    if status.members.is_empty() {
        return text;
    }
    let hyperparameters: Vec<&str> =
        status.members.iter().take(1).flat_map(|m| m.hyperparameters.keys().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = status
        .members
        .iter()
        .map(|member| {
            let mut row = vec![
                member.id.to_string(),
                member.state.name().into(),
                percent(member.progress),
                fmt::fitness(member.fitness),
            ];
            row.extend(hyperparameters.iter().map(|&name| {
                member.hyperparameters.get(name).map_or_else(|| "-".into(), |&number| short(number))
            }));
            row.extend([
                origin(&member.origin),
                member.attempts.to_string(),
                member.job.clone().or_else(|| member.host.clone()).unwrap_or_else(|| "-".into()),
            ]);
            row
        })
        .collect();
    let mut head = vec!["member", "state", "done", "fitness"];
    head.extend(hyperparameters);
    head.extend(["origin", "attempts", "where"]);
    text += "\n";
    text += &table(&head, &rows);
    for failure in &status.failures {
        text += &format!(
            "\nmember {} of generation {}: {}\n",
            failure.member, failure.generation, failure.reason
        );
    }
    text
}

/// Best fitness, mean fitness and number of members with a fitness.
fn summary(run: &Run, generation: u32) -> Result<Option<(f64, f64, usize)>> {
    let mut values = Vec::new();
    for result in run.results(generation)?.into_iter().flatten() {
        if let Outcome::Trained { fitness: Some(fitness), .. } = result.outcome {
            values.push(fitness);
        }
    }
    let best = values.iter().copied().max_by(f64::total_cmp);
    Ok(best.map(|best| (best, values.iter().sum::<f64>() / values.len() as f64, values.len())))
}

/// A summary line of a generation; none if no member has a fitness.
pub fn generation_line(run: &Run, generation: u32) -> Result<Option<String>> {
    Ok(summary(run, generation)?.map(|(best, mean, count)| {
        format!(
            "generation {generation}: best fitness {best:.4}, mean {mean:.4}, {count} of {} members",
            run.config.search.population
        )
    }))
}

/// The table at the end of a search: one row per generation.
pub fn result_table(run: &Run) -> Result<String> {
    let mut rows = Vec::new();
    for generation in 0..=run.latest_generation()?.unwrap_or(0) {
        let plan = run.plan(generation)?;
        let replaced =
            plan.members.iter().filter(|m| matches!(m.origin, Origin::Mix { .. } | Origin::Mutation { .. }));
        let (best, mean, count) = match summary(run, generation)? {
            Some((best, mean, count)) => (format!("{best:.4}"), format!("{mean:.4}"), count),
            None => ("-".into(), "-".into(), 0),
        };
        let mut row = vec![
            generation.to_string(),
            plan.to_epoch.to_string(),
            best,
            mean,
            replaced.count().to_string(),
            format!("{count}/{}", plan.members.len()),
        ];
        row.extend(run.space.ranges().map(|(name, _)| {
            spread(plan.members.iter().filter_map(|member| member.genotype.number(name)).collect())
        }));
        rows.push(row);
    }
    let mut head = vec!["generation", "epoch", "best fitness", "mean fitness", "replaced", "trained"];
    head.extend(run.space.ranges().map(|(name, _)| name));
    let mut text = table(&head, &rows);
    if run.space.ranges().next().is_some() {
        text += "hyperparameters: median (lowest to highest) of the generation\n";
    }
    if let Some(best) = run.best()? {
        text += &format!(
            "best: member {} of generation {}, fitness {:.4}\n",
            best.member, best.generation, best.fitness
        );
        for (name, _) in run.space.ranges() {
            text += &format!("  {name} {}\n", best.genotype.number(name).map_or_else(|| "-".into(), short));
        }
        for (name, value) in &best.metrics {
            text += &format!("  {name} {value:.4}\n");
        }
    }
    Ok(text)
}

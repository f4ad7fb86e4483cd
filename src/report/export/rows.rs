//! Rows of the exported tables.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::report::history::{Generation, History, Member, spans};
use crate::report::words::origin;
use pbtnas_core::run::{AttemptEnd, Outcome};
use pbtnas_core::search::{Genotype, MemberId, Origin};

/// A line of members.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct MemberRow {
    pub generation: u32,
    pub member: MemberId,
    /// Complete epochs at the start of the generation.
    pub from_epoch: u32,
    /// Complete epochs at the end of the generation.
    pub to_epoch: u32,
    /// Epochs that the network was trained for; null before the result.
    pub epochs: Option<u32>,
    /// `trained`, `diverged`, `failed`, or `open` without a result.
    pub state: &'static str,
    pub fitness: Option<f64>,
    pub origin: Origin,
    /// The base or only parent.
    pub base: Option<MemberId>,
    /// The parent of the replaced variables.
    pub donor: Option<MemberId>,
    /// Seconds of all attempts.
    pub seconds: f64,
    /// The part of `seconds` that was lost to interruptions and failures.
    pub lost_seconds: f64,
    pub attempts: usize,
    /// Host of the last attempt.
    pub host: Option<String>,
    pub finished: Option<DateTime<Utc>>,
    pub metrics: BTreeMap<String, f64>,
    pub genotype: Genotype,
}

impl MemberRow {
    /// The columns of [`MemberRow::cells`].
    pub const COLUMNS: [&str; 15] = [
        "generation",
        "member",
        "from_epoch",
        "to_epoch",
        "epochs",
        "state",
        "fitness",
        "origin",
        "base",
        "donor",
        "seconds",
        "lost_seconds",
        "attempts",
        "host",
        "finished",
    ];

    /// The cells of a row.
    pub fn cells(&self) -> [String; 15] {
        fn or_empty(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        [
            self.generation.to_string(),
            self.member.0.to_string(),
            self.from_epoch.to_string(),
            self.to_epoch.to_string(),
            or_empty(self.epochs),
            self.state.to_owned(),
            or_empty(self.fitness),
            origin(&self.origin),
            or_empty(self.base.map(|id| id.0)),
            or_empty(self.donor.map(|id| id.0)),
            self.seconds.to_string(),
            self.lost_seconds.to_string(),
            self.attempts.to_string(),
            or_empty(self.host.as_ref()),
            or_empty(self.finished.map(|time| time.to_rfc3339())),
        ]
    }
}

/// A line of curves.jsonl: a metric that training reported.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct CurveRow {
    pub generation: u32,
    pub member: u32,
    /// Epochs that the network was trained for, with the fraction of the current one.
    pub epoch: f64,
    pub metric: String,
    pub value: f64,
}

impl CurveRow {
    /// In the order of the fields.
    pub const COLUMNS: [&str; 5] = ["generation", "member", "epoch", "metric", "value"];
}

/// A line of attempts.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct AttemptRow {
    pub generation: u32,
    pub member: u32,
    /// Counted from 1.
    pub attempt: u32,
    /// The SLURM job.
    pub job: Option<String>,
    pub host: String,
    pub started: DateTime<Utc>,
    /// The end, or the last heartbeat.
    pub ended: DateTime<Utc>,
    /// `done`, `stopped`, `superseded`, `storage-failed`, `failed`, or empty if it runs or ended without a record.
    pub ending: &'static str,
    pub seconds: f64,
    /// The part of `seconds` that was lost.
    pub lost_seconds: f64,
}

impl AttemptRow {
    /// In the order of the fields.
    pub const COLUMNS: [&str; 10] = [
        "generation",
        "member",
        "attempt",
        "job",
        "host",
        "started",
        "ended",
        "ending",
        "seconds",
        "lost_seconds",
    ];
}

pub fn members(history: &History) -> impl Iterator<Item = MemberRow> + '_ {
    all(history).map(|(generation, member)| {
        let mut parents = member.plan.origin.parents(member.plan.id).into_iter();
        let (base, donor) = (parents.next(), parents.next());
        let outcome = member.result.as_ref().map(|result| &result.outcome);
        let (state, epochs, metrics, finished) = match outcome {
            None => ("open", None, BTreeMap::new(), None),
            Some(Outcome::Failed { .. }) => ("failed", None, BTreeMap::new(), None),
            Some(Outcome::Trained { fitness, epoch, metrics, finished, .. }) => {
                let state = if fitness.is_some() { "trained" } else { "diverged" };
                (state, Some(*epoch), metrics.clone(), Some(*finished))
            }
        };
        let spans = spans(member);
        MemberRow {
            generation: generation.number,
            member: member.plan.id,
            from_epoch: generation.from_epoch,
            to_epoch: generation.to_epoch,
            epochs,
            state,
            fitness: member.fitness(),
            origin: member.plan.origin.clone(),
            base,
            donor,
            seconds: spans.iter().map(|span| span.seconds()).sum(),
            lost_seconds: spans.iter().map(|span| span.lost()).sum(),
            attempts: member.attempts.len(),
            host: member.attempts.last().map(|attempt| attempt.start.host.clone()),
            finished,
            metrics,
            genotype: member.plan.genotype.clone(),
        }
    })
}

pub fn metric_names(rows: &[MemberRow]) -> Vec<String> {
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.metrics.keys()).collect();
    names.into_iter().cloned().collect()
}

pub fn curves(history: &History) -> impl Iterator<Item = CurveRow> + '_ {
    let points = all(history).flat_map(|of| of.1.curve().iter().map(move |point| (of, point)));
    points.flat_map(|((generation, member), point)| {
        point.metrics.iter().map(move |(metric, value)| CurveRow {
            generation: generation.number,
            member: member.plan.id.0,
            epoch: point.epoch,
            metric: metric.clone(),
            value: *value,
        })
    })
}

pub fn attempts(history: &History) -> impl Iterator<Item = AttemptRow> + '_ {
    let attempts =
        all(history).flat_map(|of| of.1.attempts.iter().zip(spans(of.1)).map(move |one| (of, one)));
    attempts.map(|((generation, member), (attempt, span))| AttemptRow {
        generation: generation.number,
        member: member.plan.id.0,
        attempt: attempt.number,
        job: attempt.start.job.clone(),
        host: attempt.start.host.clone(),
        started: span.begin,
        ended: span.end,
        ending: match attempt.ending() {
            None => "",
            Some(AttemptEnd::Done) => "done",
            Some(AttemptEnd::Stopped { .. }) => "stopped",
            Some(AttemptEnd::Superseded) => "superseded",
            Some(AttemptEnd::StorageFailed { .. }) => "storage-failed",
            Some(AttemptEnd::Failed { .. }) => "failed",
        },
        seconds: span.seconds(),
        lost_seconds: span.lost(),
    })
}

fn all(history: &History) -> impl Iterator<Item = (&Generation, &Member)> {
    history.generations.iter().flat_map(|of| of.members.iter().map(move |member| (of, member)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::testing::{attempt, ended, generation, member, second};

    #[test]
    fn rows_have_parents_state_and_time() {
        let mut child = member(1, Some(2.5));
        child.plan.origin = Origin::Mix {
            base: MemberId(3),
            donor: MemberId(4),
            replaced: vec!["x".into()],
            explored: Vec::new(),
        };
        child.attempts = vec![attempt(1, 0)];
        child.attempts[0].end = Some(ended(30, AttemptEnd::Done));
        let history = History { generations: vec![generation(0, vec![member(0, None), child])] };
        let rows: Vec<MemberRow> = members(&history).collect();
        assert_eq!((rows[0].state, rows[0].fitness, rows[0].base), ("open", None, None));
        let row = &rows[1];
        assert_eq!((row.state, row.fitness, row.seconds), ("trained", Some(2.5), 30.0));
        assert_eq!((row.base, row.donor), (Some(MemberId(3)), Some(MemberId(4))));
        assert_eq!(row.cells()[8..10], ["3", "4"]);
        assert_eq!(metric_names(&rows), ["quality"]);
        let attempts: Vec<AttemptRow> = attempts(&history).collect();
        assert_eq!((attempts.len(), attempts[0].ending, attempts[0].ended), (1, "done", second(30)));
    }
}

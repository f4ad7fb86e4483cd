//! The cost of a search: time of attempts, lost time, idle time between generations.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{Generation, History, Member};
use pbtnas_core::run::{Attempt, AttemptEnd, Outcome};

/// The time span of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    pub begin: DateTime<Utc>,
    /// The end, or the last heartbeat.
    pub end: DateTime<Utc>,
    /// Work after this time is lost; none if nothing is lost.
    pub lost_from: Option<DateTime<Utc>>,
}

impl Span {
    pub fn seconds(&self) -> f64 {
        seconds(self.end - self.begin)
    }

    /// Lost seconds.
    pub fn lost(&self) -> f64 {
        self.lost_from.map_or(0.0, |from| seconds(self.end - from))
    }
}

/// Sums over a generation or a run; times are member-seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    pub attempts: usize,
    /// Attempts that were stopped by a signal or ended without a record.
    pub interruptions: usize,
    /// Attempts that ended with an error.
    pub failures: usize,
    /// Training and evaluation.
    pub seconds: f64,
    /// The part of `seconds` after the last snapshot before a sudden end.
    pub lost_seconds: f64,
    /// From the end of the previous generation to the first attempt of this one.
    pub idle_seconds: f64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            attempts: self.attempts + other.attempts,
            interruptions: self.interruptions + other.interruptions,
            failures: self.failures + other.failures,
            seconds: self.seconds + other.seconds,
            lost_seconds: self.lost_seconds + other.lost_seconds,
            idle_seconds: self.idle_seconds + other.idle_seconds,
        }
    }
}

/// The cost of each generation.
pub fn cost(history: &History) -> Vec<Cost> {
    let mut costs = Vec::new();
    let mut before: Option<DateTime<Utc>> = None;
    for generation in &history.generations {
        let mut sum = cost_of_generation(generation);
        let (begin, end) = bounds(generation);
        if let (Some(before), Some(begin)) = (before, begin) {
            sum.idle_seconds = seconds(begin - before);
        }
        before = end.or(before);
        costs.push(sum);
    }
    costs
}

/// The cost of one generation, without the time before it.
pub fn cost_of_generation(generation: &Generation) -> Cost {
    generation.members.iter().map(cost_of).fold(Cost::default(), |a, b| a + b)
}

/// Start of the first attempt, and end (or last heartbeat) of the last one.
pub fn bounds(generation: &Generation) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let spans: Vec<Span> = generation.members.iter().flat_map(spans).collect();
    (spans.iter().map(|span| span.begin).min(), spans.iter().map(|span| span.end).max())
}

fn cost_of(member: &Member) -> Cost {
    let spans = spans(member);
    let ended =
        |attempt: &Attempt| attempt.end.is_some() || !is_last(member, attempt) || member.result.is_some();
    let over = || member.attempts.iter().filter(|attempt| ended(attempt));
    Cost {
        attempts: member.attempts.len(),
        interruptions: over()
            .filter(|attempt| matches!(attempt.ending(), None | Some(AttemptEnd::Stopped { .. })))
            .count(),
        failures: over()
            .filter(|attempt| {
                matches!(attempt.ending(), Some(AttemptEnd::Failed { .. } | AttemptEnd::StorageFailed { .. }))
            })
            .count(),
        seconds: spans.iter().map(Span::seconds).sum(),
        lost_seconds: spans.iter().map(Span::lost).sum(),
        idle_seconds: 0.0,
    }
}

fn is_last(member: &Member, attempt: &Attempt) -> bool {
    member.attempts.last().is_some_and(|last| last.number == attempt.number)
}

/// The spans of a member's attempts, oldest first. An attempt without a recorded end ends at its last heartbeat.
pub fn spans(member: &Member) -> Vec<Span> {
    let span = |(at, attempt): (usize, &Attempt)| {
        let later = member.attempts[at + 1..].iter().filter_map(|later| later.start.left.clone());
        let beat = member.heartbeat.iter().map(|beat| beat.left());
        let at_last = member.result.iter().filter_map(|result| match &result.outcome {
            Outcome::Failed { left, .. } => left.clone(),
            Outcome::Trained { .. } => None,
        });
        let left = later.chain(beat).chain(at_last).find(|left| left.attempt == attempt.number);
        let begin = attempt.start.started;
        let seen = left.as_ref().map(|left| left.seen);
        let end = attempt.end.as_ref().map(|end| end.ended).or(seen).unwrap_or(begin).max(begin);
        let known = left.is_some();
        let saved = left.and_then(|left| left.saved).unwrap_or(begin).clamp(begin, end);
        let running = attempt.end.is_none() && is_last(member, attempt) && member.result.is_none();
        let lost_from = match attempt.ending() {
            Some(AttemptEnd::Done) => None,
            Some(AttemptEnd::Superseded) => Some(begin),
            None if running => None,
            // A stopped attempt saves a snapshot if there is time.
            Some(AttemptEnd::Stopped { .. }) => known.then_some(saved),
            Some(AttemptEnd::Failed { .. } | AttemptEnd::StorageFailed { .. }) | None => Some(saved),
        };
        Span { begin, end, lost_from }
    };
    member.attempts.iter().enumerate().map(span).collect()
}

/// Member-seconds in SLURM jobs, and the lost part of them.
pub fn job_seconds(history: &History) -> (f64, f64) {
    let members = history.generations.iter().flat_map(|generation| &generation.members);
    let jobs = members.flat_map(|member| spans(member).into_iter().zip(&member.attempts));
    jobs.filter(|(_, attempt)| attempt.start.job.is_some())
        .fold((0.0, 0.0), |(all, lost), (span, _)| (all + span.seconds(), lost + span.lost()))
}

fn seconds(time: TimeDelta) -> f64 {
    (time.num_milliseconds() as f64 / 1000.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attempt, beat, ended, generation, member, second};
    use super::*;
    use pbtnas_core::run::{Heartbeat, LastSeen};

    #[test]
    fn work_after_the_last_snapshot_is_lost() {
        let mut killed = member(0, None);
        killed.attempts = vec![attempt(1, 0), attempt(2, 100), attempt(3, 200), attempt(4, 300)];
        // Last heartbeat at 50, snapshot at 30; then stopped with a snapshot; then an error 20 s after the last
        // snapshot.
        killed.attempts[1].start.left =
            Some(LastSeen { attempt: 1, seen: second(50), saved: Some(second(30)) });
        killed.attempts[1].end = Some(ended(160, AttemptEnd::Stopped { signal: "SIGTERM".into() }));
        killed.attempts[2].end = Some(ended(240, AttemptEnd::Failed { message: "no".into() }));
        killed.attempts[3].start.left =
            Some(LastSeen { attempt: 3, seen: second(239), saved: Some(second(220)) });
        killed.heartbeat = Some(Heartbeat { at: second(330), ..beat(4) });
        let cost = cost_of(&killed);
        assert_eq!((cost.attempts, cost.interruptions, cost.failures), (4, 2, 1));
        assert_eq!((cost.seconds, cost.lost_seconds), (50.0 + 60.0 + 40.0 + 30.0, 20.0 + 20.0));
        // Stopped without a snapshot.
        killed.attempts[2].start.left =
            Some(LastSeen { attempt: 2, seen: second(159), saved: Some(second(110)) });
        assert_eq!(cost_of(&killed).lost_seconds, 20.0 + 50.0 + 20.0);
        // The first two attempts as jobs.
        for attempt in &mut killed.attempts[..2] {
            attempt.start.job = Some("41_0".into());
        }
        killed.attempts[2].start.job = None;
        killed.attempts[3].start.job = None;
        let history = History { generations: vec![generation(0, vec![killed])] };
        assert_eq!(job_seconds(&history), (50.0 + 60.0, 20.0 + 50.0));
    }

    #[test]
    fn an_attempt_without_heartbeat_has_no_time() {
        let mut member = member(0, Some(1.0));
        member.attempts = vec![attempt(1, 0), attempt(2, 10)];
        member.attempts[1].end = Some(ended(20, AttemptEnd::Done));
        let cost = cost_of(&member);
        assert_eq!((cost.seconds, cost.lost_seconds, cost.interruptions), (10.0, 0.0, 1));
    }

    #[test]
    fn time_between_generations_is_idle() {
        let with = |number, begin, end| {
            let mut member = member(0, Some(1.0));
            member.attempts = vec![attempt(1, begin)];
            member.attempts[0].end = Some(ended(end, AttemptEnd::Done));
            generation(number, vec![member])
        };
        let history = History { generations: vec![with(0, 0, 50), with(1, 57, 100)] };
        let costs = cost(&history);
        assert_eq!((costs[0].idle_seconds, costs[1].idle_seconds), (0.0, 7.0));
        let sum = costs.into_iter().fold(Cost::default(), |a, b| a + b);
        assert_eq!((sum.seconds, sum.idle_seconds, sum.attempts), (93.0, 7.0, 2));
    }
}

//! Events: the differences between two readings of a run.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::report::history::{Generation, Member, bounds};
use crate::report::words::origin;
use crate::term::plain;
use pbtnas_core::run::{Attempt, AttemptEnd, Outcome};
use pbtnas_core::search::{Ancestor, MemberId};

/// An event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Event {
    /// When, if a record contains the time.
    pub at: Option<DateTime<Utc>>,
    pub generation: u32,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Kind of an event.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A generation was published.
    Generation {
        /// Epochs complete before it.
        from_epoch: u32,
        /// Epochs complete after it.
        to_epoch: u32,
        /// Number of members.
        members: usize,
        /// Members that were replaced by new networks.
        replaced: Vec<Replaced>,
    },
    /// An attempt ended without a result.
    Interrupted {
        member: MemberId,
        attempt: u32,
        host: String,
        /// Id of its SLURM job.
        job: Option<String>,
        /// `preempted` (SIGTERM in a SLURM job), `stopped` (any other signal), `lost` (no end was recorded), `storage-failed`
        /// (the filesystem failed) or `failed`.
        how: &'static str,
        reason: String,
    },
    /// A member was trained.
    Done {
        member: MemberId,
        /// Null if it diverged.
        fitness: Option<f64>,
    },
    /// All attempts of a member failed.
    GivenUp {
        member: MemberId,
        /// Why the last attempt failed.
        reason: String,
    },
    /// The search is finished.
    Finished {
        /// The best member of all generations.
        best: Option<Ancestor>,
        fitness: Option<f64>,
    },
}

/// A member that was replaced.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Replaced {
    pub member: MemberId,
    /// Origin of the new network.
    pub by: String,
}

/// The events between two readings, which begin with the same generation. `finished`: the last generation ends the
/// search, with this best member.
pub fn events(
    before: &[Generation],
    after: &[Generation],
    finished: Option<Option<(Ancestor, f64)>>,
) -> Vec<Event> {
    let mut events = Vec::new();
    for (position, generation) in after.iter().enumerate() {
        let known = before.get(position);
        if known.is_none() {
            events.push(published(generation));
        }
        let mut of_members = Vec::new();
        for (place, member) in generation.members.iter().enumerate() {
            let known = known.and_then(|known| known.members.get(place));
            member_events(generation.number, known, member, &mut of_members);
        }
        // Events without a time are new.
        of_members.sort_by_key(|event| (event.at.is_none(), event.at));
        events.extend(of_members);
    }
    let was_finished = before.len() == after.len() && before.iter().all(Generation::is_finished);
    if let (Some(best), Some(last), false) = (finished, after.last(), was_finished && !before.is_empty()) {
        let kind = EventKind::Finished { best: best.map(|best| best.0), fitness: best.map(|best| best.1) };
        let at = events.iter().filter_map(|event| event.at).max();
        events.push(Event { at, generation: last.number, kind });
    }
    events
}

fn published(generation: &Generation) -> Event {
    let replaced = generation
        .members
        .iter()
        .filter(|member| member.plan.origin.is_replacement())
        .filter(|_| generation.number > 0);
    let kind = EventKind::Generation {
        from_epoch: generation.from_epoch,
        to_epoch: generation.to_epoch,
        members: generation.members.len(),
        replaced: replaced
            .map(|member| Replaced { member: member.plan.id, by: origin(&member.plan.origin) })
            .collect(),
    };
    // Plans contain no time, since they must not depend on the clock: use the start of the first attempt.
    Event { at: bounds(generation).0, generation: generation.number, kind }
}

fn member_events(generation: u32, before: Option<&Member>, member: &Member, events: &mut Vec<Event>) {
    let id = member.plan.id;
    let is_over = |of: &Member, attempt: &Attempt| {
        // An attempt without an end is over once there is a later one or a result.
        attempt.end.is_some()
            || of.result.is_some()
            || of.attempts.last().is_some_and(|last| last.number > attempt.number)
    };
    for attempt in &member.attempts {
        let known = before.and_then(|before| {
            let known = before.attempts.iter().find(|known| known.number == attempt.number)?;
            is_over(before, known).then_some(known)
        });
        if known.is_some() || !is_over(member, attempt) {
            continue;
        }
        let how = match attempt.ending() {
            Some(AttemptEnd::Done | AttemptEnd::Superseded) => continue,
            Some(AttemptEnd::Stopped { signal }) if signal == "SIGTERM" && attempt.start.job.is_some() => {
                "preempted"
            }
            Some(AttemptEnd::Stopped { .. }) => "stopped",
            Some(AttemptEnd::StorageFailed { .. }) => "storage-failed",
            Some(AttemptEnd::Failed { .. }) => "failed",
            None => "lost",
        };
        let kind = EventKind::Interrupted {
            member: id,
            attempt: attempt.number,
            host: attempt.start.host.clone(),
            job: attempt.start.job.clone(),
            how,
            reason: attempt.reason(),
        };
        events.push(Event { at: attempt.end.as_ref().map(|end| end.ended), generation, kind });
    }
    let Some(result) = member.result.as_ref().filter(|_| before.is_none_or(|before| before.result.is_none()))
    else {
        return;
    };
    let (at, kind) = match &result.outcome {
        Outcome::Trained { fitness, finished, .. } => {
            (Some(*finished), EventKind::Done { member: id, fitness: *fitness })
        }
        Outcome::Failed { reason, .. } => {
            let last = member.attempts.last().and_then(|last| last.end.as_ref());
            (last.map(|end| end.ended), EventKind::GivenUp { member: id, reason: reason.clone() })
        }
    };
    events.push(Event { at, generation, kind });
}

/// Sanitised text with all lines after the first indented.
fn indented(text: &str) -> String {
    text.trim_end().lines().map(plain).collect::<Vec<_>>().join("\n    ")
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generation = self.generation;
        match &self.kind {
            EventKind::Generation { from_epoch, to_epoch, members, replaced } => {
                write!(f, "generation {generation}, epochs {from_epoch} to {to_epoch}: ")?;
                let list = |one: &Replaced| format!("{} <- {}", one.member, one.by);
                match replaced.is_empty() {
                    true => write!(f, "{members} members"),
                    false => write!(
                        f,
                        "{} of {members} replaced: {}",
                        replaced.len(),
                        replaced.iter().map(list).collect::<Vec<_>>().join("; ")
                    ),
                }
            }
            EventKind::Interrupted { member, attempt, host, job, how, reason } => {
                let job = job.as_ref().map_or(String::new(), |job| format!(", job {}", plain(job)));
                let (host, reason) = (plain(host), indented(reason));
                write!(f, "member {member}: attempt {attempt} {how} on {host}{job}: {reason}")
            }
            EventKind::Done { member, fitness: Some(fitness) } => {
                write!(f, "member {member}: done, fitness {fitness:.4}")
            }
            EventKind::Done { member, fitness: None } => write!(f, "member {member}: diverged"),
            EventKind::GivenUp { member, reason } => {
                write!(f, "member {member}: given up: {}", indented(reason))
            }
            EventKind::Finished { best: Some(best), fitness: Some(fitness) } => write!(
                f,
                "finished; best: member {} of generation {}, fitness {fitness:.4}",
                best.member, best.generation
            ),
            EventKind::Finished { .. } => write!(f, "finished; no member has a fitness"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::testing::{attempt, ended, generation, member, second};
    use pbtnas_core::search::Origin;

    fn texts(events: &[Event]) -> Vec<String> {
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_event_once_and_in_order() {
        let empty = generation(0, vec![member(0, None), member(1, None)]);
        let none = events(&[], std::slice::from_ref(&empty), None);
        assert_eq!(texts(&none), ["generation 0, epochs 0 to 2: 2 members"]);
        assert_eq!(none[0].at, None);

        let mut running = empty.clone();
        running.members[0].attempts = vec![attempt(1, 5), attempt(2, 20)];
        running.members[1].attempts = vec![attempt(1, 5)];
        running.members[1].attempts[0].start.job = Some("7_1".into());
        running.members[1].attempts[0].end = Some(ended(9, AttemptEnd::Stopped { signal: "SIGTERM".into() }));
        let seen = events(std::slice::from_ref(&empty), std::slice::from_ref(&running), None);
        assert_eq!(
            texts(&seen),
            [
                "member 01: attempt 1 preempted on here, job 7_1: stopped by SIGTERM",
                "member 00: attempt 1 lost on here: it ended without a record (killed, out of memory, or its machine failed)",
            ]
        );
        assert_eq!(seen[0].at, Some(second(9)));
        // SIGUSR1 is the warning before the time limit.
        let mut warned = running.clone();
        warned.members[1].attempts[0].end = Some(ended(9, AttemptEnd::Stopped { signal: "SIGUSR1".into() }));
        let seen = events(std::slice::from_ref(&empty), &[warned], None);
        assert_eq!(texts(&seen)[0], "member 01: attempt 1 stopped on here, job 7_1: stopped by SIGUSR1");
        assert_eq!(events(std::slice::from_ref(&running), std::slice::from_ref(&running), None), []);

        let mut done = running.clone();
        done.members[0].result = member(0, Some(2.5)).result;
        done.members[0].attempts[1].end = Some(ended(60, AttemptEnd::Done));
        done.members[1].attempts.push(attempt(2, 70));
        done.members[1].attempts[1].end =
            Some(ended(80, AttemptEnd::Failed { message: "bad\nworse\n".into() }));
        let mut next = generation(1, vec![member(0, None), member(1, None)]);
        next.members[0].plan.origin = Origin::Survivor;
        next.members[1].plan.origin = Origin::Mix {
            base: MemberId(0),
            donor: MemberId(1),
            replaced: vec!["x".into()],
            explored: Vec::new(),
        };
        let seen = events(std::slice::from_ref(&running), &[done.clone(), next.clone()], None);
        assert_eq!(
            texts(&seen),
            [
                "member 00: done, fitness 2.5000",
                "member 01: attempt 2 failed on here: bad\n    worse",
                "generation 1, epochs 2 to 4: 1 of 2 replaced: 01 <- 00 + 1 variable(s) of 01",
            ]
        );
        let json = serde_json::to_value(&seen[0]).unwrap();
        assert_eq!(
            json.to_string(),
            r#"{"at":"1970-01-01T00:01:00Z","event":"done","fitness":2.5,"generation":0,"member":0}"#
        );

        let mut last = next.clone();
        last.members[0].result = member(0, Some(1.0)).result;
        last.members[1].result = member(1, Some(3.0)).result;
        let best = Some((Ancestor { generation: 1, member: MemberId(1) }, 3.0));
        let seen = events(&[next], std::slice::from_ref(&last), Some(best));
        assert_eq!(
            texts(&seen).last().map(String::as_str),
            Some("finished; best: member 01 of generation 1, fitness 3.0000")
        );
        assert_eq!(events(std::slice::from_ref(&last), std::slice::from_ref(&last), Some(best)), []);
        // The first reading of a finished run includes its end.
        assert_eq!(texts(&events(&[], &[last], Some(best))).len(), 4);
    }
}

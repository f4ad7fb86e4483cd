//! What happened between two looks at a run.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::plain::plain;
use crate::report::history::{Generation, Member, bounds};
use crate::report::words::origin;
use crate::search::{Ancestor, MemberId};
use crate::state::{Attempt, Ending, Outcome};

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Event {
    /// When, if a record tells.
    pub at: Option<DateTime<Utc>>,
    /// The generation.
    pub generation: u32,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A generation was published.
    Generation {
        /// Epochs that are complete before it.
        from_epoch: u32,
        /// Epochs that are complete after it.
        to_epoch: u32,
        /// Its members.
        members: usize,
        /// The places that were taken over by others, with who took them.
        replaced: Vec<Replaced>,
    },
    /// An attempt ended and the member is not done.
    Interrupted {
        /// The member.
        member: MemberId,
        /// The attempt.
        attempt: u32,
        /// Where it ran.
        host: String,
        /// Its job.
        job: Option<String>,
        /// `preempted` (by SIGTERM), `stopped`, `lost` (without a word), `hindered` (by the filesystem) or `failed`.
        how: &'static str,
        /// Why.
        reason: String,
    },
    /// A member was trained.
    Done {
        /// The member.
        member: MemberId,
        /// Its fitness; null if it diverged.
        fitness: Option<f64>,
    },
    /// A member was given up.
    GivenUp {
        /// The member.
        member: MemberId,
        /// Why its last attempt failed.
        reason: String,
    },
    /// The search is over.
    Finished {
        /// The best member of all.
        best: Option<Ancestor>,
        /// Its fitness.
        fitness: Option<f64>,
    },
}

/// A place that was taken over.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Replaced {
    /// The place.
    pub member: MemberId,
    /// Where its new member comes from.
    pub by: String,
}

/// What happened from one look at a run's generations to the next; both begin with the same generation. `finished` tells
/// that the last of them ends the search, and with which best member.
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
        // What has no time has just been seen.
        of_members.sort_by_key(|event| (event.at.is_none(), event.at));
        events.extend(of_members);
    }
    let was_finished = before.len() == after.len() && before.iter().all(Generation::is_finished);
    if let (Some(best), Some(last), false) = (finished, after.last(), was_finished && !before.is_empty()) {
        let what = What::Finished { best: best.map(|best| best.0), fitness: best.map(|best| best.1) };
        let at = events.iter().filter_map(|event| event.at).max();
        events.push(Event { at, generation: last.number, what });
    }
    events
}

fn published(generation: &Generation) -> Event {
    let replaced = generation
        .members
        .iter()
        .filter(|member| member.plan.origin.is_replacement())
        .filter(|_| generation.number > 0);
    let what = What::Generation {
        from_epoch: generation.from_epoch,
        to_epoch: generation.to_epoch,
        members: generation.members.len(),
        replaced: replaced
            .map(|member| Replaced { member: member.plan.id, by: origin(&member.plan.origin) })
            .collect(),
    };
    // The plan has no time: it must not depend on the clock. The first attempt begins soon after it.
    Event { at: bounds(generation).0, generation: generation.number, what }
}

fn member_events(generation: u32, before: Option<&Member>, member: &Member, events: &mut Vec<Event>) {
    let id = member.plan.id;
    let is_over = |of: &Member, attempt: &Attempt| {
        // One without an end is over when another one has begun, or the member has a result.
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
            Some(Ending::Done | Ending::Superseded) => continue,
            Some(Ending::Stopped { signal }) if signal == "SIGTERM" && attempt.start.job.is_some() => {
                "preempted"
            }
            Some(Ending::Stopped { .. }) => "stopped",
            Some(Ending::Hindered { .. }) => "hindered",
            Some(Ending::Failed { .. }) => "failed",
            None => "lost",
        };
        let what = What::Interrupted {
            member: id,
            attempt: attempt.number,
            host: attempt.start.host.clone(),
            job: attempt.start.job.clone(),
            how,
            reason: attempt.reason(),
        };
        events.push(Event { at: attempt.end.as_ref().map(|end| end.ended), generation, what });
    }
    let Some(result) = member.result.as_ref().filter(|_| before.is_none_or(|before| before.result.is_none()))
    else {
        return;
    };
    let (at, what) = match &result.outcome {
        Outcome::Trained { fitness, finished, .. } => {
            (Some(*finished), What::Done { member: id, fitness: *fitness })
        }
        Outcome::Failed { reason, .. } => {
            let last = member.attempts.last().and_then(|last| last.end.as_ref());
            (last.map(|end| end.ended), What::GivenUp { member: id, reason: reason.clone() })
        }
    };
    events.push(Event { at, generation, what });
}

/// Lines of somebody else's, those after the first indented.
fn indented(text: &str) -> String {
    text.trim_end().lines().map(plain).collect::<Vec<_>>().join("\n    ")
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generation = self.generation;
        match &self.what {
            What::Generation { from_epoch, to_epoch, members, replaced } => {
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
            What::Interrupted { member, attempt, host, job, how, reason } => {
                let job = job.as_ref().map_or(String::new(), |job| format!(", job {}", plain(job)));
                let (host, reason) = (plain(host), indented(reason));
                write!(f, "member {member}: attempt {attempt} {how} on {host}{job}: {reason}")
            }
            What::Done { member, fitness: Some(fitness) } => {
                write!(f, "member {member}: done, fitness {fitness:.4}")
            }
            What::Done { member, fitness: None } => write!(f, "member {member}: diverged"),
            What::GivenUp { member, reason } => {
                write!(f, "member {member}: given up: {}", indented(reason))
            }
            What::Finished { best: Some(best), fitness: Some(fitness) } => write!(
                f,
                "finished; best: member {} of generation {}, fitness {fitness:.4}",
                best.member, best.generation
            ),
            What::Finished { .. } => write!(f, "finished; no member has a fitness"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::testing::{attempt, ended, generation, member, second};
    use crate::search::Origin;

    fn texts(events: &[Event]) -> Vec<String> {
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_thing_is_told_once_and_in_order() {
        let empty = generation(0, vec![member(0, None), member(1, None)]);
        let none = events(&[], std::slice::from_ref(&empty), None);
        assert_eq!(texts(&none), ["generation 0, epochs 0 to 2: 2 members"]);
        assert_eq!(none[0].at, None);

        let mut running = empty.clone();
        running.members[0].attempts = vec![attempt(1, 5), attempt(2, 20)];
        running.members[1].attempts = vec![attempt(1, 5)];
        running.members[1].attempts[0].start.job = Some("7_1".into());
        running.members[1].attempts[0].end = Some(ended(9, Ending::Stopped { signal: "SIGTERM".into() }));
        let seen = events(std::slice::from_ref(&empty), std::slice::from_ref(&running), None);
        assert_eq!(
            texts(&seen),
            [
                "member 01: attempt 1 preempted on here, job 7_1: stopped by SIGTERM",
                "member 00: attempt 1 lost on here: it ended without a word (killed, out of memory, or its machine was lost)",
            ]
        );
        assert_eq!(seen[0].at, Some(second(9)));
        assert_eq!(events(std::slice::from_ref(&running), std::slice::from_ref(&running), None), []);

        let mut done = running.clone();
        done.members[0].result = member(0, Some(2.5)).result;
        done.members[0].attempts[1].end = Some(ended(60, Ending::Done));
        done.members[1].attempts.push(attempt(2, 70));
        done.members[1].attempts[1].end = Some(ended(80, Ending::Failed { message: "bad\nworse\n".into() }));
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
        // A finished run that is seen for the first time has ended, too.
        assert_eq!(texts(&events(&[], &[last], Some(best))).len(), 4);
    }
}

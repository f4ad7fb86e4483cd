//! What a member is at.

use std::collections::BTreeMap;

use super::Member;
use crate::state::{Ending, Outcome};

/// What a member is at, as far as the run's directory tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// It trains.
    Training,
    /// It is trained, and its fitness is measured.
    Evaluating,
    /// An attempt failed, and another one will come.
    Retrying,
    /// A signal told it to leave: it was preempted, near its time limit, or interrupted.
    Stopped,
    /// Nobody has begun with it.
    Waiting,
    /// It has a fitness.
    Done,
    /// It has a network, and no finite fitness.
    Diverged,
    /// All its attempts failed.
    Failed,
}

impl MemberState {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Evaluating => "evaluating",
            Self::Retrying => "retrying",
            Self::Stopped => "stopped",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }
}

impl Member {
    /// What it is at.
    pub fn state(&self) -> MemberState {
        match self.result.as_ref().map(|result| &result.outcome) {
            Some(Outcome::Trained { fitness: Some(_), .. }) => return MemberState::Done,
            Some(Outcome::Trained { fitness: None, .. }) => return MemberState::Diverged,
            Some(Outcome::Failed { .. }) => return MemberState::Failed,
            None => {}
        }
        let Some(last) = self.attempts.last() else { return MemberState::Waiting };
        let beat = self.heartbeat.as_ref().filter(|beat| beat.attempt == last.number);
        match last.ending() {
            None if beat.is_some_and(|beat| beat.phase == "evaluating") => MemberState::Evaluating,
            None => MemberState::Training,
            Some(Ending::Stopped { .. }) => MemberState::Stopped,
            // Its result was withdrawn, and it is trained again.
            Some(Ending::Done | Ending::Superseded) => MemberState::Waiting,
            Some(_) => MemberState::Retrying,
        }
    }

    /// Part of the step that is done, 0 to 1.
    pub fn progress(&self) -> f64 {
        match self.state() {
            MemberState::Done | MemberState::Diverged => 1.0,
            MemberState::Failed => 0.0,
            _ => self.heartbeat.as_ref().map_or(0.0, |beat| beat.fraction),
        }
    }

    /// The numbers behind its fitness, or those that training told last.
    pub fn metrics(&self) -> Option<&BTreeMap<String, f64>> {
        match self.result.as_ref().map(|result| &result.outcome) {
            Some(Outcome::Trained { metrics, .. }) => Some(metrics),
            Some(Outcome::Failed { .. }) => None,
            None => self.heartbeat.as_ref().map(|beat| &beat.metrics),
        }
    }

    /// Why it failed, or its last attempt: for a program of the user's with the end of what it printed.
    pub fn failure(&self) -> Option<String> {
        match self.result.as_ref().map(|result| &result.outcome) {
            Some(Outcome::Failed { reason, .. }) => Some(reason.clone()),
            Some(Outcome::Trained { .. }) => None,
            None => {
                self.attempts.last().filter(|_| self.state() == MemberState::Retrying).map(|one| one.reason())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attempt, beat, ended, member};
    use super::*;
    use crate::state::Heartbeat;

    #[test]
    fn a_member_s_state_is_that_of_its_last_attempt_until_there_is_a_result() {
        let mut one = member(0, None);
        assert_eq!((one.state(), one.failure()), (MemberState::Waiting, None));
        one.attempts = vec![attempt(1, 0)];
        assert_eq!(one.state(), MemberState::Training);
        one.heartbeat = Some(Heartbeat { phase: "evaluating".into(), fraction: 1.0, ..beat(1) });
        assert_eq!((one.state(), one.progress()), (MemberState::Evaluating, 1.0));
        one.attempts[0].end = Some(ended(5, Ending::Stopped { signal: "SIGTERM".into() }));
        assert_eq!((one.state(), one.failure()), (MemberState::Stopped, None));
        one.attempts[0].end = Some(ended(5, Ending::Failed { message: "no".into() }));
        assert_eq!((one.state(), one.failure()), (MemberState::Retrying, Some("no".into())));
        one.attempts[0].end = Some(ended(5, Ending::Done));
        assert_eq!((one.state(), one.failure()), (MemberState::Waiting, None), "its result was withdrawn");
        one.attempts[0].end = Some(ended(5, Ending::Failed { message: "no".into() }));
        one.attempts.push(attempt(2, 10));
        assert_eq!(one.state(), MemberState::Training, "the heartbeat is that of the attempt before");
        one.result = member(0, Some(1.0)).result;
        assert_eq!((one.state(), one.progress()), (MemberState::Done, 1.0));
        one.settle();
        assert_eq!(one.attempts[1].end, None, "it was the first attempt's result");
        one.attempts[0].end = None;
        one.settle();
        assert_eq!(one.attempts[0].ending(), Some(&Ending::Done));
    }
}

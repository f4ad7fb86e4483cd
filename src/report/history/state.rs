//! The state of a member.

use std::collections::BTreeMap;

use super::Member;
use pbtnas_core::run::{AttemptEnd, Outcome};

/// State of a member. `starting`, `queued`, `held` and `preempted` are known only with the SLURM queue (`pbtnas watch`);
/// without it they are `waiting` or `stopped`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// An attempt is training.
    Training,
    /// Training is complete; the fitness is being measured.
    Evaluating,
    /// Its job runs; no attempt has been recorded yet.
    Starting,
    /// The last attempt failed; it will be retried.
    Retrying,
    /// A signal stopped the attempt of a SLURM job; the job is requeued or will be.
    Preempted,
    /// A signal stopped the last attempt.
    Stopped,
    /// Its job is held, or its dependency can never be satisfied.
    Held,
    /// Its job is in the queue.
    Queued,
    /// No attempt has started.
    Waiting,
    /// It has a fitness.
    Done,
    /// It has a network, but no finite fitness.
    Diverged,
    /// All its attempts failed.
    Failed,
}

impl MemberState {
    /// The name in tables and in JSON, at most ten letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Evaluating => "evaluating",
            Self::Starting => "starting",
            Self::Retrying => "retrying",
            Self::Preempted => "preempted",
            Self::Stopped => "stopped",
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }

    /// Whether the member occupies a machine.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Training | Self::Evaluating | Self::Starting)
    }

    /// Whether the member has a result for this generation.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Diverged | Self::Failed)
    }
}

impl Member {
    /// The state according to the run directory.
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
            Some(AttemptEnd::Stopped { .. }) => MemberState::Stopped,
            // Its result was quarantined.
            Some(AttemptEnd::Done | AttemptEnd::Superseded) => MemberState::Waiting,
            Some(_) => MemberState::Retrying,
        }
    }

    /// Completed fraction of the generation, 0 to 1.
    pub fn progress(&self) -> f64 {
        match self.state() {
            MemberState::Done | MemberState::Diverged => 1.0,
            MemberState::Failed => 0.0,
            _ => self.heartbeat.as_ref().map_or(0.0, |beat| beat.fraction),
        }
    }

    /// Metrics of the result, or of the heartbeat.
    pub fn metrics(&self) -> Option<&BTreeMap<String, f64>> {
        match self.result.as_ref().map(|result| &result.outcome) {
            Some(Outcome::Trained { metrics, .. }) => Some(metrics),
            Some(Outcome::Failed { .. }) => None,
            None => self.heartbeat.as_ref().map(|beat| &beat.metrics),
        }
    }

    /// The error of a failed member or a failed last attempt.
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
    use pbtnas_core::run::Heartbeat;

    #[test]
    fn member_state_is_that_of_the_last_attempt_until_there_is_a_result() {
        let mut one = member(0, None);
        assert_eq!((one.state(), one.failure()), (MemberState::Waiting, None));
        one.attempts = vec![attempt(1, 0)];
        assert_eq!(one.state(), MemberState::Training);
        one.heartbeat = Some(Heartbeat { phase: "evaluating".into(), fraction: 1.0, ..beat(1) });
        assert_eq!((one.state(), one.progress()), (MemberState::Evaluating, 1.0));
        one.attempts[0].end = Some(ended(5, AttemptEnd::Stopped { signal: "SIGTERM".into() }));
        assert_eq!((one.state(), one.failure()), (MemberState::Stopped, None));
        one.attempts[0].end = Some(ended(5, AttemptEnd::Failed { message: "no".into() }));
        assert_eq!((one.state(), one.failure()), (MemberState::Retrying, Some("no".into())));
        one.attempts[0].end = Some(ended(5, AttemptEnd::Done));
        assert_eq!((one.state(), one.failure()), (MemberState::Waiting, None), "its result was quarantined");
        one.attempts[0].end = Some(ended(5, AttemptEnd::Failed { message: "no".into() }));
        one.attempts.push(attempt(2, 10));
        assert_eq!(one.state(), MemberState::Training, "the heartbeat is from the previous attempt");
        one.result = member(0, Some(1.0)).result;
        assert_eq!((one.state(), one.progress()), (MemberState::Done, 1.0));
        one.settle();
        assert_eq!(one.attempts[1].end, None, "the first attempt published the result");
        one.attempts[0].end = None;
        one.settle();
        assert_eq!(one.attempts[0].ending(), Some(&AttemptEnd::Done));
    }
}

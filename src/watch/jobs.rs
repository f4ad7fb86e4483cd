//! The jobs of a run in the SLURM queue.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use crate::report::history::{Member, MemberState};
use pbtnas_core::search::MemberId;
use pbtnas_engine::scheduler::slurm::Queue;
use pbtnas_engine::scheduler::slurm::parse::{Job, JobState};

/// The last answer of the scheduler.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Jobs {
    /// The jobs of a generation; none if none was submitted to SLURM, or before the first answer.
    pub queue: Option<Queue>,
    pub queried_at: Option<DateTime<Utc>>,
    /// The error of the last query.
    pub error: Option<String>,
}

impl Jobs {
    /// The training tasks of a generation.
    pub fn tasks(&self, generation: u32) -> Tasks<'_> {
        let queue = self.queue.as_ref().filter(|queue| queue.generation == generation);
        let jobs = queue.into_iter().flat_map(|queue| &queue.tasks);
        Tasks { queue, by_id: jobs.map(|job| (&*job.id, job)).collect() }
    }
}

pub struct Tasks<'a> {
    /// None if the queue is that of another generation.
    pub queue: Option<&'a Queue>,
    by_id: HashMap<&'a str, &'a Job>,
}

impl<'a> Tasks<'a> {
    /// The task of a member, if it is in the queue.
    pub fn of(&self, member: MemberId) -> Option<&'a Job> {
        let id = self.queue?.task_of.get(&member)?;
        self.by_id.get(&**id).copied()
    }

    /// The members of each task, by task id.
    pub fn members(&self) -> BTreeMap<&'a str, Vec<MemberId>> {
        let mut members: BTreeMap<&str, Vec<MemberId>> = BTreeMap::new();
        for (&member, task) in self.queue.into_iter().flat_map(|queue| &queue.task_of) {
            members.entry(task).or_default().push(member);
        }
        members
    }
}

/// The job of a member's last attempt.
pub fn last_job(member: &Member) -> Option<&str> {
    member.attempts.last()?.start.job.as_deref()
}

/// The state of a member, refined by its job in the queue.
pub fn state_with_job(member: &Member, job: Option<&Job>) -> MemberState {
    let state = member.state();
    match (state, job.map(|job| job.state)) {
        (MemberState::Waiting | MemberState::Stopped, Some(JobState::Held | JobState::DependencyFailed)) => {
            MemberState::Held
        }
        (MemberState::Waiting, Some(JobState::Running)) => MemberState::Starting,
        (MemberState::Waiting, Some(JobState::Pending | JobState::Unknown)) => MemberState::Queued,
        (MemberState::Stopped, _) if last_job(member).is_some() => MemberState::Preempted,
        _ => state,
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub fn job(id: &str, state: JobState, reason: &str, node: &str) -> Job {
        Job {
            id: id.into(),
            name: "pbtnas-7b3ceabf-g0001-r1-a0".into(),
            state,
            reason: reason.into(),
            node: node.into(),
            dependency: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::job;
    use super::*;
    use crate::report::history::testing::{attempt, ended, member};
    use pbtnas_core::run::AttemptEnd;

    #[test]
    fn job_refines_state() {
        let mut one = member(0, None);
        let with = |one: &Member, state| state_with_job(one, Some(&job("9_0", state, "Priority", "")));
        assert_eq!(state_with_job(&one, None), MemberState::Waiting);
        assert_eq!(with(&one, JobState::Pending), MemberState::Queued);
        assert_eq!(with(&one, JobState::Running), MemberState::Starting);
        assert_eq!(with(&one, JobState::Held), MemberState::Held);
        one.attempts = vec![attempt(1, 0)];
        assert_eq!(with(&one, JobState::Running), MemberState::Training);
        one.attempts[0].end = Some(ended(3, AttemptEnd::Stopped { signal: "SIGTERM".into() }));
        assert_eq!(state_with_job(&one, None), MemberState::Stopped);
        one.attempts[0].start.job = Some("9_0".into());
        assert_eq!(with(&one, JobState::Pending), MemberState::Preempted);
        assert_eq!(with(&one, JobState::DependencyFailed), MemberState::Held);
    }
}

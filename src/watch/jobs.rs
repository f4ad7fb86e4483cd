//! What the scheduler has of a run, beside what its directory tells.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use crate::report::history::{Member, MemberState};
use crate::scheduler::parse::{Job, JobState};
use crate::scheduler::slurm::Queue;
use crate::search::MemberId;

/// What the scheduler said last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Jobs {
    /// The jobs of a generation; none if nothing was submitted to SLURM, or it has not answered yet.
    pub queue: Option<Queue>,
    /// When it was asked.
    pub at: Option<DateTime<Utc>>,
    /// Why it gave no answer the last time.
    pub trouble: Option<String>,
}

impl Jobs {
    /// The training tasks of a generation, by their ids.
    pub fn tasks(&self, generation: u32) -> Tasks<'_> {
        let queue = self.queue.as_ref().filter(|queue| queue.generation == generation);
        let jobs = queue.into_iter().flat_map(|queue| &queue.tasks);
        Tasks { queue, by_id: jobs.map(|job| (&*job.id, job)).collect() }
    }
}

/// See [`Jobs::tasks`].
pub struct Tasks<'a> {
    /// The jobs, if there are any of the generation.
    pub queue: Option<&'a Queue>,
    by_id: HashMap<&'a str, &'a Job>,
}

impl<'a> Tasks<'a> {
    /// The task in which a member is in the queue.
    pub fn of(&self, member: MemberId) -> Option<&'a Job> {
        let id = self.queue?.task_of.get(&member)?;
        self.by_id.get(&**id).copied()
    }

    /// The members of each task.
    pub fn members(&self) -> BTreeMap<&'a str, Vec<MemberId>> {
        let mut members: BTreeMap<&str, Vec<MemberId>> = BTreeMap::new();
        for (&member, task) in self.queue.into_iter().flat_map(|queue| &queue.task_of) {
            members.entry(task).or_default().push(member);
        }
        members
    }
}

/// What a member is at, as far as the run's directory and the scheduler tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It trains.
    Training,
    /// Its fitness is measured.
    Evaluating,
    /// Its job runs, and it has not told anything yet.
    Starting,
    /// An attempt failed, and another one will come.
    Retrying,
    /// It had to leave its machine, and is in the queue again or will be.
    Preempted,
    /// It was told to leave.
    Stopped,
    /// Its job is held, or waits for something that does not come.
    Held,
    /// Its job is in the queue.
    Queued,
    /// Nobody has begun with it.
    Waiting,
    /// It has a fitness.
    Done,
    /// It has no finite fitness.
    Diverged,
    /// It was given up.
    Failed,
}

impl Standing {
    /// Of a member with its job.
    pub fn of(member: &Member, job: Option<&Job>) -> Self {
        let job = job.map(|job| job.state);
        match member.state() {
            MemberState::Training => Self::Training,
            MemberState::Evaluating => Self::Evaluating,
            MemberState::Retrying => Self::Retrying,
            MemberState::Done => Self::Done,
            MemberState::Diverged => Self::Diverged,
            MemberState::Failed => Self::Failed,
            MemberState::Waiting | MemberState::Stopped
                if matches!(job, Some(JobState::Held | JobState::Hopeless)) =>
            {
                Self::Held
            }
            MemberState::Stopped => {
                let of_job = member.attempts.last().is_some_and(|last| last.start.job.is_some());
                if of_job { Self::Preempted } else { Self::Stopped }
            }
            MemberState::Waiting => match job {
                Some(JobState::Running) => Self::Starting,
                Some(JobState::Pending | JobState::Unknown) => Self::Queued,
                _ => Self::Waiting,
            },
        }
    }

    /// In a word of at most ten letters.
    pub fn word(self) -> &'static str {
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

    /// Whether it is on a machine.
    pub fn is_at_work(self) -> bool {
        matches!(self, Self::Training | Self::Evaluating | Self::Starting)
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A job in the queue.
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
    use crate::state::Ending;

    #[test]
    fn the_queue_tells_what_the_directory_cannot() {
        let mut one = member(0, None);
        let with = |one: &Member, state| Standing::of(one, Some(&job("9_0", state, "Priority", "")));
        assert_eq!(Standing::of(&one, None), Standing::Waiting);
        assert_eq!(with(&one, JobState::Pending), Standing::Queued);
        assert_eq!(with(&one, JobState::Running), Standing::Starting);
        assert_eq!(with(&one, JobState::Held), Standing::Held);
        one.attempts = vec![attempt(1, 0)];
        assert_eq!(with(&one, JobState::Running), Standing::Training);
        one.attempts[0].end = Some(ended(3, Ending::Stopped { signal: "SIGTERM".into() }));
        assert_eq!(Standing::of(&one, None), Standing::Stopped);
        one.attempts[0].start.job = Some("9_0".into());
        assert_eq!(with(&one, JobState::Pending), Standing::Preempted);
        assert_eq!(with(&one, JobState::Hopeless), Standing::Held);
    }
}

//! The last generation as the screen shows it: a row per member, counts, and the phase of the run.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::estimates::Estimates;
use super::jobs::{Jobs, state_with_job};
use super::run_info::RunInfo;
use crate::report::history::{History, Member, MemberState, cost_of_generation};
use pbtnas_core::run::Outcome;
use pbtnas_engine::scheduler::slurm::parse::{Job, JobState};

/// Normal delay between two generations, and between two members of a local run.
const GRACE: TimeDelta = TimeDelta::seconds(60);

/// A member of the last generation: the part that sorting and counting need.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberEntry {
    /// Position in the generation.
    pub index: usize,
    pub state: MemberState,
    /// Fraction of the generation, 0 to 1.
    pub progress: f64,
    /// Epochs its network was trained for.
    pub epoch: f64,
    pub fitness: Option<f64>,
    pub attempts: usize,
    /// The time of its last record; none once it has a result.
    pub last_seen: Option<DateTime<Utc>>,
    /// Whether the member was replaced by a new network in this generation.
    pub replaced: bool,
}

/// The last generation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Members in order of their ids.
    pub rows: Vec<MemberEntry>,
    /// Members in each state.
    pub counts: BTreeMap<MemberState, usize>,
    /// Failed attempts of the generation.
    pub failures: usize,
    /// Complete epochs, averaged over the members.
    pub epochs: f64,
}

impl Snapshot {
    pub fn new(history: &History, jobs: &Jobs) -> Self {
        let Some(latest) = history.latest() else { return Self::default() };
        let tasks = jobs.tasks(latest.number);
        let epochs = f64::from(latest.to_epoch.saturating_sub(latest.from_epoch));
        let row = |(index, member): (usize, &Member)| {
            let progress = member.progress();
            MemberEntry {
                index,
                state: state_with_job(member, tasks.of(member.plan.id)),
                progress,
                epoch: match member.result.as_ref().map(|result| &result.outcome) {
                    Some(Outcome::Trained { epoch, .. }) => f64::from(*epoch),
                    _ => f64::from(member.plan.begins_at(latest.from_epoch)) + progress * epochs,
                },
                fitness: member.fitness(),
                attempts: member.attempts.len(),
                last_seen: last_seen(member),
                replaced: latest.number > 0 && member.plan.origin.is_replacement(),
            }
        };
        let rows: Vec<MemberEntry> = latest.members.iter().enumerate().map(row).collect();
        let mut counts = BTreeMap::new();
        for row in &rows {
            *counts.entry(row.state).or_default() += 1;
        }
        // The generation does not wait for failed members.
        let progress = |row: &MemberEntry| if row.state == MemberState::Failed { 1.0 } else { row.progress };
        let done: f64 = rows.iter().map(progress).sum::<f64>() / rows.len().max(1) as f64;
        Self {
            epochs: f64::from(latest.from_epoch) + done * epochs,
            failures: cost_of_generation(latest).failures,
            rows,
            counts,
        }
    }
}

/// The time of the last record of a member without a result.
fn last_seen(member: &Member) -> Option<DateTime<Utc>> {
    if member.result.is_some() {
        return None;
    }
    let last = member.attempts.last()?;
    let beat = member.heartbeat.as_ref().map(|beat| beat.at);
    [Some(last.start.started), last.end.as_ref().map(|end| end.ended), beat].into_iter().flatten().max()
}

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was read yet.
    Loading,
    NoGeneration,
    Training,
    /// Jobs are pending, with SLURM's reason.
    Queued(String),
    /// The generation is trained; selection comes next.
    Selecting,
    /// No progress.
    Stalled {
        silent: TimeDelta,
        hint: String,
    },
    Finished,
}

/// The phase of a run. `changed` is the time of the last change of its directory by the local clock, because the clocks
/// of other machines may be wrong.
pub fn phase(
    history: &History,
    estimates: &Estimates,
    jobs: &Jobs,
    info: &RunInfo,
    changed: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Phase {
    let Some(latest) = history.latest() else { return Phase::NoGeneration };
    let resume = resume_command(info);
    let last_seen = estimates.last_seen.max(changed);
    let silent = last_seen.map_or(TimeDelta::zero(), |seen| (now - seen).max(TimeDelta::zero()));
    let stalled = |hint| Phase::Stalled { silent, hint };
    let blocked_by = |job: &Job| {
        stalled(format!(
            "job {} is blocked ({}): run `pbtnas step --state {}` to release or replace it",
            job.id, job.reason, info.folder
        ))
    };
    let is_blocked = |job: &&Job| matches!(job.state, JobState::Held | JobState::DependencyFailed);
    let queue = jobs.tasks(latest.number).queue;
    let all = || queue.into_iter().flat_map(|queue| queue.tasks.iter().chain(&queue.steps));
    let blocked = all().find(is_blocked);
    if latest.is_finished() {
        if latest.to_epoch >= info.epochs {
            return Phase::Finished;
        }
        if latest.members.iter().all(|member| member.fitness().is_none()) {
            return stalled(
                "no member has a fitness, so selection is impossible: fix the cause and start a new run"
                    .into(),
            );
        }
        let controller = queue.into_iter().flat_map(|queue| &queue.steps).find(|job| !is_blocked(job));
        return match (silent > GRACE, controller, blocked) {
            (true, None, None) => {
                stalled(format!("all members are trained, but the next generation is missing: {resume}"))
            }
            (true, None, Some(job)) => blocked_by(job),
            _ => Phase::Selecting,
        };
    }
    let open = latest.members.iter().filter(|member| member.result.is_none());
    let running = open.filter(|member| member.attempts.last().is_some_and(|last| last.end.is_none())).count();
    if running > 0 && silent <= info.heartbeat_timeout {
        return Phase::Training;
    }
    let live =
        all().find(|job| matches!(job.state, JobState::Running | JobState::Pending | JobState::Unknown));
    match (live, blocked) {
        (Some(job), _) if job.state == JobState::Running && silent <= info.heartbeat_timeout => {
            Phase::Training
        }
        (Some(job), _) if job.state != JobState::Running => {
            let task = queue.into_iter().flat_map(|queue| &queue.tasks).next();
            Phase::Queued(task.unwrap_or(job).reason.clone())
        }
        (None, Some(job)) => blocked_by(job),
        _ if silent <= GRACE => Phase::Training,
        _ => stalled(format!("to resume, {resume}")),
    }
}

/// How to start or resume a run.
pub fn resume_command(info: &RunInfo) -> String {
    format!("run `pbtnas step --state {}` (without SLURM: `pbtnas run`)", info.folder)
}

#[cfg(test)]
mod tests {
    use super::super::estimates::estimates;
    use super::super::jobs::testing::job;
    use super::super::run_info::testing::run_info;
    use super::*;
    use crate::report::history::testing::{attempt, beat, ended, generation, member, second};
    use pbtnas_core::run::{AttemptEnd, Heartbeat};
    use pbtnas_core::search::{MemberId, Origin};
    use pbtnas_engine::scheduler::slurm::Queue;

    fn at(history: &History, jobs: &Jobs, now: i64) -> Phase {
        let info = run_info(3);
        phase(history, &estimates(history, &info), jobs, &info, None, second(now))
    }

    fn queue(tasks: Vec<Job>, steps: Vec<Job>) -> Jobs {
        let task_of = [(MemberId(0), "9_0".to_owned()), (MemberId(1), "9_1".to_owned())].into();
        Jobs {
            queue: Some(Queue { generation: 0, tasks, steps, task_of }),
            queried_at: Some(second(0)),
            error: None,
        }
    }

    #[test]
    fn progress_of_members() {
        let mut one = member(1, None);
        one.attempts = vec![attempt(1, 10)];
        one.heartbeat = Some(Heartbeat { fraction: 0.25, at: second(15), ..beat(1) });
        let mut given_up = member(2, None);
        given_up.plan.origin =
            Origin::Mix { base: MemberId(0), donor: MemberId(1), replaced: Vec::new(), explored: Vec::new() };
        let history = History {
            generations: vec![
                generation(0, vec![]),
                generation(1, vec![member(0, Some(3.0)), one, given_up]),
            ],
        };
        let snapshot = Snapshot::new(&history, &Jobs::default());
        let rows: Vec<_> =
            snapshot.rows.iter().map(|row| (row.state, row.epoch, row.last_seen, row.replaced)).collect();
        // Randomly initialised in the middle of the search, so their epochs count from 0.
        assert_eq!(
            rows,
            [
                (MemberState::Done, 2.0, None, true),
                (MemberState::Training, 0.5, Some(second(15)), true),
                (MemberState::Waiting, 0.0, None, true)
            ]
        );
        assert!((snapshot.epochs - (2.0 + 2.0 * 1.25 / 3.0)).abs() < 1e-9);
        assert_eq!(snapshot.counts[&MemberState::Done], 1);
    }

    #[test]
    fn stalled_run_has_a_hint() {
        let none = Jobs::default();
        assert_eq!(at(&History::default(), &none, 0), Phase::NoGeneration);
        let mut one = member(0, None);
        one.attempts = vec![attempt(1, 10)];
        one.heartbeat = Some(Heartbeat { at: second(100), ..beat(1) });
        let mut history = History { generations: vec![generation(0, vec![one, member(1, Some(1.0))])] };
        assert_eq!(at(&history, &none, 150), Phase::Training);
        let Phase::Stalled { silent, hint } = at(&history, &none, 900) else { panic!() };
        assert_eq!(silent, TimeDelta::seconds(800));
        assert!(hint.contains("pbtnas step --state /home/me/runs/first"), "{hint}");
        // The other machine's clock was wrong, but the directory changed.
        let (info, now) = (run_info(3), second(900));
        let estimates = estimates(&history, &info);
        assert_eq!(phase(&history, &estimates, &none, &info, Some(second(890)), now), Phase::Training);

        let member = &mut history.generations[0].members[0];
        member.attempts[0].end = Some(ended(100, AttemptEnd::Stopped { signal: "SIGTERM".into() }));
        assert_eq!(at(&history, &none, 130), Phase::Training);
        assert!(matches!(at(&history, &none, 200), Phase::Stalled { .. }));
        let pending = queue(vec![job("9_0", JobState::Pending, "Priority", "")], Vec::new());
        assert_eq!(at(&history, &pending, 9000), Phase::Queued("Priority".into()));
        let held = queue(vec![job("9_0", JobState::Held, "JobHeldUser", "")], Vec::new());
        let Phase::Stalled { hint, .. } = at(&history, &held, 200) else { panic!() };
        assert!(hint.contains("job 9_0 is blocked (JobHeldUser)"), "{hint}");
    }

    #[test]
    fn selection_follows_the_last_member() {
        let done = |id: u32| {
            let mut member = member(id, Some(1.0));
            member.attempts = vec![attempt(1, 0)];
            member.attempts[0].end = Some(ended(100, AttemptEnd::Done));
            member
        };
        let history = |number| History { generations: vec![generation(number, vec![done(0), done(1)])] };
        let none = Jobs::default();
        assert_eq!(at(&history(0), &none, 110), Phase::Selecting);
        assert!(matches!(at(&history(0), &none, 200), Phase::Stalled { .. }));
        let controller = queue(Vec::new(), vec![job("10", JobState::Pending, "Resources", "")]);
        assert_eq!(at(&history(0), &controller, 200), Phase::Selecting);
        let blocked =
            queue(Vec::new(), vec![job("10", JobState::DependencyFailed, "DependencyNeverSatisfied", "")]);
        assert!(matches!(at(&history(0), &blocked, 200), Phase::Stalled { .. }));
        assert_eq!(at(&history(2), &none, 9000), Phase::Finished);

        let mut without_fitness = history(0);
        for member in &mut without_fitness.generations[0].members {
            if let Some(Outcome::Trained { fitness, .. }) = member.result.as_mut().map(|one| &mut one.outcome)
            {
                *fitness = None;
            }
        }
        let Phase::Stalled { hint, .. } = at(&without_fitness, &none, 110) else { panic!() };
        assert!(hint.contains("start a new run"), "{hint}");
    }
}

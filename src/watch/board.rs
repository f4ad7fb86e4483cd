//! What is seen of a run at a glance: a row for each member, counts, and how the run stands.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::facts::Facts;
use super::figures::Figures;
use super::jobs::{Jobs, Standing};
use crate::report::history::{History, Member, cost_of_generation};
use crate::scheduler::parse::{Job, JobState};
use crate::state::Outcome;

/// Time for the step between two generations, and for a local run to begin with the next member.
const SOON: TimeDelta = TimeDelta::seconds(60);

/// A member of the last generation, without what takes text.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its place.
    pub place: usize,
    /// What it is at.
    pub standing: Standing,
    /// Part of the step, 0 to 1.
    pub progress: f64,
    /// Epochs behind its network.
    pub epoch: f64,
    /// Its fitness.
    pub fitness: Option<f64>,
    /// Attempts so far.
    pub attempts: usize,
    /// When it was last seen, if it is not done.
    pub seen: Option<DateTime<Utc>>,
    /// Whether somebody else took this place over in this generation.
    pub replaced: bool,
}

/// The last generation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Board {
    /// Its members, in order of their ids.
    pub rows: Vec<Row>,
    /// How many are at what.
    pub counts: BTreeMap<Standing, usize>,
    /// Attempts of the generation that failed.
    pub failures: usize,
    /// Epochs that are complete, on the average of the members.
    pub epochs: f64,
}

impl Board {
    /// Of the last generation.
    pub fn of(history: &History, jobs: &Jobs) -> Self {
        let Some(latest) = history.latest() else { return Self::default() };
        let tasks = jobs.tasks(latest.number);
        let step = f64::from(latest.to_epoch.saturating_sub(latest.from_epoch));
        let row = |(place, member): (usize, &Member)| {
            let progress = member.progress();
            let begin = member.plan.begins_at(latest.from_epoch);
            Row {
                place,
                standing: Standing::of(member, tasks.of(member.plan.id)),
                progress,
                epoch: match member.result.as_ref().map(|result| &result.outcome) {
                    Some(Outcome::Trained { epoch, .. }) => f64::from(*epoch),
                    _ => f64::from(begin) + progress * step,
                },
                fitness: member.fitness(),
                attempts: member.attempts.len(),
                seen: last_seen(member),
                replaced: latest.number > 0 && member.plan.origin.is_replacement(),
            }
        };
        let rows: Vec<Row> = latest.members.iter().enumerate().map(row).collect();
        let mut counts = BTreeMap::new();
        for row in &rows {
            *counts.entry(row.standing).or_default() += 1;
        }
        // Those that were given up hold nobody up.
        let progress = |row: &Row| if row.standing == Standing::Failed { 1.0 } else { row.progress };
        let done: f64 = rows.iter().map(progress).sum::<f64>() / rows.len().max(1) as f64;
        Self {
            epochs: f64::from(latest.from_epoch) + done * step,
            failures: cost_of_generation(latest).failures,
            rows,
            counts,
        }
    }

    /// How many are at something.
    pub fn count(&self, standing: Standing) -> usize {
        self.counts.get(&standing).copied().unwrap_or(0)
    }

    /// How many are on a machine.
    pub fn at_work(&self) -> usize {
        self.counts.iter().filter(|(standing, _)| standing.is_at_work()).map(|(_, count)| count).sum()
    }
}

/// The last sign of life of a member without a result.
fn last_seen(member: &Member) -> Option<DateTime<Utc>> {
    if member.result.is_some() {
        return None;
    }
    let last = member.attempts.last()?;
    let beat = member.heartbeat.as_ref().map(|beat| beat.at);
    [Some(last.start.started), last.end.as_ref().map(|end| end.ended), beat].into_iter().flatten().max()
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was read yet.
    Unread,
    /// There is no generation yet.
    Unborn,
    /// Members are at work.
    Training,
    /// Jobs wait in the queue, for this reason.
    Queued(String),
    /// The generation is trained, and the step to the next one is to come.
    Between,
    /// Nothing moves: for how long, and what to do.
    Stalled(TimeDelta, String),
    /// The search is over.
    Finished,
}

/// How a run stands. `changed` is when something in its directory was last seen to change, by this machine's clock:
/// those of others may be wrong.
pub fn phase(
    history: &History,
    figures: &Figures,
    jobs: &Jobs,
    facts: &Facts,
    changed: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Phase {
    let Some(latest) = history.latest() else { return Phase::Unborn };
    let folder = &facts.folder;
    let silent =
        figures.seen.max(changed).map_or(TimeDelta::zero(), |seen| (now - seen).max(TimeDelta::zero()));
    let tasks = jobs.tasks(latest.number);
    let waiting = |job: &&Job| matches!(job.state, JobState::Held | JobState::Hopeless);
    let all = tasks.queue.into_iter().flat_map(|queue| queue.tasks.iter().chain(&queue.steps));
    let stuck = all.clone().find(waiting);
    if latest.is_finished() {
        if latest.to_epoch >= facts.epochs {
            return Phase::Finished;
        }
        if latest.members.iter().all(|member| member.fitness().is_none()) {
            let way_out =
                "no member has a fitness, so nothing can be selected: mend the cause and begin a new run";
            return Phase::Stalled(silent, way_out.into());
        }
        let queued = tasks.queue.into_iter().flat_map(|queue| &queue.steps).find(|job| !waiting(job));
        return match (silent > SOON, queued, stuck) {
            (true, None, None) => Phase::Stalled(
                silent,
                format!(
                    "all members are trained and the next generation does not come: `pbtnas step --state {folder}` \
                     makes it (`pbtnas run` without SLURM)"
                ),
            ),
            (true, None, Some(job)) => stuck_phase(silent, job, folder),
            _ => Phase::Between,
        };
    }
    let open = latest.members.iter().filter(|member| member.result.is_none());
    let alive = open.filter(|member| member.attempts.last().is_some_and(|last| last.end.is_none())).count();
    if alive > 0 && silent <= facts.patience {
        return Phase::Training;
    }
    let live = all
        .clone()
        .find(|job| matches!(job.state, JobState::Running | JobState::Pending | JobState::Unknown));
    match (live, stuck) {
        (Some(job), _) if job.state == JobState::Running && silent <= facts.patience => Phase::Training,
        (Some(job), _) if job.state != JobState::Running => {
            let pending = tasks.queue.into_iter().flat_map(|queue| &queue.tasks).next();
            Phase::Queued(pending.map_or(&job.reason, |task| &task.reason).clone())
        }
        (None, Some(job)) => stuck_phase(silent, job, folder),
        _ if silent <= SOON => Phase::Training,
        _ => Phase::Stalled(
            silent,
            format!(
                "`pbtnas step --state {folder}` looks after the jobs and submits what is missing; `pbtnas run` goes on \
                 without SLURM"
            ),
        ),
    }
}

fn stuck_phase(silent: TimeDelta, job: &Job, folder: &str) -> Phase {
    let reason = &job.reason;
    Phase::Stalled(
        silent,
        format!(
            "job {} waits in vain ({reason}): `pbtnas step --state {folder}` releases or replaces it",
            job.id
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::testing::facts;
    use super::super::figures::figures;
    use super::super::jobs::testing::job;
    use super::*;
    use crate::report::history::testing::{attempt, beat, ended, generation, member, second};
    use crate::scheduler::slurm::Queue;
    use crate::search::{MemberId, Origin};
    use crate::state::{Ending, Heartbeat};

    fn at(history: &History, jobs: &Jobs, now: i64) -> Phase {
        let facts = facts(3);
        phase(history, &figures(history, &facts), jobs, &facts, None, second(now))
    }

    fn queue(tasks: Vec<Job>, steps: Vec<Job>) -> Jobs {
        let task_of = [(MemberId(0), "9_0".to_owned()), (MemberId(1), "9_1".to_owned())].into();
        Jobs {
            queue: Some(Queue { generation: 0, tasks, steps, task_of }),
            at: Some(second(0)),
            trouble: None,
        }
    }

    #[test]
    fn a_row_tells_how_far_a_member_is() {
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
        let board = Board::of(&history, &Jobs::default());
        let rows: Vec<_> =
            board.rows.iter().map(|row| (row.standing, row.epoch, row.seen, row.replaced)).collect();
        // Their genotypes were drawn at random in the middle of the search, so their epochs count from 0.
        assert_eq!(
            rows,
            [
                (Standing::Done, 2.0, None, true),
                (Standing::Training, 0.5, Some(second(15)), true),
                (Standing::Waiting, 0.0, None, true)
            ]
        );
        assert!((board.epochs - (2.0 + 2.0 * 1.25 / 3.0)).abs() < 1e-9);
        assert_eq!((board.at_work(), board.count(Standing::Done)), (1, 1));
    }

    #[test]
    fn what_does_not_move_is_told_with_the_way_out() {
        let none = Jobs::default();
        assert_eq!(at(&History::default(), &none, 0), Phase::Unborn);
        let mut one = member(0, None);
        one.attempts = vec![attempt(1, 10)];
        one.heartbeat = Some(Heartbeat { at: second(100), ..beat(1) });
        let mut history = History { generations: vec![generation(0, vec![one, member(1, Some(1.0))])] };
        assert_eq!(at(&history, &none, 150), Phase::Training);
        let Phase::Stalled(silent, way_out) = at(&history, &none, 900) else { panic!() };
        assert_eq!(silent, TimeDelta::seconds(800));
        assert!(way_out.contains("pbtnas step --state /home/me/runs/first"), "{way_out}");
        // Its clock was wrong: something was seen to change.
        let (facts, now) = (facts(3), second(900));
        let figures = figures(&history, &facts);
        assert_eq!(phase(&history, &figures, &none, &facts, Some(second(890)), now), Phase::Training);

        let member = &mut history.generations[0].members[0];
        member.attempts[0].end = Some(ended(100, Ending::Stopped { signal: "SIGTERM".into() }));
        assert_eq!(at(&history, &none, 130), Phase::Training);
        assert!(matches!(at(&history, &none, 200), Phase::Stalled(..)));
        let pending = queue(vec![job("9_0", JobState::Pending, "Priority", "")], Vec::new());
        assert_eq!(at(&history, &pending, 9000), Phase::Queued("Priority".into()));
        let held = queue(vec![job("9_0", JobState::Held, "JobHeldUser", "")], Vec::new());
        let Phase::Stalled(_, way_out) = at(&history, &held, 200) else { panic!() };
        assert!(way_out.contains("job 9_0 waits in vain (JobHeldUser)"), "{way_out}");
    }

    #[test]
    fn after_the_last_member_comes_the_step() {
        let done = |id: u32| {
            let mut member = member(id, Some(1.0));
            member.attempts = vec![attempt(1, 0)];
            member.attempts[0].end = Some(ended(100, Ending::Done));
            member
        };
        let history = |number| History { generations: vec![generation(number, vec![done(0), done(1)])] };
        let none = Jobs::default();
        assert_eq!(at(&history(0), &none, 110), Phase::Between);
        assert!(matches!(at(&history(0), &none, 200), Phase::Stalled(..)));
        let step = queue(Vec::new(), vec![job("10", JobState::Pending, "Resources", "")]);
        assert_eq!(at(&history(0), &step, 200), Phase::Between);
        let stuck = queue(Vec::new(), vec![job("10", JobState::Hopeless, "DependencyNeverSatisfied", "")]);
        assert!(matches!(at(&history(0), &stuck, 200), Phase::Stalled(..)));
        assert_eq!(at(&history(2), &none, 9000), Phase::Finished);

        let mut hopeless = history(0);
        for member in &mut hopeless.generations[0].members {
            if let Some(Outcome::Trained { fitness, .. }) = member.result.as_mut().map(|one| &mut one.outcome)
            {
                *fitness = None;
            }
        }
        let Phase::Stalled(_, way_out) = at(&hopeless, &none, 110) else { panic!() };
        assert!(way_out.contains("begin a new run"), "{way_out}");
    }
}

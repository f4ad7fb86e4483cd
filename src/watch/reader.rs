//! Polls the run directory and SLURM, each in its own thread, because either may be slow or unreachable.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::estimates::{Estimates, estimates};
use super::jobs::Jobs;
use super::run_info::RunInfo;
use crate::report::history::{Generation, History};
use pbtnas_core::fault::message;
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::SchedulerError;
use pbtnas_engine::scheduler::slurm;

/// A reader pauses for at least this multiple of the time it read: reading takes less than a tenth of the time.
const REST: u32 = 10;
/// Time between two queries of the queue.
const QUERY_EVERY: Duration = Duration::from_secs(30);
/// Time between two queries while no job of the run has been submitted.
const QUERY_EVERY_WITHOUT_JOBS: Duration = Duration::from_secs(10);

/// Progress of a reader.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadEvent {
    Started,
    Updated(Box<Update>),
    Failed(String),
}

/// Result of one pass over the run directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Number of the first generation in `generations`; earlier ones have not changed.
    pub from: usize,
    pub generations: Vec<Generation>,
    pub estimates: Estimates,
    pub read_at: DateTime<Utc>,
    pub took: Duration,
}

impl Update {
    /// Updates a history; returns whether anything changed.
    pub fn apply(self, history: &mut History) -> bool {
        let changed = history.generations.get(self.from..).is_none_or(|old| old != self.generations);
        history.generations.truncate(self.from);
        history.generations.extend(self.generations);
        changed
    }
}

/// Pause after a pass that took this long.
pub fn pause(took: Duration, interval: Duration) -> Duration {
    interval.max(took.saturating_mul(REST))
}

/// Reads a run incrementally.
pub struct RunReader<'a> {
    run: &'a Run,
    info: &'a RunInfo,
    history: History,
    /// The first generation that a failed pass may have changed: the next update starts there.
    unreported: Option<usize>,
}

impl<'a> RunReader<'a> {
    pub fn new(run: &'a Run, info: &'a RunInfo) -> Self {
        Self { run, info, history: History::default(), unreported: None }
    }

    /// Reads what may have changed since the last successful pass.
    pub fn read(&mut self) -> Result<Update, String> {
        let (open, began) = (self.history.first_open(), Instant::now());
        let from = self.unreported.map_or(open, |unreported| unreported.min(open));
        self.unreported = Some(from);
        self.history.refresh(self.run).map_err(|error| message(&error))?;
        self.unreported = None;
        let (read_at, took) = (Utc::now(), began.elapsed());
        let generations = self.history.generations[from..].to_vec();
        Ok(Update { from, generations, estimates: estimates(&self.history, self.info), read_at, took })
    }

    /// Polls the run and sends events until `send` returns false.
    pub fn poll(mut self, interval: Duration, mut send: impl FnMut(ReadEvent) -> bool) {
        loop {
            if !send(ReadEvent::Started) {
                return;
            }
            let began = Instant::now();
            let event = match self.read() {
                Ok(update) => ReadEvent::Updated(Box::new(update)),
                Err(reason) => ReadEvent::Failed(reason),
            };
            if !send(event) {
                return;
            }
            std::thread::sleep(pause(began.elapsed(), interval));
        }
    }
}

/// Polls SLURM for the jobs of the last generation until `send` returns false; returns at once without SLURM.
pub fn poll_jobs(run: &Run, mut send: impl FnMut(Jobs) -> bool) {
    let mut jobs = Jobs::default();
    loop {
        let latest = run.latest_generation().ok().flatten();
        let answer = latest.map(|latest| slurm::query_queue(run, latest)).transpose();
        let of_slurm = match answer {
            Err(error) => {
                let is_absent = error.chain().any(|cause| {
                    matches!(cause.downcast_ref(), Some(SchedulerError::Start { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound)
                });
                if is_absent {
                    send(Jobs::default());
                    return;
                }
                jobs.error = Some(message(&error));
                true
            }
            Ok(queue) => {
                let queue = queue.flatten();
                let of_slurm = queue.is_some();
                jobs = Jobs { queried_at: of_slurm.then(Utc::now), queue, error: None };
                of_slurm
            }
        };
        if !send(jobs.clone()) {
            return;
        }
        std::thread::sleep(if of_slurm { QUERY_EVERY } else { QUERY_EVERY_WITHOUT_JOBS });
    }
}

#[cfg(test)]
mod tests {
    use super::super::run_info::testing::run_info;
    use super::*;
    use crate::report::history::testing::{generation, member};
    use pbtnas_core::durable_fs::ensure_dir;
    use pbtnas_core::run::{FORMAT, Outcome, ResultRecord, publish_json};
    use pbtnas_core::search::MemberId;
    use pbtnas_engine::advance::advance;
    use pbtnas_engine::config::Config;
    use pbtnas_engine::create::create;

    #[test]
    fn reading_takes_less_than_a_tenth_of_the_time() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(Duration::from_millis(5), seconds(2)), seconds(2));
        assert_eq!(pause(seconds(3), seconds(2)), seconds(30));
        assert_eq!(pause(seconds(3), seconds(60)), seconds(60));
    }

    #[test]
    fn update_after_a_failed_pass_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let text = "seed = 7\n[search]\npopulation = 4\nepochs = 4\nepochs_per_generation = 2\ntau = 0.5\n\
                    [task]\nkind = \"synthetic\"\n";
        let config = Config::parse(std::path::Path::new("run.toml"), text).unwrap();
        let task = config.task();
        let run = create(&dir.path().join("run"), &config, task.as_ref()).unwrap().0;
        advance(&run, task.as_ref(), false).unwrap();
        let info = RunInfo::new(&run);
        let mut reader = RunReader::new(&run, &info);
        assert_eq!(reader.read().unwrap().generations.len(), 1);
        for member in (0..4).map(MemberId) {
            let outcome = Outcome::Failed { reason: "no".into(), attempts: 1, left: None };
            let result = ResultRecord { format: FORMAT, generation: 0, member, outcome };
            ensure_dir(&run.layout.member(0, member)).unwrap();
            publish_json(&run.layout.result(0, member), &result).unwrap();
        }
        let plan = run.layout.plan(1);
        ensure_dir(plan.parent().unwrap()).unwrap();
        std::fs::write(&plan, "invalid").unwrap();
        assert!(reader.read().unwrap_err().contains("plan.json"));
        std::fs::remove_file(&plan).unwrap();
        let update = reader.read().unwrap();
        assert_eq!((update.from, update.generations.len()), (0, 1));
        assert!(update.generations[0].is_finished());
        assert_eq!(reader.read().unwrap().from, 1);
    }

    #[test]
    fn update_replaces_generations() {
        let with = |fitness| generation(1, vec![member(0, fitness)]);
        let mut history =
            History { generations: vec![generation(0, vec![member(0, Some(1.0))]), with(None)] };
        let update = |fitness| Update {
            from: 1,
            generations: vec![with(fitness)],
            estimates: estimates(&History::default(), &run_info(3)),
            read_at: Utc::now(),
            took: Duration::ZERO,
        };
        assert!(!update(None).apply(&mut history));
        assert!(update(Some(2.0)).apply(&mut history));
        assert_eq!((history.generations.len(), history.generations[1].members[0].fitness()), (2, Some(2.0)));
        assert!(update(None).apply(&mut History::default()));
    }
}

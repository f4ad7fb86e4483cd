//! The training of a member for a generation: lock, restore, train, snapshot, evaluate, publish.

mod heartbeat;
mod rebuild;
mod run;
mod snapshots;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use crate::backoff::{retry, sleep};
use crate::fault::fault_of;
use crate::run::Run;
use crate::signal::{Signal, StopSignal};
use crate::task::{Interrupted, Task};
use heartbeat::LastMetrics;
use pbtnas_core::durable_fs::{Lock, ensure_dir, refresh};
use pbtnas_core::fault::{Fault, is_storage_failure, message};
use pbtnas_core::run::{
    AttemptEnd, Heartbeat, PlanRecord, abandoned_dirs, begin_attempt, drop_folder, end_attempt, is_overtaken,
    read_json,
};
use pbtnas_core::search::MemberId;
use run::{AttemptOutcome, AttemptRun};

/// The outcome of training a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainOutcome {
    /// Its result has been published, by this process or by another one.
    Done,
    /// Stopped by a signal; the next attempt resumes from the last snapshot.
    Stopped,
    /// Another process trains it.
    Busy,
}

/// The running attempt, so that a signal handler can record its end (see [`Claim::abandon`]).
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<Mutex<Option<Running>>>);

/// The directory and number of an attempt.
type Running = (PathBuf, u32);

impl Claim {
    pub(crate) fn set(&self, value: Option<Running>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// Records that a signal stopped the attempt, without waiting for it.
    pub fn abandon(&self, signal: &str) {
        let claim = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((dir, attempt)) = claim {
            record_end(&dir, attempt, AttemptEnd::Stopped { signal: signal.into() });
        }
    }
}

/// The SLURM job, if there is one, and the host of a process.
#[derive(Debug, Clone)]
pub struct Identity {
    pub job: Option<String>,
    pub host: String,
}

/// Trains members in this process.
pub struct Trainer<'a> {
    pub run: &'a Run,
    pub task: &'a dyn Task,
    pub identity: Identity,
    pub stop: StopSignal,
    pub claim: Claim,
}

impl Trainer<'_> {
    /// Trains a member to the end of a generation, resuming the work of earlier attempts.
    pub fn train(&self, plan: &PlanRecord, member: MemberId) -> Result<TrainOutcome> {
        Ok(self.begin(plan, member, false)?.unwrap_or(TrainOutcome::Busy))
    }

    /// Like [`Self::train`], but if another process trains the member, waits while its heartbeat changes, and takes
    /// over when the heartbeat stops.
    pub fn train_or_take_over(&self, plan: &PlanRecord, member: MemberId) -> Result<TrainOutcome> {
        let patience = self.patience();
        let heartbeat = self.run.layout.heartbeat(plan.generation, member);
        let look = || {
            refresh(heartbeat.parent().unwrap_or(Path::new(".")));
            std::fs::read(&heartbeat).ok()
        };
        let mut seen = (look(), Instant::now());
        let (mut reported, mut reported_stuck) = (false, false);
        let name = format!("member {member} of generation {}", plan.generation);
        loop {
            // Compares neither clocks nor file times: only a changed heartbeat counts.
            let stuck = seen.1.elapsed() >= patience;
            if stuck && reported && !std::mem::replace(&mut reported_stuck, true) {
                let silent = patience.as_secs();
                tracing::warn!(
                    "no heartbeat from the other process that trains {name} for {silent} s; taking over"
                );
            }
            if let Some(ended) = self.begin(plan, member, stuck)? {
                return Ok(ended);
            }
            if self.stop.get().is_some() {
                return Ok(TrainOutcome::Busy);
            }
            if !std::mem::replace(&mut reported, true) {
                tracing::info!(
                    "another process trains {name}; waiting until it ends or has no heartbeat for {} s",
                    patience.as_secs()
                );
            }
            std::thread::sleep(Duration::from_secs(1));
            let found = look();
            if found != seen.0 {
                seen = (found, Instant::now());
            }
        }
    }

    /// None if another process holds the member's lock.
    fn begin(&self, plan: &PlanRecord, member: MemberId, take_over: bool) -> Result<Option<TrainOutcome>> {
        let (run, generation) = (self.run, plan.generation);
        let planned = plan
            .members
            .get(member.0 as usize)
            .with_context(|| format!("generation {generation} has no member {member}"))?;
        if run.result(generation, member)?.is_some() {
            return Ok(Some(TrainOutcome::Done));
        }
        self.retry_with_backoff("begin the attempt", || {
            Ok(ensure_dir(&run.layout.progress(generation, member))?)
        })?;
        let lock = Lock::try_take(&run.layout.member_lock(generation, member));
        if lock.is_none() && !take_over {
            return Ok(None);
        }
        // The previous holder of the lock may have published the result.
        if run.result(generation, member)?.is_some() {
            return Ok(Some(TrainOutcome::Done));
        }
        for folder in abandoned_dirs(&run.layout.member(generation, member)) {
            self.task.clear(&folder);
            drop_folder(&folder);
        }
        let dir = run.layout.attempts(generation, member);
        let before = read_json::<Heartbeat>(&run.layout.heartbeat(generation, member)).ok();
        let left = before.as_ref().map(Heartbeat::left);
        let (attempt, start) = self.retry_with_backoff("begin the attempt", || {
            let identity = self.identity.clone();
            Ok(begin_attempt(&dir, identity.job, identity.host, left.clone())?)
        })?;
        self.claim.set(Some((dir.clone(), attempt)));
        let training =
            AttemptRun { trainer: self, plan, planned, attempt, last_metrics: LastMetrics::default() };
        let ended = without_panic(|| training.run(start.started, before));
        let (ending, outcome) = match ended {
            Ok(AttemptOutcome::Done) => (AttemptEnd::Done, Ok(TrainOutcome::Done)),
            Ok(AttemptOutcome::Superseded) => {
                (AttemptEnd::Superseded, Ok(self.outcome_after_overtaking(plan, member)?))
            }
            Ok(AttemptOutcome::Stopped(signal)) => {
                (AttemptEnd::Stopped { signal: signal.into() }, Ok(TrainOutcome::Stopped))
            }
            Err(error) if error.is::<Interrupted>() => {
                let signal = self.stop.get().map_or("a signal", Signal::name);
                (AttemptEnd::Stopped { signal: signal.into() }, Ok(TrainOutcome::Stopped))
            }
            Err(error) => (ending_of(&error), Err(error)),
        };
        self.claim.set(None);
        record_end(&dir, attempt, ending);
        outcome.map(Some)
    }

    /// The outcome of an attempt that another one has superseded.
    fn outcome_after_overtaking(&self, plan: &PlanRecord, member: MemberId) -> Result<TrainOutcome> {
        let done = self.run.result(plan.generation, member)?.is_some();
        Ok(if done { TrainOutcome::Done } else { TrainOutcome::Busy })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.run.config.storage.retry_seconds)
    }

    /// Retries `act` with exponential backoff while the storage fails (it is full, or a server restarts), for at most
    /// `storage.retry_seconds`.
    fn retry_with_backoff<T>(&self, doing: &str, act: impl FnMut() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        retry(act, |error, delay| {
            let again = is_storage_failure(error) && began.elapsed() + delay <= self.patience();
            if again {
                tracing::warn!("{}; retrying to {doing} in {} s", message(error), delay.as_secs());
            }
            again && sleep(delay, &self.stop)
        })
    }

    /// Whether an attempt has been superseded: another process has published the result, or has begun a later attempt
    /// because it considered this one dead.
    fn is_overtaken(&self, generation: u32, member: MemberId, attempt: u32) -> bool {
        let run = self.run;
        refresh(run.layout.result(generation, member).parent().unwrap_or(Path::new(".")));
        matches!(run.result(generation, member), Ok(Some(_)))
            || matches!(is_overtaken(&run.layout.attempts(generation, member), attempt), Ok(true))
    }
}

/// Classifies an error: failures of the storage and damaged files of the run do not count against the member.
pub(crate) fn ending_of(error: &Error) -> AttemptEnd {
    let message = message(error);
    match fault_of(error) {
        Fault::Io | Fault::Damaged => AttemptEnd::StorageFailed { message },
        _ => AttemptEnd::Failed { message },
    }
}

/// Records the end of an attempt. If that fails, the attempt remains without an end.
pub(crate) fn record_end(dir: &Path, attempt: u32, ending: AttemptEnd) {
    if let Err(error) = end_attempt(dir, attempt, ending) {
        tracing::warn!("{error}");
    }
}

/// Calls `act`; a panic becomes an error with its message. libtorch reports errors, e.g. insufficient memory, as panics.
pub(crate) fn without_panic<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(anyhow!("panic: {}", panic_message(panic.as_ref()))))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "no message".to_owned(),
    }
}

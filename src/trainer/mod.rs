//! One member's life in one generation: claim, restore, train, snapshot, evaluate, publish.

mod heartbeat;
mod life;
mod mend;
mod snapshots;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use crate::error::{IO, STATE, exit_code, is_hindrance, message};
use crate::search::MemberId;
use crate::signal::{Signal, StopSignal};
use crate::state::{
    Ending, Heartbeat, Lock, PlanRecord, Run, begin_attempt, drop_folder, end_attempt, ensure_dir,
    is_overtaken, left_folders, read_json, refresh,
};
use crate::tasks::{Interrupted, Task};
use heartbeat::Told;
use life::{Life, LifeEnd};

/// How the training of a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its result is published (by this process or by another one).
    Done,
    /// A signal came; it goes on from its last snapshot.
    Stopped,
    /// Another process trains it.
    Busy,
}

/// The attempt that runs, for whoever has to end it from outside (see [`Claim::abandon`]).
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<Mutex<Option<Running>>>);

/// Directory and number of an attempt.
type Running = (PathBuf, u32);

impl Claim {
    fn set(&self, value: Option<Running>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// Records that the attempt is left because of a signal, without waiting for it.
    pub fn abandon(&self, signal: &str) {
        let claim = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((dir, attempt)) = claim {
            record_end(&dir, attempt, Ending::Stopped { signal: signal.into() });
        }
    }
}

/// Who trains: the scheduler's name for the job, if there is one, and the machine.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Job id.
    pub job: Option<String>,
    /// Host name.
    pub host: String,
}

/// What a process needs to train members.
pub struct Trainer<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its task.
    pub task: &'a dyn Task,
    /// Who this process is.
    pub identity: Identity,
    /// Tells when to leave.
    pub stop: StopSignal,
    /// Names the attempt that runs.
    pub claim: Claim,
}

impl Trainer<'_> {
    /// Trains a member of a generation to the end of its step, from wherever an earlier attempt left it.
    pub fn train(&self, plan: &PlanRecord, member: MemberId) -> Result<Ended> {
        Ok(self.begin(plan, member, false)?.unwrap_or(Ended::Busy))
    }

    /// The same for a process that was started because no other one should be at it: waits for one that
    /// shows signs of life, and takes over from one that shows none.
    pub fn train_for_certain(&self, plan: &PlanRecord, member: MemberId) -> Result<Ended> {
        let patience = self.patience();
        let heartbeat = self.run.layout.heartbeat(plan.generation, member);
        let look = || {
            refresh(heartbeat.parent().unwrap_or(Path::new(".")));
            std::fs::read(&heartbeat).ok()
        };
        let mut seen = (look(), Instant::now());
        let (mut told, mut told_stuck) = (false, false);
        let name = format!("member {member} of generation {}", plan.generation);
        loop {
            // No clocks are compared, and no file's time: a heartbeat that changes is a sign of life.
            let stuck = seen.1.elapsed() >= patience;
            if stuck && told && !std::mem::replace(&mut told_stuck, true) {
                let silent = patience.as_secs();
                eprintln!(
                    "pbtnas: the other process at {name} showed no sign of life for {silent} s; taking over"
                );
            }
            if let Some(ended) = self.begin(plan, member, stuck)? {
                return Ok(ended);
            }
            if self.stop.get().is_some() {
                return Ok(Ended::Busy);
            }
            if !std::mem::replace(&mut told, true) {
                eprintln!(
                    "pbtnas: another process trains {name}; waiting until it ends, or shows no sign of life for {} s",
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
    fn begin(&self, plan: &PlanRecord, member: MemberId, take_over: bool) -> Result<Option<Ended>> {
        let (run, generation) = (self.run, plan.generation);
        let planned = plan
            .members
            .get(member.0 as usize)
            .with_context(|| format!("generation {generation} has no member {member}"))?;
        if run.result(generation, member)?.is_some() {
            return Ok(Some(Ended::Done));
        }
        self.patiently("begin", || Ok(ensure_dir(&run.layout.progress(generation, member))?))?;
        let lock = Lock::try_take(&run.layout.member_lock(generation, member));
        if lock.is_none() && !take_over {
            return Ok(None);
        }
        // Whoever had the lock until now may have published it.
        if run.result(generation, member)?.is_some() {
            return Ok(Some(Ended::Done));
        }
        for folder in left_folders(&run.layout.member(generation, member)) {
            self.task.clear(&folder);
            drop_folder(&folder);
        }
        let dir = run.layout.attempts(generation, member);
        let before = read_json::<Heartbeat>(&run.layout.heartbeat(generation, member)).ok();
        let left = before.as_ref().map(Heartbeat::left);
        let (attempt, start) = self.patiently("begin", || {
            let identity = self.identity.clone();
            Ok(begin_attempt(&dir, identity.job, identity.host, left.clone())?)
        })?;
        self.claim.set(Some((dir.clone(), attempt)));
        let life = Life { trainer: self, plan, planned, attempt, told: Told::default() };
        // libtorch reports a lack of memory, say, by a panic: that is this attempt's failure, with its message.
        let ended = catch_unwind(AssertUnwindSafe(|| life.live(start.started, before)))
            .unwrap_or_else(|panic| Err(anyhow!("it panicked: {}", panic_message(panic.as_ref()))));
        let (ending, outcome) = match ended {
            Ok(LifeEnd::Done) => (Ending::Done, Ok(Ended::Done)),
            Ok(LifeEnd::Superseded) => (Ending::Superseded, Ok(self.after_overtaking(plan, member)?)),
            Ok(LifeEnd::Stopped(signal)) => (Ending::Stopped { signal: signal.into() }, Ok(Ended::Stopped)),
            Err(error) if error.is::<Interrupted>() => {
                let signal = self.stop.get().map_or("a signal", Signal::name);
                (Ending::Stopped { signal: signal.into() }, Ok(Ended::Stopped))
            }
            Err(error) => (ending_of(&error), Err(error)),
        };
        self.claim.set(None);
        record_end(&dir, attempt, ending);
        outcome.map(Some)
    }

    /// What is left for an attempt that another one has overtaken.
    fn after_overtaking(&self, plan: &PlanRecord, member: MemberId) -> Result<Ended> {
        let done = self.run.result(plan.generation, member)?.is_some();
        Ok(if done { Ended::Done } else { Ended::Busy })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.run.config.storage.patience_seconds)
    }

    /// Does something again, less and less often, as long as the filesystem refuses (it is full, or a server
    /// restarts), for the patience that is configured.
    fn patiently<T>(&self, doing: &str, mut act: impl FnMut() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let mut pause = Duration::from_secs(1);
        loop {
            match act() {
                Err(error) if is_hindrance(&error) && began.elapsed() + pause <= self.patience() => {
                    eprintln!(
                        "pbtnas: {}; trying to {doing} again in {} s",
                        message(&error),
                        pause.as_secs()
                    );
                    let until = Instant::now() + pause;
                    while Instant::now() < until {
                        if self.stop.get().is_some() {
                            return Err(error);
                        }
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    pause = (pause * 2).min(Duration::from_secs(60));
                }
                other => return other,
            }
        }
    }

    /// Whether the work of an attempt is of no use any more: somebody published the result, or began a later
    /// attempt in the belief that this one is dead.
    fn is_overtaken(&self, generation: u32, member: MemberId, attempt: u32) -> bool {
        let run = self.run;
        refresh(run.layout.result(generation, member).parent().unwrap_or(Path::new(".")));
        matches!(run.result(generation, member), Ok(Some(_)))
            || matches!(is_overtaken(&run.layout.attempts(generation, member), attempt), Ok(true))
    }
}

/// How an error counts. What is wrong with the filesystem or with the run's files is not the member's fault.
pub fn ending_of(error: &Error) -> Ending {
    let message = message(error);
    match exit_code(error) {
        IO | STATE => Ending::Hindered { message },
        _ => Ending::Failed { message },
    }
}

/// Records the end of an attempt; if that fails, there is an attempt without an end.
fn record_end(dir: &Path, attempt: u32, ending: Ending) {
    if let Err(error) = end_attempt(dir, attempt, ending) {
        eprintln!("pbtnas: {error}");
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "without a message".to_owned(),
    }
}

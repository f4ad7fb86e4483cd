//! One member's life in one generation: claim, restore, train, snapshot, evaluate, publish.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use chrono::Utc;

use crate::checkpoint::{Reader, Written, digest_file, write};
use crate::search::MemberId;
use crate::signal::StopSignal;
use crate::state::{
    Ending, FORMAT, FileRef, Heartbeat, Lock, MemberPlan, Outcome, PlanRecord, Published, ResultRecord, Run,
    Staged, StartRecord, StateError, begin_attempt, end_attempt, ensure_dir, publish_json, replace_json,
    stage,
};
use crate::tasks::{Evaluation, Measure, Seeds, Session, Start, Task};

/// Time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How the training of a member ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its result is published (by this process or by another one).
    Done,
    /// A signal came; a snapshot is kept.
    Stopped,
    /// Another process on this filesystem trains it.
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
            let ending = Ending::Stopped { signal: signal.into() };
            if let Err(error) = end_attempt(&dir, attempt, ending) {
                eprintln!("pbtnas: {error}");
            }
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

/// Trains a member of a generation to the end of its step, from wherever an earlier attempt left it.
pub fn train(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    member: MemberId,
    identity: &Identity,
    stop: &StopSignal,
    claim: &Claim,
) -> Result<Ended> {
    let plan = run.plan(generation)?;
    let planned = plan
        .members
        .get(member.0 as usize)
        .with_context(|| format!("generation {generation} has no member {member}"))?;
    if run.result(generation, member)?.is_some() {
        return Ok(Ended::Done);
    }
    ensure_dir(&run.layout.progress(generation, member))?;
    let Some(_lock) = Lock::try_take(&run.layout.member_lock(generation, member)) else {
        return Ok(Ended::Busy);
    };
    let attempts = run.layout.attempts(generation, member);
    let (attempt, start) = begin_attempt(&attempts, identity.job.clone(), identity.host.clone())?;
    claim.set(Some((attempts.clone(), attempt)));
    let life = Life { run, task, plan: &plan, planned, attempt, stop };
    // libtorch reports a lack of memory, say, by a panic: that is this attempt's failure, with its message.
    let ended = catch_unwind(AssertUnwindSafe(|| life.live(identity, start.started)))
        .unwrap_or_else(|panic| Err(anyhow!("it panicked: {}", panic_message(panic.as_ref()))));
    let (ending, outcome) = match ended {
        Ok(LifeEnd::Done) => (Ending::Done, Ok(Ended::Done)),
        Ok(LifeEnd::Superseded) => (Ending::Superseded, Ok(Ended::Done)),
        Ok(LifeEnd::Stopped(signal)) => (Ending::Stopped { signal: signal.into() }, Ok(Ended::Stopped)),
        Err(error) => (Ending::Failed { message: format!("{error:#}") }, Err(error)),
    };
    claim.set(None);
    end_attempt(&attempts, attempt, ending)?;
    outcome
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "without a message".to_owned(),
    }
}

enum LifeEnd {
    Done,
    Superseded,
    Stopped(&'static str),
}

struct Life<'a> {
    run: &'a Run,
    task: &'a dyn Task,
    plan: &'a PlanRecord,
    planned: &'a MemberPlan,
    attempt: u32,
    stop: &'a StopSignal,
}

impl Life<'_> {
    fn live(&self, identity: &Identity, started: chrono::DateTime<Utc>) -> Result<LifeEnd> {
        let (run, generation, member) = (self.run, self.plan.generation, self.planned.id);
        let restored = self.restore()?;
        let published;
        // A network that was redrawn in the middle of a search has seen fewer epochs than the others.
        let from_epoch = if self.planned.start == StartRecord::Fresh { 0 } else { self.plan.from_epoch };
        let target = from_epoch + (self.plan.to_epoch - self.plan.from_epoch);
        let mut session = self.session(restored.as_ref())?;

        if let Some(end) = self.train_until(session.as_mut(), from_epoch, target)? {
            return Ok(end);
        }
        let (staged, mine) = self.stage_in(&run.layout.member(generation, member), session.as_ref())?;
        staged.publish("final.safetensors")?;
        let path = run.layout.final_checkpoint(generation, member);
        let there = digest_file(&path)?;
        if mine.digest != there.digest {
            // Another attempt published its own network first: that one is the member now.
            published = Reader::open(&path).map_err(StateError::from)?;
            session = self.session(Some(&published))?;
        }
        self.beat(target, 1.0, "evaluating");
        let Evaluation { fitness, metrics } =
            session.evaluate(Measure::Search).context("failed to evaluate the member")?;
        let result = ResultRecord {
            format: FORMAT,
            generation,
            member,
            outcome: Outcome::Trained {
                fitness: fitness.is_finite().then_some(fitness),
                metrics: metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
                epoch: target,
                checkpoint: FileRef {
                    path: run.layout.relative(&path),
                    size: there.size,
                    digest: there.digest,
                },
                attempt: self.attempt,
                host: identity.host.clone(),
                started,
                finished: Utc::now(),
            },
        };
        let published = publish_json(&run.layout.result(generation, member), &result)?;
        self.drop_snapshots(None)?;
        Ok(match published {
            Published::Created => LifeEnd::Done,
            Published::Existed => LifeEnd::Superseded,
        })
    }

    /// The furthest checkpoint of an earlier attempt that is sound, or the one to start from.
    fn restore(&self) -> Result<Option<Reader>> {
        let (generation, member) = (self.plan.generation, self.planned.id);
        let layout = &self.run.layout;
        let trained = layout.final_checkpoint(generation, member);
        if trained.exists() {
            return Ok(Some(Reader::open(&trained)?));
        }
        for (path, digest) in self.snapshots()?.into_iter().rev() {
            let sound = digest_file(&path).ok().filter(|found| found.digest.to_string().contains(&digest));
            match sound.and_then(|_| Reader::open(&path).ok()) {
                Some(reader) if reader.meta().genotype == self.planned.genotype => return Ok(Some(reader)),
                _ => eprintln!("pbtnas: the snapshot {} is damaged; trying the one before", path.display()),
            }
        }
        match &self.planned.start {
            StartRecord::Fresh => Ok(None),
            StartRecord::Checkpoint(file) => {
                let reader = self.run.checkpoint(file)?;
                if reader.meta().genotype != self.planned.genotype {
                    return Err(StateError::damaged(reader.path(), "it holds another architecture").into());
                }
                Ok(Some(reader))
            }
        }
    }

    fn session<'b>(&'b self, from: Option<&'b Reader>) -> Result<Box<dyn Session + 'b>> {
        let seeds =
            Seeds { run: self.run.record.seed, generation: self.plan.generation, member: self.planned.id };
        let start = match from {
            Some(reader) => Start::Checkpoint(reader),
            None => Start::Fresh(&self.planned.genotype),
        };
        for file in &self.run.record.shared {
            self.run.check_file(file)?;
        }
        self.task.session(start, seeds, &self.run.layout.shared())
    }

    /// Trains up to an epoch; something else than none if that was not reached.
    fn train_until(&self, session: &mut dyn Session, from: u32, target: u32) -> Result<Option<LifeEnd>> {
        let every = Duration::from_secs(self.run.config.training.snapshot_seconds);
        let mut snapshot = Instant::now();
        let mut beat: Option<Instant> = None;
        loop {
            let (epoch, step) = session.position();
            if epoch >= target {
                return Ok(None);
            }
            if let Some(signal) = self.stop.get() {
                self.snapshot(session)?;
                return Ok(Some(LifeEnd::Stopped(signal.name())));
            }
            if beat.is_none_or(|beat| beat.elapsed() >= HEARTBEAT) {
                let done = f64::from(epoch - from) + step as f64 / session.steps_per_epoch().max(1) as f64;
                self.beat(epoch, done / f64::from((target - from).max(1)), "training");
                beat = Some(Instant::now());
            }
            if snapshot.elapsed() >= every {
                self.snapshot(session)?;
                if self.run.layout.result(self.plan.generation, self.planned.id).exists() {
                    return Ok(Some(LifeEnd::Superseded));
                }
                snapshot = Instant::now();
            }
            session.advance()?;
        }
    }

    /// Tells how far the member is. What fails here costs a reader some news, and the member nothing.
    fn beat(&self, epoch: u32, fraction: f64, phase: &str) {
        let beat = Heartbeat { epoch, fraction, phase: phase.into(), attempt: self.attempt, at: Utc::now() };
        let path = self.run.layout.heartbeat(self.plan.generation, self.planned.id);
        if let Err(error) = replace_json(&path, &beat) {
            eprintln!("pbtnas: {error}");
        }
    }

    fn snapshot(&self, session: &dyn Session) -> Result<()> {
        let (epoch, step) = session.position();
        let dir = self.run.layout.progress(self.plan.generation, self.planned.id);
        let (staged, written) = self.stage_in(&dir, session)?;
        // The name holds position and digest: a damaged snapshot is known without another file.
        let digest = written.digest.to_string();
        let digest = digest.split(':').next_back().unwrap_or_default();
        let name = format!("{epoch:06}-{step:09}-{}.safetensors", digest.get(..32).unwrap_or(digest));
        staged.publish(&name)?;
        self.drop_snapshots(Some(&name))
    }

    fn stage_in(&self, dir: &std::path::Path, session: &dyn Session) -> Result<(Staged, Written)> {
        let (meta, entries) = session.describe()?;
        stage(dir, |out| {
            let mut out = std::io::BufWriter::new(out);
            let written = write(&mut out, &meta, entries, |entry, out| {
                out.write_all(&session.tensor(entry).map_err(WriteError)?).map_err(WriteError::from)
            })?;
            std::io::Write::flush(&mut out).map_err(WriteError::from)?;
            Ok(written)
        })
        .map_err(|WriteError(error)| error)
    }

    /// Snapshots and the digests in their names, oldest first.
    fn snapshots(&self) -> Result<Vec<(PathBuf, String)>, StateError> {
        let dir = self.run.layout.progress(self.plan.generation, self.planned.id);
        let mut snapshots = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(StateError::io("read", &dir))? {
            let path = entry.map_err(StateError::io("read", &dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(stem) = name.strip_suffix(".safetensors") else { continue };
            if let Some((_, digest)) = stem.rsplit_once('-') {
                snapshots.push((path.clone(), digest.to_owned()));
            }
        }
        snapshots.sort();
        Ok(snapshots)
    }

    /// Removes snapshots other than the newest one (or all).
    fn drop_snapshots(&self, newest: Option<&str>) -> Result<()> {
        for (path, _) in self.snapshots()? {
            if path.file_name().and_then(|name| name.to_str()) != newest {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// Any way in which writing a session can fail.
struct WriteError(anyhow::Error);

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self(anyhow!(error).context("failed to write a checkpoint"))
    }
}

impl From<StateError> for WriteError {
    fn from(error: StateError) -> Self {
        Self(error.into())
    }
}

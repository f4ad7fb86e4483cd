//! An attempt: from the furthest sound checkpoint to a published result.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use super::Trainer;
use super::heartbeat::{HEARTBEAT, Told};
use crate::checkpoint::{Reader, digest_file};
use crate::error::message;
use crate::place::place;
use crate::state::{
    FORMAT, FileRef, Heartbeat, MemberPlan, Outcome, PlanRecord, Published, ResultRecord, StartRecord,
    StateError, link, publish_bytes, publish_json, remove,
};
use crate::tasks::{Evaluation, Measure, Session, Start};

/// Time before a snapshot that the filesystem refused is tried again.
const REFUSED: Duration = Duration::from_secs(10);

/// How an attempt ended, if not with an error.
pub enum LifeEnd {
    Done,
    /// Another attempt published the result, or took over.
    Superseded,
    Stopped(&'static str),
}

/// What an attempt goes on from.
pub enum Restored {
    /// A checkpoint; none is fresh weights.
    From(Option<Reader>),
    /// The way there was interrupted.
    Ended(LifeEnd),
}

/// An attempt at a member's step.
pub struct Life<'a> {
    pub trainer: &'a Trainer<'a>,
    pub plan: &'a PlanRecord,
    pub planned: &'a MemberPlan,
    pub attempt: u32,
    pub told: Told,
}

impl Life<'_> {
    /// `before` is the last heartbeat of the attempt before this one.
    pub fn live(&self, started: DateTime<Utc>, before: Option<Heartbeat>) -> Result<LifeEnd> {
        let (run, generation, member) = (self.trainer.run, self.plan.generation, self.planned.id);
        let began = Instant::now();
        let restored = match self.restore()? {
            Restored::From(reader) => reader,
            Restored::Ended(end) => return Ok(end),
        };
        let published;
        let mut session = self.session(restored.as_ref())?;
        self.told.go_on_from(before, session.progress());
        eprintln!("pbtnas: ready to train after {:.2} s", began.elapsed().as_secs_f64());
        if let Some(end) = self.train_until_target(session.as_mut(), true)? {
            return Ok(end);
        }
        let checkpoint =
            self.trainer.patiently("publish the checkpoint", || self.publish(session.as_ref()))?;
        if checkpoint.theirs {
            published = Reader::open(&run.path_of(&checkpoint.file)?).map_err(StateError::from)?;
            session = self.session(Some(&published))?;
        }
        self.beat(session.as_ref(), "evaluating");
        let Evaluation { fitness, metrics } =
            session.evaluate(Measure::Search).context("failed to evaluate the member")?;
        if !fitness.is_finite() {
            eprintln!("pbtnas: the fitness is {fitness}: the member counts as diverged and ranks last");
        }
        let preview = self.preview(session.as_mut());
        let result = ResultRecord {
            format: FORMAT,
            generation,
            member,
            outcome: Outcome::Trained {
                fitness: fitness.is_finite().then_some(fitness),
                metrics: metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
                curve: self.told.curve(),
                option_weights: session.option_weights(),
                preview,
                epoch: self.target(),
                checkpoint: checkpoint.file,
                attempt: self.attempt,
                host: self.trainer.identity.host.clone(),
                started,
                finished: Utc::now(),
            },
        };
        let path = run.layout.result(generation, member);
        let first = self.trainer.patiently("publish the result", || Ok(publish_json(&path, &result)?))?;
        if let Err(error) =
            self.drop_snapshots(1).and_then(|()| Ok(remove(&run.layout.heartbeat(generation, member))?))
        {
            eprintln!("pbtnas: {}", message(&error));
        }
        Ok(match first {
            Published::Created => LifeEnd::Done,
            Published::Existed => LifeEnd::Superseded,
        })
    }

    /// Epochs behind the network when the step begins.
    pub fn begins_at(&self) -> u32 {
        self.planned.begins_at(self.plan.from_epoch)
    }

    /// Epochs behind it when the step ends.
    pub fn target(&self) -> u32 {
        self.begins_at() + (self.plan.to_epoch - self.plan.from_epoch)
    }

    /// Publishes the trained network: as a snapshot, whose name holds its digest, and the same file under its
    /// final name. So whoever finds the final file without a result knows whether it is sound.
    fn publish(&self, session: &dyn Session) -> Result<Trained> {
        let run = self.trainer.run;
        let (generation, member) = (self.plan.generation, self.planned.id);
        let path = run.layout.final_checkpoint(generation, member);
        let (snapshot, mine) = self.snapshot(session)?;
        self.told.saved();
        let mut published = link(&snapshot, &path)?;
        // The file that was just linked has been read for its digest.
        let mut there = match published {
            Published::Created => mine.clone(),
            Published::Existed => digest_file(&path)?,
        };
        if there != mine && !self.is_snapshot(&there.digest)? {
            eprintln!("pbtnas: {} is damaged and is replaced", path.display());
            remove(&path)?;
            published = link(&snapshot, &path)?;
            there = digest_file(&path)?;
        }
        // If another attempt published its own network first, that one is the member now.
        let theirs = published == Published::Existed && there != mine;
        let file = FileRef { path: run.layout.relative(&path), size: there.size, digest: there.digest };
        Ok(Trained { file, theirs })
    }

    /// Publishes what there is to look at. What fails here costs a reader a picture, and the member nothing.
    fn preview(&self, session: &mut dyn Session) -> Option<FileRef> {
        let layout = &self.trainer.run.layout;
        let path = layout.preview(self.plan.generation, self.planned.id);
        let made = session.preview().and_then(|picture| {
            let Some(picture) = picture else { return Ok(None) };
            publish_bytes(&path, &picture)?;
            // Another attempt may have been first.
            let there = digest_file(&path).map_err(StateError::from)?;
            Ok(Some(FileRef { path: layout.relative(&path), size: there.size, digest: there.digest }))
        });
        made.unwrap_or_else(|error| {
            eprintln!("pbtnas: there is no {}: {}", path.display(), message(&error));
            None
        })
    }

    /// The furthest checkpoint of an earlier attempt that is sound, or the one to start from.
    pub fn restore(&self) -> Result<Restored> {
        for (path, digest) in self.snapshots()?.into_iter().rev() {
            let why = match digest_file(&path).and_then(|found| Ok((found, Reader::open(&path)?))) {
                Ok((found, _)) if !found.digest.starts_with(&digest) => {
                    "it does not hold what its name tells".to_owned()
                }
                Ok((_, reader)) if reader.meta().genotype != self.planned.genotype => {
                    "it holds another architecture".to_owned()
                }
                Ok((_, reader)) if reader.meta().epoch > self.target() => {
                    "it has seen more epochs than the step has".to_owned()
                }
                Ok((_, reader)) => return Ok(Restored::From(Some(reader))),
                Err(error) => error.to_string(),
            };
            eprintln!(
                "pbtnas: the snapshot {} cannot be used ({why}); trying the one before",
                path.display()
            );
        }
        let file = match &self.planned.start {
            StartRecord::Fresh => return Ok(Restored::From(None)),
            StartRecord::Parents => return self.make_start(),
            StartRecord::Checkpoint(file) => file,
        };
        let reader = match self.trainer.run.checkpoint(file) {
            Err(error) if error.is_damage() => {
                eprintln!("pbtnas: {}; making it again", error.what());
                if let Some(end) = self.mend(file)? {
                    return Ok(Restored::Ended(end));
                }
                self.trainer.run.checkpoint(file)?
            }
            found => found?,
        };
        if reader.meta().genotype != self.planned.genotype {
            return Err(StateError::damaged(reader.path(), "it holds another architecture").into());
        }
        if reader.meta().epoch > self.target() {
            return Err(
                StateError::damaged(reader.path(), "it has seen more epochs than the step has").into()
            );
        }
        Ok(Restored::From(Some(reader)))
    }

    pub fn session<'b>(&'b self, from: Option<&'b Reader>) -> Result<Box<dyn Session + 'b>> {
        let run = self.trainer.run;
        let start = match from {
            Some(reader) => Start::Checkpoint(reader),
            None => Start::Fresh(&self.planned.genotype, self.begins_at()),
        };
        for file in &run.record.shared {
            run.check_file(file)?;
        }
        let (generation, member) = (self.plan.generation, self.planned.id);
        let dir = run.layout.member(generation, member);
        self.trainer.task.session(start, place(run, generation, member, &dir, &self.trainer.stop))
    }

    /// Trains up to the end of the step; something else than none if that was not reached. `watch` looks out
    /// for other attempts.
    pub fn train_until_target(&self, session: &mut dyn Session, watch: bool) -> Result<Option<LifeEnd>> {
        let (generation, member) = (self.plan.generation, self.planned.id);
        let target = self.target();
        let every = Duration::from_secs(self.trainer.run.config.training.snapshot_seconds);
        let mut snapshot = Instant::now();
        let mut kept = session.file().map(Path::to_owned);
        let mut refused: Option<Instant> = None;
        let mut beat: Option<Instant> = None;
        loop {
            if session.position().0 >= target {
                return Ok(None);
            }
            if let Some(signal) = self.trainer.stop.get() {
                if let Err(error) = session.leave() {
                    eprintln!("pbtnas: {}", message(&error));
                }
                if session.file().is_none_or(|file| kept.as_deref() != Some(file)) {
                    self.keep_snapshot(session);
                }
                // What it leaves tells what is lost: nothing, if that was kept.
                self.beat(session, "training");
                return Ok(Some(LifeEnd::Stopped(signal.name())));
            }
            if beat.is_none_or(|beat| beat.elapsed() >= HEARTBEAT) {
                if watch && beat.is_some() && self.trainer.is_overtaken(generation, member, self.attempt) {
                    eprintln!("pbtnas: another attempt has overtaken this one; leaving the member to it");
                    return Ok(Some(LifeEnd::Superseded));
                }
                self.beat(session, "training");
                beat = Some(Instant::now());
            }
            let due = match session.file() {
                Some(file) if kept.as_deref() == Some(file) => false,
                // What could not be kept is tried again, but not all the time.
                Some(_) => refused.is_none_or(|refused| refused.elapsed() >= REFUSED),
                None => snapshot.elapsed() >= every,
            };
            if due {
                refused = (!self.keep_snapshot(session)).then(Instant::now);
                snapshot = Instant::now();
                if refused.is_none() {
                    kept = session.file().map(Path::to_owned);
                }
            }
            self.trainer.patiently("go on", || session.advance(target))?;
        }
    }
}

/// A network that was published under its final name.
struct Trained {
    file: FileRef,
    /// Another attempt's.
    theirs: bool,
}

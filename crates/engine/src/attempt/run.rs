//! An attempt: from the latest intact checkpoint to a published result.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use super::Trainer;
use super::heartbeat::{HEARTBEAT, LastMetrics};
use crate::member_context::place;
use crate::task::{Evaluation, Measure, Session, Start};
use pbtnas_core::checkpoint::Reader;
use pbtnas_core::durable_fs::digest_file;
use pbtnas_core::durable_fs::{Published, link, publish_bytes, remove};
use pbtnas_core::fault::message;
use pbtnas_core::run::{
    FORMAT, FileRef, Heartbeat, MemberPlan, Outcome, PlanRecord, ResultRecord, StartRecord, StateError,
    publish_json,
};

/// The delay before a failed snapshot is retried.
const REFUSED: Duration = Duration::from_secs(10);

/// The outcome of an attempt that did not fail.
pub enum AttemptOutcome {
    Done,
    /// Another attempt has published the result or taken over.
    Superseded,
    Stopped(&'static str),
}

/// The starting point of an attempt.
pub enum Restored {
    /// A checkpoint, or fresh weights if `None`.
    From(Option<Reader>),
    /// Restoring was interrupted.
    Ended(AttemptOutcome),
}

/// An attempt to train a member for a generation.
pub struct AttemptRun<'a> {
    pub trainer: &'a Trainer<'a>,
    pub plan: &'a PlanRecord,
    pub planned: &'a MemberPlan,
    pub attempt: u32,
    pub last_metrics: LastMetrics,
}

impl AttemptRun<'_> {
    /// `before` is the last heartbeat of the previous attempt.
    pub fn run(&self, started: DateTime<Utc>, before: Option<Heartbeat>) -> Result<AttemptOutcome> {
        let (run, generation, member) = (self.trainer.run, self.plan.generation, self.planned.id);
        let began = Instant::now();
        let restored = match self.restore()? {
            Restored::From(reader) => reader,
            Restored::Ended(end) => return Ok(end),
        };
        let published;
        let mut session = self.session(restored.as_ref())?;
        self.last_metrics.resume_from(before, session.progress());
        tracing::info!("ready to train after {:.2} s", began.elapsed().as_secs_f64());
        if let Some(end) = self.train_until_target(session.as_mut(), true)? {
            return Ok(end);
        }
        let checkpoint =
            self.trainer.retry_with_backoff("publish the checkpoint", || self.publish(session.as_ref()))?;
        if checkpoint.theirs {
            published = Reader::open(&run.path_of(&checkpoint.file)?).map_err(StateError::from)?;
            session = self.session(Some(&published))?;
        }
        self.beat(session.as_ref(), "evaluating");
        let Evaluation { fitness, metrics } =
            session.evaluate(Measure::Search).context("failed to evaluate the member")?;
        if !fitness.is_finite() {
            tracing::warn!("the fitness is {fitness}: the member counts as diverged and ranks last");
        }
        let preview = self.preview(session.as_mut());
        let result = ResultRecord {
            format: FORMAT,
            generation,
            member,
            outcome: Outcome::Trained {
                fitness: fitness.is_finite().then_some(fitness),
                metrics: metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
                curve: self.last_metrics.curve(),
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
        let first =
            self.trainer.retry_with_backoff("publish the result", || Ok(publish_json(&path, &result)?))?;
        if let Err(error) =
            self.drop_snapshots(1).and_then(|()| Ok(remove(&run.layout.heartbeat(generation, member))?))
        {
            tracing::warn!("{}", message(&error));
        }
        Ok(match first {
            Published::Created => AttemptOutcome::Done,
            Published::Existed => AttemptOutcome::Superseded,
        })
    }

    /// The member's completed epochs at the start of the generation.
    pub fn begins_at(&self) -> u32 {
        self.planned.begins_at(self.plan.from_epoch)
    }

    /// The member's completed epochs at the end of the generation.
    pub fn target(&self) -> u32 {
        self.begins_at() + (self.plan.to_epoch - self.plan.from_epoch)
    }

    /// Publishes the trained network as a snapshot, whose name contains its digest, and links the same file to its
    /// final name. A later attempt that finds the final file without a result can thus verify it.
    fn publish(&self, session: &dyn Session) -> Result<PublishedCheckpoint> {
        let run = self.trainer.run;
        let (generation, member) = (self.plan.generation, self.planned.id);
        let path = run.layout.final_checkpoint(generation, member);
        let (snapshot, mine) = self.snapshot(session)?;
        self.last_metrics.saved();
        let mut published = link(&snapshot, &path)?;
        // The linked file's digest is known already.
        let mut there = match published {
            Published::Created => mine.clone(),
            Published::Existed => digest_file(&path)?,
        };
        if there != mine && !self.is_snapshot(&there.digest)? {
            tracing::warn!("{} is damaged; replacing it", path.display());
            remove(&path)?;
            published = link(&snapshot, &path)?;
            there = digest_file(&path)?;
        }
        // If another attempt has published its network first, that network is the member.
        let theirs = published == Published::Existed && there != mine;
        let file = run.layout.file_ref(&path, there);
        Ok(PublishedCheckpoint { file, theirs })
    }

    /// Publishes the preview. A failure is reported but does not affect the member.
    fn preview(&self, session: &mut dyn Session) -> Option<FileRef> {
        let layout = &self.trainer.run.layout;
        let path = layout.preview(self.plan.generation, self.planned.id);
        let made = session.preview().and_then(|picture| {
            let Some(picture) = picture else { return Ok(None) };
            publish_bytes(&path, &picture)?;
            // Another attempt may have published it first.
            let there = digest_file(&path).map_err(StateError::from)?;
            Ok(Some(layout.file_ref(&path, there)))
        });
        made.unwrap_or_else(|error| {
            tracing::warn!("failed to publish {}: {}", path.display(), message(&error));
            None
        })
    }

    /// Opens the latest intact snapshot of an earlier attempt, or the checkpoint that the member starts from.
    pub fn restore(&self) -> Result<Restored> {
        for (path, digest) in self.snapshots()?.into_iter().rev() {
            let why = match digest_file(&path)
                .map_err(StateError::from)
                .and_then(|found| Ok((found, Reader::open(&path)?)))
            {
                Ok((found, _)) if !found.digest.starts_with(&digest) => {
                    "its digest differs from the one in its name".to_owned()
                }
                Ok((_, reader)) if reader.meta().genotype != self.planned.genotype => {
                    "it has a different architecture".to_owned()
                }
                Ok((_, reader)) if reader.meta().epoch > self.target() => {
                    "its epoch is beyond the end of the generation".to_owned()
                }
                Ok((_, reader)) => return Ok(Restored::From(Some(reader))),
                Err(error) => error.to_string(),
            };
            tracing::warn!("skipping snapshot {} ({why}); trying the previous one", path.display());
        }
        let file = match &self.planned.start {
            StartRecord::Fresh => return Ok(Restored::From(None)),
            StartRecord::Parents => return self.make_start(),
            StartRecord::Checkpoint(file) => file,
        };
        let reader = match self.trainer.run.checkpoint(file) {
            Err(error) if error.is_damage() => {
                tracing::warn!("{error}; rebuilding it");
                if let Some(end) = self.rebuild_checkpoint(file)? {
                    return Ok(Restored::Ended(end));
                }
                self.trainer.run.checkpoint(file)?
            }
            found => found?,
        };
        if reader.meta().genotype != self.planned.genotype {
            return Err(StateError::damaged(reader.path(), "it has a different architecture").into());
        }
        if reader.meta().epoch > self.target() {
            return Err(
                StateError::damaged(reader.path(), "its epoch is beyond the end of the generation").into()
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

    /// Trains up to the end of the generation; returns an outcome only if it stopped before. With `watch`, stops when
    /// another attempt has taken over.
    pub fn train_until_target(
        &self,
        session: &mut dyn Session,
        watch: bool,
    ) -> Result<Option<AttemptOutcome>> {
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
                    tracing::warn!("{}", message(&error));
                }
                if session.file().is_none_or(|file| kept.as_deref() != Some(file)) {
                    self.keep_snapshot(session);
                }
                // The last heartbeat shows how much work is lost: none if the snapshot was saved.
                self.beat(session, "training");
                return Ok(Some(AttemptOutcome::Stopped(signal.name())));
            }
            if beat.is_none_or(|beat| beat.elapsed() >= HEARTBEAT) {
                if watch && beat.is_some() && self.trainer.is_overtaken(generation, member, self.attempt) {
                    tracing::info!("another attempt has taken over this member; stopping");
                    return Ok(Some(AttemptOutcome::Superseded));
                }
                self.beat(session, "training");
                beat = Some(Instant::now());
            }
            let due = match session.file() {
                Some(file) if kept.as_deref() == Some(file) => false,
                // A failed snapshot is retried after a delay.
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
            self.trainer.retry_with_backoff("continue training", || session.advance(target))?;
        }
    }
}

/// The checkpoint published under the final name.
struct PublishedCheckpoint {
    file: FileRef,
    /// Whether another attempt published it.
    theirs: bool,
}

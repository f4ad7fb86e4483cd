//! Working off a stage: groups of pieces, some of them at a time, until each was tried once. Who works on them, processes
//! of this machine or steps of a SLURM job, is a [`Crew`].

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Work;
use crate::error::{BUSY, STOPPED};
use crate::search::MemberId;
use crate::signal::StopSignal;
use crate::state::{Heartbeat, ensure_dir};

/// Time between two looks at heartbeats and at signals.
pub const LOOK: Duration = Duration::from_millis(100);
/// Time before a group is tried again that another process is at.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// What a pool tells while it works.
pub trait Watcher {
    /// A member's process was started.
    fn started(&mut self, member: MemberId);
    /// News of a member that trains.
    fn heartbeat(&mut self, member: MemberId, heartbeat: &Heartbeat);
    /// Another process trains a member, and this one waits for it; told once.
    fn waiting(&mut self, _member: MemberId) {}
    /// A member's process ended; `done` tells whether its result is there.
    fn ended(&mut self, member: MemberId, done: bool);
}

/// Pieces of a stage that are worked on by one process, or side by side on the same processors.
pub type Group = Vec<MemberId>;

/// Those who work on the groups of a stage.
pub trait Crew {
    /// Lets somebody work on a group.
    fn give(&mut self, group: Group) -> Result<()>;

    /// Waits a little ([`LOOK`]) for news: a group that ended, and its exit code if there is one.
    fn hear(&mut self) -> Result<Option<(Group, Option<u8>)>>;

    /// Asks all to leave.
    fn stop(&mut self);

    /// How long nothing new is begun after a group was stopped, though this process has heard no signal itself: the same
    /// may be about to come to it.
    fn pause_after_a_stop(&self) -> Duration;
}

/// Works off groups of a stage, `at_once` at a time, until each was tried once. False if a signal came.
pub fn work_off(
    (work, stage): (&dyn Work, u32),
    groups: impl IntoIterator<Item = Group>,
    at_once: usize,
    stop: &StopSignal,
    watcher: &mut dyn Watcher,
    crew: &mut dyn Crew,
) -> Result<bool> {
    ensure_dir(&work.run().layout.logs())?;
    let mut queue: VecDeque<Group> = groups.into_iter().collect();
    let mut busy: Vec<Group> = Vec::new();
    let mut later: VecDeque<(Instant, Group)> = VecDeque::new();
    let mut waiting = BTreeSet::new();
    let mut looked = Instant::now();
    let mut paused_until = Instant::now();
    loop {
        let paused = Instant::now() < paused_until;
        // Before signals: whoever has nothing left to do need not come back for it.
        if busy.is_empty() && queue.is_empty() && later.is_empty() && !paused {
            return Ok(true);
        }
        if stop.get().is_some() {
            break;
        }
        while later.front().is_some_and(|(when, _)| *when <= Instant::now()) {
            queue.extend(later.pop_front().map(|(_, group)| group));
        }
        while !paused
            && busy.len() < at_once
            && let Some(group) = queue.pop_front()
        {
            crew.give(group.clone())?;
            // One that another process is at is tried again and again.
            group.iter().filter(|piece| !waiting.contains(*piece)).for_each(|piece| watcher.started(*piece));
            busy.push(group);
        }
        if let Some((group, code)) = crew.hear()? {
            busy.retain(|other| *other != group);
            if code == Some(STOPPED) {
                paused_until = Instant::now() + crew.pause_after_a_stop();
            }
            let mut again = Group::new();
            for piece in group {
                let done = work.is_done(stage, piece)?;
                if code == Some(BUSY) && !done {
                    again.push(piece);
                    if waiting.insert(piece) {
                        watcher.waiting(piece);
                    }
                } else {
                    watcher.ended(piece, done);
                }
            }
            if !again.is_empty() {
                later.push_back((Instant::now() + BUSY_PAUSE, again));
            }
        }
        if looked.elapsed() >= Duration::from_millis(500) {
            looked = Instant::now();
            for &piece in busy.iter().flatten() {
                if let Some(beat) = work.heartbeat(stage, piece) {
                    watcher.heartbeat(piece, &beat);
                }
            }
        }
    }
    crew.stop();
    while !busy.is_empty() {
        if let Some((group, _)) = crew.hear()? {
            busy.retain(|other| *other != group);
            for piece in group {
                watcher.ended(piece, work.is_done(stage, piece)?);
            }
        }
    }
    Ok(false)
}

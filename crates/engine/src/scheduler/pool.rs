//! Runs a round: groups of units, several at a time, until each has been tried once. A [`WorkerPool`] provides the workers:
//! processes on this machine or steps of a SLURM job.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::JobSource;
use crate::fault::exit::{BUSY, STOPPED};
use crate::signal::StopSignal;
use pbtnas_core::durable_fs::ensure_dir;
use pbtnas_core::run::Heartbeat;
use pbtnas_core::search::MemberId;

/// The polling interval for signals and ended groups.
pub const LOOK: Duration = Duration::from_millis(100);
/// The delay before a unit that another process holds is retried.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Receives the events of a round.
pub trait Watcher {
    /// A member's process has been started.
    fn started(&mut self, member: MemberId);
    /// A member in training has a heartbeat; called about twice a second.
    fn heartbeat(&mut self, member: MemberId, heartbeat: &Heartbeat);
    /// Another process trains a member, and this pool waits for it; called once per member.
    fn waiting(&mut self, _member: MemberId) {}
    /// A member's process has ended; `done` is whether the member has a result.
    fn ended(&mut self, member: MemberId, done: bool);
}

/// Units of a round that run in one process, or side by side on the same CPUs.
pub type Group = Vec<MemberId>;

/// The workers of a round.
pub trait WorkerPool {
    /// Starts a group on a worker.
    fn give(&mut self, group: Group) -> Result<()>;

    /// Waits up to [`LOOK`] for a group to end; returns it with its exit code, if it has one.
    fn hear(&mut self) -> Result<Option<(Group, Option<u8>)>>;

    /// Asks all workers to stop.
    fn stop(&mut self);

    /// How long no group is started after one was stopped by a signal that this process has not received: the signal
    /// may be about to arrive.
    fn pause_after_a_stop(&self) -> Duration;
}

/// Runs the groups of a round, `at_once` at a time, until each has been tried once. False after a signal.
pub fn run_round(
    (work, stage): (&dyn JobSource, u32),
    groups: impl IntoIterator<Item = Group>,
    at_once: usize,
    stop: &StopSignal,
    watcher: &mut dyn Watcher,
    crew: &mut dyn WorkerPool,
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
        // Checked before signals: a process without remaining work need not be requeued.
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
            // A unit that another process holds is retried, and was reported at its first try.
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

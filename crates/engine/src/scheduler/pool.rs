//! Runs a round: groups of units, several at a time, until each has been tried once. A [`WorkerPool`] provides the
//! workers: processes on this machine or steps of a SLURM job.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::JobSource;
use crate::fault::exit::{BUSY, STOPPED};
use crate::signal::StopSignal;
use pbtnas_core::durable_fs::ensure_dir;
use pbtnas_core::run::Heartbeat;
use pbtnas_core::search::MemberId;

/// The polling interval for signals and ended groups.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The delay before a unit that another process runs is retried.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// A round and what its workers need.
#[derive(Clone, Copy)]
pub struct Round<'a> {
    pub source: &'a dyn JobSource,
    /// Generation of a search, or round of a soup.
    pub number: u32,
    /// The units to run.
    pub units: &'a [MemberId],
    /// Path of this program.
    pub program: &'a Path,
    pub stop: &'a StopSignal,
}

/// Receives the events of a round.
pub trait Watcher {
    /// A round begins.
    fn round_started(&mut self, _round: &Round) -> Result<()> {
        Ok(())
    }
    /// All units of the round have been tried, or a signal has stopped them.
    fn round_ended(&mut self) -> Result<()> {
        Ok(())
    }
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
    fn submit(&mut self, group: Group) -> Result<()>;

    /// Waits up to [`POLL_INTERVAL`] for a group to end; returns it with its exit code, if it has one.
    fn poll(&mut self) -> Result<Option<(Group, Option<u8>)>>;

    /// Asks all workers to stop.
    fn stop(&mut self);

    /// Delay before the next group is started after a group was stopped by a signal that this process has not received:
    /// SLURM signals all processes of a job, but not at the same instant.
    fn stop_cooldown(&self) -> Duration;
}

/// Runs the groups of a round, `at_once` at a time, until each has been tried once. False after a signal.
pub fn run_round(
    round: &Round,
    groups: impl IntoIterator<Item = Group>,
    at_once: usize,
    watcher: &mut dyn Watcher,
    pool: &mut dyn WorkerPool,
) -> Result<bool> {
    let Round { source, number, stop, .. } = *round;
    ensure_dir(&source.run().layout.logs())?;
    let mut queue: VecDeque<Group> = groups.into_iter().collect();
    let mut busy: Vec<Group> = Vec::new();
    let mut later: VecDeque<(Instant, Group)> = VecDeque::new();
    let mut waiting = BTreeSet::new();
    let mut last_heartbeats = Instant::now();
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
            pool.submit(group.clone())?;
            // A unit that another process runs is retried; it was reported at its first try.
            group.iter().filter(|unit| !waiting.contains(*unit)).for_each(|unit| watcher.started(*unit));
            busy.push(group);
        }
        if let Some((group, code)) = pool.poll()? {
            busy.retain(|other| *other != group);
            if code == Some(STOPPED) {
                paused_until = Instant::now() + pool.stop_cooldown();
            }
            let mut again = Group::new();
            for unit in group {
                let done = source.is_done(number, unit)?;
                if code == Some(BUSY) && !done {
                    again.push(unit);
                    if waiting.insert(unit) {
                        watcher.waiting(unit);
                    }
                } else {
                    watcher.ended(unit, done);
                }
            }
            if !again.is_empty() {
                later.push_back((Instant::now() + BUSY_PAUSE, again));
            }
        }
        if last_heartbeats.elapsed() >= Duration::from_millis(500) {
            last_heartbeats = Instant::now();
            for &unit in busy.iter().flatten() {
                if let Some(beat) = source.heartbeat(number, unit) {
                    watcher.heartbeat(unit, &beat);
                }
            }
        }
    }
    pool.stop();
    while !busy.is_empty() {
        if let Some((group, _)) = pool.poll()? {
            busy.retain(|other| *other != group);
            for unit in group {
                watcher.ended(unit, source.is_done(number, unit)?);
            }
        }
    }
    Ok(false)
}

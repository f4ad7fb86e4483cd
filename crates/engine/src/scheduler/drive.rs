//! Runs a search or a soup to its end from one process: decide, train, repeat. The workers are processes on this
//! machine, or the nodes of the SLURM job that this process runs in.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::JobSource;
use super::local::{self, log_of};
use super::pool::{Round, Watcher};
use super::slurm::Allocation;
use crate::advance::NextAction;
use crate::backoff::{Backoff, sleep};
use crate::config::Config;
use crate::fault::fault_of;
use crate::signal::StopSignal;
use pbtnas_core::fault::{Fault, message};
use pbtnas_core::run::read_attempts;
use pbtnas_core::search::MemberId;

/// Where the units of a round run.
pub enum Workers {
    /// As processes on this machine, at most this many at a time.
    Here(usize),
    /// On the nodes of the current SLURM job.
    Job(Box<Allocation>),
}

impl Workers {
    /// The current SLURM job, unless `here` is set; otherwise this machine. `at_once` overrides the number of
    /// concurrent units, which is `local.workers` or one per core here, and as many as fit in a job.
    pub fn find(config: &Config, here: bool, at_once: Option<u32>) -> Result<Self> {
        let at_once = at_once.map(|workers| workers as usize);
        let job = if here { None } else { Allocation::find(config, at_once)? };
        Ok(match job {
            Some(job) => Self::Job(Box::new(job)),
            None => {
                let cores = || std::thread::available_parallelism().map_or(1, usize::from);
                Self::Here(at_once.or(config.local.workers).unwrap_or_else(cores))
            }
        })
    }

    /// Units that run at a time if a job step has `units_per_step`.
    fn capacity(&self, units_per_step: u32) -> usize {
        match self {
            Self::Here(workers) => *workers,
            Self::Job(job) => job.capacity(units_per_step),
        }
    }

    fn run_round(&self, round: &Round, watcher: &mut dyn Watcher) -> Result<bool> {
        match self {
            Self::Here(workers) => local::run_round(round, *workers, watcher),
            Self::Job(job) => job.run_round(round, watcher),
        }
    }

    /// Arranges for the work to resume after a signal, where possible; returns a description.
    pub fn after(&self, stop: &StopSignal, command: &str) -> String {
        let by_hand = format!("`{command}` resumes from here");
        match self {
            Self::Here(_) => by_hand,
            Self::Job(job) => job.after(stop.get(), &by_hand),
        }
    }
}

/// Runs the rounds of `source` until it is finished. False after a signal.
///
/// Fails if a unit cannot start, and, on this machine, if the filesystem fails. A SLURM job waited for its nodes and is
/// not started again after a failure, so there the filesystem is waited for.
pub fn drive(
    source: &dyn JobSource,
    program: &Path,
    workers: &Workers,
    stop: &StopSignal,
    watcher: &mut dyn Watcher,
) -> Result<bool> {
    let mut driver = Driver { source, program, workers, stop, tries: BTreeMap::new() };
    let mut backoff = Backoff::default();
    loop {
        match driver.round(watcher) {
            Ok(Some(whole)) => return Ok(whole),
            Ok(None) => backoff = Backoff::default(),
            Err(error) if matches!(workers, Workers::Job(_)) && fault_of(&error) == Fault::Io => {
                let delay = backoff.next_delay();
                tracing::warn!("{}; retrying in {} s", message(&error), delay.as_secs());
                driver.tries.clear();
                if !sleep(delay, stop) {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

struct Driver<'a> {
    source: &'a dyn JobSource,
    program: &'a Path,
    workers: &'a Workers,
    stop: &'a StopSignal,
    /// How often each unit of the current round was tried.
    tries: BTreeMap<(u32, MemberId), usize>,
}

impl Driver<'_> {
    /// Runs a round; whether the source is finished, or none if another round may follow.
    fn round(&mut self, watcher: &mut dyn Watcher) -> Result<Option<bool>> {
        let (number, mut units) = match self.source.advance(true)? {
            NextAction::Finished { .. } => return Ok(Some(true)),
            NextAction::Train { generation, members } => (generation, members),
        };
        if self.source.may_end_early() {
            units.truncate(self.workers.capacity(self.source.units_per_task()));
        }
        self.tries.retain(|(round, _), _| *round == number);
        for unit in &units {
            *self.tries.entry((number, *unit)).or_default() += 1;
        }
        let round =
            Round { source: self.source, number, units: &units, program: self.program, stop: self.stop };
        watcher.round_started(&round)?;
        let whole = self.workers.run_round(&round, watcher)?;
        watcher.round_ended()?;
        if !whole {
            return Ok(Some(false));
        }
        for (&(_, unit), &tries) in &self.tries {
            if !self.source.is_done(number, unit)? {
                check_begun(self.source, number, unit, tries)?;
            }
        }
        Ok(None)
    }
}

/// Fails if a unit's process keeps exiting before it begins an attempt, or keeps failing because of the storage: the
/// cause is not the unit, so retrying would never end.
fn check_begun(source: &dyn JobSource, round: u32, unit: MemberId, tries: usize) -> Result<()> {
    let attempts = read_attempts(&source.attempts(round, unit))?;
    let useful = attempts.iter().filter(|attempt| !attempt.storage_failed()).count();
    if tries < useful + source.run().config.training.max_attempts as usize {
        return Ok(());
    }
    let cannot = format!("{} cannot start", source.name(round, unit));
    match attempts.last().filter(|last| last.storage_failed()) {
        Some(last) => Err(std::io::Error::other(last.reason())).context(cannot),
        None => {
            let log = log_of(source, round, unit);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("{cannot}; last lines of {}:\n{last}", log.display())
        }
    }
}

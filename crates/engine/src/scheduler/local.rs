//! Local scheduler: worker processes, each of which runs one unit after another.
//!
//! Workers are separate processes, as on a cluster: the same code runs in both cases, and a crash of a member ends only
//! its worker, which is replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal as Unix, kill};
use nix::unistd::Pid;

use super::JobSource;
use super::pool::{self, Group, POLL_INTERVAL, Round, Watcher, WorkerPool};
use crate::fault::exit::STOPPED;
use crate::fault::exit_code;
use crate::signal::StopSignal;
use pbtnas_core::durable_fs::failpoint;
use pbtnas_core::fault::message;
use pbtnas_core::search::MemberId;

/// The environment variable that a pool sets for a member's process: the pool's process id, or another word if the pool
/// may be on another machine. Such a process does not requeue its job, because the pool continues its member.
pub const PARENT: &str = "PBTNAS_PARENT";

/// Runs the units of a round, `workers` at a time, until each has been tried once. False after a signal.
///
/// The workers' output goes to `logs/` of the run.
pub fn run_round(round: &Round, workers: usize, watcher: &mut dyn Watcher) -> Result<bool> {
    let (sender, replies) = channel();
    let mut pool = LocalPool { round: *round, workers: BTreeMap::new(), started: 0, sender, replies };
    let groups = round.units.iter().map(|unit| vec![*unit]);
    pool::run_round(round, groups, workers, watcher, &mut pool)
}

/// A worker process; see [`serve`].
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    unit: Option<MemberId>,
}

/// A message of a worker: the exit code of a unit, or none when the worker has exited.
type WorkerReply = (usize, Option<u8>);

struct LocalPool<'a> {
    round: Round<'a>,
    workers: BTreeMap<usize, Worker>,
    started: usize,
    sender: Sender<WorkerReply>,
    replies: Receiver<WorkerReply>,
}

impl LocalPool<'_> {
    /// Assigns a unit to an idle worker or to a new one.
    fn submit_one(&mut self, unit: MemberId) -> Result<()> {
        let idle = self.workers.iter().find(|(_, worker)| worker.unit.is_none()).map(|(&id, _)| id);
        let id = match idle {
            Some(id) => id,
            None => self.spawn(unit)?,
        };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.unit = Some(unit);
            // If the worker has exited, its reader thread reports it.
            if let Some(input) = &mut worker.input {
                let _ = writeln!(input, "{}", unit.0);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, first: MemberId) -> Result<usize> {
        let log = open_log(&log_of(self.round.source, self.round.number, first))?;
        let mut command = Command::new(self.round.program);
        for name in failpoint::VARIABLES {
            command.env_remove(name);
        }
        let mut child = command
            .args(self.round.source.unit_arguments(self.round.number))
            .arg("--serve")
            .arg("--state")
            .arg(self.round.source.run().layout.root())
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", self.round.program.display()))?;
        self.started += 1;
        let (id, sender) = (self.started, self.sender.clone());
        let (input, output) = (child.stdin.take(), child.stdout.take());
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Some(code) = line.ok().and_then(|line| line.trim().parse().ok()) else { break };
                let _ = sender.send((id, Some(code)));
            }
            let _ = sender.send((id, None));
        });
        self.workers.insert(id, Worker { child, input, unit: None });
        Ok(id)
    }
}

impl WorkerPool for LocalPool<'_> {
    fn submit(&mut self, group: Group) -> Result<()> {
        group.into_iter().try_for_each(|unit| self.submit_one(unit))
    }

    fn poll(&mut self) -> Result<Option<(Group, Option<u8>)>> {
        let (id, code) = match self.replies.recv_timeout(POLL_INTERVAL) {
            Ok(reply) => reply,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        let unit = self.workers.get_mut(&id).and_then(|worker| worker.unit.take());
        if code.is_none()
            && let Some(mut worker) = self.workers.remove(&id)
        {
            drop(worker.input);
            worker.child.wait().context("failed to wait for a worker")?;
        }
        Ok(unit.map(|unit| (vec![unit], code)))
    }

    fn stop(&mut self) {
        for worker in self.workers.values_mut() {
            let _ = kill(Pid::from_raw(worker.child.id().cast_signed()), Unix::SIGTERM);
            worker.input = None;
        }
    }

    fn stop_cooldown(&self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for LocalPool<'_> {
    /// A worker exits at the end of its input.
    fn drop(&mut self) {
        for worker in self.workers.values_mut() {
            worker.input = None;
            let _ = worker.child.wait();
        }
    }
}

/// The worker's side of a pool: reads a unit number per line from stdin, runs the unit and prints its exit code. A
/// unit's stderr goes to its own log.
pub fn serve(
    work: &dyn JobSource,
    round: u32,
    stop: &StopSignal,
    mut act: impl FnMut(MemberId) -> Result<u8>,
) -> Result<u8> {
    for line in std::io::stdin().lines() {
        let line = line.context("failed to read a unit number")?;
        let unit = MemberId(line.trim().parse().with_context(|| format!("invalid unit number {line:?}"))?);
        let log = open_log(&log_of(work, round, unit))?;
        nix::unistd::dup2_stderr(&log).context("failed to redirect stderr to the log")?;
        let code = act(unit).unwrap_or_else(|error| {
            tracing::warn!("{}", message(&error));
            exit_code(&error)
        });
        let mut out = std::io::stdout();
        writeln!(out, "{code}").and_then(|()| out.flush()).context("failed to report the exit code")?;
        if stop.get().is_some() {
            return Ok(STOPPED);
        }
    }
    Ok(0)
}

/// The log of a unit.
pub(super) fn log_of(work: &dyn JobSource, round: u32, unit: MemberId) -> PathBuf {
    work.run().layout.logs().join(log_name(&work.label(round), unit))
}

/// The file name of a unit's log; `label` is [`JobSource::label`].
pub fn log_name(label: &str, unit: MemberId) -> String {
    format!("{label}-{unit}.log")
}

/// Opens a log for appending.
pub(super) fn open_log(path: &Path) -> Result<File> {
    let open = || File::options().create(true).append(true).open(path);
    open().with_context(|| format!("failed to open {}", path.display()))
}

/// If a pool on this machine started this process, makes it exit together with the pool.
pub fn follow_parent() -> Result<()> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    nix::sys::prctl::set_pdeathsig(Unix::SIGTERM).context("failed to set the parent death signal")?;
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        bail!("the parent process has exited");
    }
    Ok(())
}

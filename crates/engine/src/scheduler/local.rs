//! Local scheduler: worker processes, each of which runs one unit after another.
//!
//! Workers are separate processes, as on a cluster: the same code runs in both places, and a member that crashes takes
//! down only its worker, which is replaced.

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
use super::pool::{self, Group, LOOK, Watcher, WorkerPool};
use crate::fault::exit::STOPPED;
use crate::fault::exit_code;
use crate::signal::StopSignal;
use pbtnas_core::durable_fs::failpoint;
use pbtnas_core::fault::message;
use pbtnas_core::run::read_attempts;
use pbtnas_core::search::MemberId;

/// The environment variable that a pool sets for a member's process: the pool's process id, or a word where the pool
/// may be on another machine. Such a process does not requeue its job, because the pool continues its member.
pub const PARENT: &str = "PBTNAS_PARENT";

/// Runs units of a round (e.g. the members of a generation), `workers` at a time, until each has been tried once. False
/// after a signal.
///
/// The workers' output goes to `logs/` of the run.
pub fn run_round(
    work: &dyn JobSource,
    program: &Path,
    stage: u32,
    pieces: &[MemberId],
    workers: usize,
    stop: &StopSignal,
    watcher: &mut dyn Watcher,
) -> Result<bool> {
    let (news, heard) = channel();
    let mut pool = Pool { work, program, stage, workers: BTreeMap::new(), started: 0, news, heard };
    let groups = pieces.iter().map(|piece| vec![*piece]);
    pool::run_round((work, stage), groups, workers, stop, watcher, &mut pool)
}

/// A worker process; see [`serve`].
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    piece: Option<MemberId>,
}

/// A message of a worker: the exit code of a unit, or none when the worker has exited.
type News = (usize, Option<u8>);

struct Pool<'a> {
    work: &'a dyn JobSource,
    program: &'a Path,
    stage: u32,
    workers: BTreeMap<usize, Worker>,
    started: usize,
    news: Sender<News>,
    heard: Receiver<News>,
}

impl Pool<'_> {
    /// Assigns a unit to an idle worker or to a new one.
    fn give_one(&mut self, piece: MemberId) -> Result<()> {
        let idle = self.workers.iter().find(|(_, worker)| worker.piece.is_none()).map(|(&id, _)| id);
        let id = match idle {
            Some(id) => id,
            None => self.spawn(piece)?,
        };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.piece = Some(piece);
            // If the worker has exited, its reader thread reports it.
            if let Some(input) = &mut worker.input {
                let _ = writeln!(input, "{}", piece.0);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, first: MemberId) -> Result<usize> {
        let log = open_log(&log_of(self.work, self.stage, first))?;
        let mut command = Command::new(self.program);
        for name in failpoint::VARIABLES {
            command.env_remove(name);
        }
        let mut child = command
            .args(self.work.piece_arguments(self.stage))
            .arg("--serve")
            .arg("--state")
            .arg(self.work.run().layout.root())
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", self.program.display()))?;
        self.started += 1;
        let (id, news) = (self.started, self.news.clone());
        let (input, output) = (child.stdin.take(), child.stdout.take());
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Some(code) = line.ok().and_then(|line| line.trim().parse().ok()) else { break };
                let _ = news.send((id, Some(code)));
            }
            let _ = news.send((id, None));
        });
        self.workers.insert(id, Worker { child, input, piece: None });
        Ok(id)
    }
}

impl WorkerPool for Pool<'_> {
    fn give(&mut self, group: Group) -> Result<()> {
        group.into_iter().try_for_each(|piece| self.give_one(piece))
    }

    fn hear(&mut self) -> Result<Option<(Group, Option<u8>)>> {
        let (id, code) = match self.heard.recv_timeout(LOOK) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        let piece = self.workers.get_mut(&id).and_then(|worker| worker.piece.take());
        if code.is_none()
            && let Some(mut worker) = self.workers.remove(&id)
        {
            drop(worker.input);
            worker.child.wait().context("failed to wait for a worker")?;
        }
        Ok(piece.map(|piece| (vec![piece], code)))
    }

    fn stop(&mut self) {
        for worker in self.workers.values_mut() {
            let _ = kill(Pid::from_raw(worker.child.id().cast_signed()), Unix::SIGTERM);
            worker.input = None;
        }
    }

    fn pause_after_a_stop(&self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for Pool<'_> {
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
    stage: u32,
    stop: &StopSignal,
    mut act: impl FnMut(MemberId) -> Result<u8>,
) -> Result<u8> {
    for line in std::io::stdin().lines() {
        let line = line.context("failed to read a unit number")?;
        let piece = MemberId(line.trim().parse().with_context(|| format!("invalid unit number {line:?}"))?);
        let log = open_log(&log_of(work, stage, piece))?;
        nix::unistd::dup2_stderr(&log).context("failed to redirect stderr to the log")?;
        let code = act(piece).unwrap_or_else(|error| {
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
pub(super) fn log_of(work: &dyn JobSource, stage: u32, piece: MemberId) -> PathBuf {
    work.run().layout.logs().join(log_name(&work.label(stage), piece))
}

/// The file name of a unit's log; `label` is [`JobSource::label`].
pub fn log_name(label: &str, piece: MemberId) -> String {
    format!("{label}-{piece}.log")
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

/// Fails if a unit's process keeps exiting before it begins an attempt, or keeps failing because of the storage: the
/// cause is not the member, so retrying would never end.
pub fn check_begun(work: &dyn JobSource, generation: u32, tries: &BTreeMap<MemberId, usize>) -> Result<()> {
    for (&member, &tries) in tries {
        let attempts = read_attempts(&work.attempts(generation, member))?;
        let of_use = attempts.iter().filter(|attempt| !attempt.storage_failed()).count();
        if tries >= of_use + work.run().config.training.max_attempts as usize {
            let number = format!("{} cannot start", work.name(generation, member));
            match attempts.last().filter(|last| last.storage_failed()) {
                Some(last) => return Err(std::io::Error::other(last.reason())).context(number),
                None => {
                    let log = log_of(work, generation, member);
                    let text = std::fs::read_to_string(&log).unwrap_or_default();
                    let lines: Vec<&str> = text.lines().rev().take(5).collect();
                    let last: Vec<&str> = lines.into_iter().rev().collect();
                    bail!("{number}; last lines of {}:\n{}", log.display(), last.join("\n"))
                }
            }
        }
    }
    Ok(())
}

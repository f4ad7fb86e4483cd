//! Training on this machine: several processes, each of which works off one piece after another.
//!
//! Processes of their own, as on a cluster: the same code runs in both places, and a member that crashes takes
//! nothing with it but the process it ran in, which is replaced.

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

use super::Work;
use super::pool::{self, Crew, Group, LOOK, Watcher};
use crate::error::{STOPPED, exit_code, message};
use crate::failpoint;
use crate::search::MemberId;
use crate::signal::StopSignal;
use crate::state::read_attempts;

/// The variable that tells a member's process that a pool started it: the number of the pool's process, or a word where
/// that is on another machine. Such a process has a pool that goes on with its member, so it puts no job into the queue.
pub const PARENT: &str = "PBTNAS_PARENT";
/// Works off pieces of a stage (members of a generation, say), `workers` at a time, until each was tried once.
/// False if a signal came.
///
/// What the processes print goes to `logs/` of the run.
pub fn work_off(
    work: &dyn Work,
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
    pool::work_off((work, stage), groups, workers, stop, watcher, &mut pool)
}

/// A process that works off pieces; see [`serve`].
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    piece: Option<MemberId>,
}

/// What a worker's process says: an exit code for a piece; none when it is gone.
type News = (usize, Option<u8>);

struct Pool<'a> {
    work: &'a dyn Work,
    program: &'a Path,
    stage: u32,
    workers: BTreeMap<usize, Worker>,
    started: usize,
    news: Sender<News>,
    heard: Receiver<News>,
}

impl Pool<'_> {
    /// Lets an idle process, or a new one, work on a piece.
    fn give_one(&mut self, piece: MemberId) -> Result<()> {
        let idle = self.workers.iter().find(|(_, worker)| worker.piece.is_none()).map(|(&id, _)| id);
        let id = match idle {
            Some(id) => id,
            None => self.spawn(piece)?,
        };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.piece = Some(piece);
            // If it is gone, that is heard soon.
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

impl Crew for Pool<'_> {
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
            worker.child.wait().context("failed to wait for a process")?;
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
    /// The end of its input tells a process to leave.
    fn drop(&mut self) {
        for worker in self.workers.values_mut() {
            worker.input = None;
            let _ = worker.child.wait();
        }
    }
}

/// The other side of a pool: reads the numbers of pieces, a line each, works on them, and answers with an exit
/// code. What a piece prints goes to its own log.
pub fn serve(
    work: &dyn Work,
    stage: u32,
    stop: &StopSignal,
    mut act: impl FnMut(MemberId) -> Result<u8>,
) -> Result<u8> {
    for line in std::io::stdin().lines() {
        let line = line.context("failed to read a number")?;
        let piece = MemberId(line.trim().parse().with_context(|| format!("{line:?} is no number"))?);
        let log = open_log(&log_of(work, stage, piece))?;
        nix::unistd::dup2_stderr(&log).context("failed to write to a log")?;
        let code = act(piece).unwrap_or_else(|error| {
            eprintln!("pbtnas: {}", message(&error));
            exit_code(&error)
        });
        let mut out = std::io::stdout();
        writeln!(out, "{code}").and_then(|()| out.flush()).context("failed to answer")?;
        if stop.get().is_some() {
            return Ok(STOPPED);
        }
    }
    Ok(0)
}

/// What the process of a piece prints.
pub(super) fn log_of(work: &dyn Work, stage: u32, piece: MemberId) -> PathBuf {
    work.run().layout.logs().join(log_name(&work.label(stage), piece))
}

/// The name of a piece's log; `label` as in [`Work::label`].
pub fn log_name(label: &str, piece: MemberId) -> String {
    format!("{label}-{piece}.log")
}

/// A file that grows by what is written to it.
pub(super) fn open_log(path: &Path) -> Result<File> {
    let open = || File::options().create(true).append(true).open(path);
    open().with_context(|| format!("failed to open {}", path.display()))
}

/// Ends this process with the one that started it, if that was a pool on this machine.
pub fn follow_parent() -> Result<()> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    nix::sys::prctl::set_pdeathsig(Unix::SIGTERM).context("failed to follow the parent process")?;
    if nix::unistd::getppid() != Pid::from_raw(parent) {
        bail!("the process that started this one is gone");
    }
    Ok(())
}

/// Refuses to go on when a piece's process keeps ending before it begins an attempt, or the filesystem keeps
/// hindering it: the reason lies outside of the member, and trying again would never end.
pub fn check_begun(work: &dyn Work, generation: u32, tries: &BTreeMap<MemberId, usize>) -> Result<()> {
    for (&member, &tries) in tries {
        let attempts = read_attempts(&work.attempts(generation, member))?;
        let of_use = attempts.iter().filter(|attempt| !attempt.hindered()).count();
        if tries >= of_use + work.run().config.training.max_attempts as usize {
            let number = format!("{} cannot begin", work.name(generation, member));
            match attempts.last().filter(|last| last.hindered()) {
                Some(last) => return Err(std::io::Error::other(last.reason())).context(number),
                None => {
                    let log = log_of(work, generation, member);
                    let text = std::fs::read_to_string(&log).unwrap_or_default();
                    let lines: Vec<&str> = text.lines().rev().take(5).collect();
                    let last: Vec<&str> = lines.into_iter().rev().collect();
                    bail!("{number}; the end of {}:\n{}", log.display(), last.join("\n"))
                }
            }
        }
    }
    Ok(())
}

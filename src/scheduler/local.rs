//! Training on this machine: one process for each member, several at a time.
//!
//! A process of its own for each member, as on a cluster: the same code runs in both places, and one member's
//! crash is not the others'.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal as Unix, kill};
use nix::unistd::Pid;

use super::Work;
use crate::error::BUSY;
use crate::search::MemberId;
use crate::signal::StopSignal;
use crate::state::{Heartbeat, ensure_dir, read_attempts};

/// The variable that tells a member's process who started it.
pub const PARENT: &str = "PBTNAS_PARENT";
const POLL: Duration = Duration::from_millis(50);

/// What a pool tells while it works.
pub trait Watcher {
    /// A member's process was started.
    fn started(&mut self, member: MemberId);
    /// News of a member that trains.
    fn heartbeat(&mut self, member: MemberId, heartbeat: &Heartbeat);
    /// A member's process ended; `done` tells whether its result is there.
    fn ended(&mut self, member: MemberId, done: bool);
}

/// Works off pieces of a stage (members of a generation, say), `workers` at a time, until each was tried once.
/// False if a signal came.
///
/// What the processes print goes to `logs/` of the run.
pub fn work_off(
    work: &dyn Work,
    program: &Path,
    generation: u32,
    members: &[MemberId],
    workers: usize,
    stop: &StopSignal,
    watcher: &mut dyn Watcher,
) -> Result<bool> {
    ensure_dir(&work.run().layout.logs())?;
    let mut queue: std::collections::VecDeque<MemberId> = members.iter().copied().collect();
    let mut running: BTreeMap<MemberId, Child> = BTreeMap::new();
    let mut told = false;
    let mut looked = Instant::now();
    loop {
        while stop.get().is_none()
            && running.len() < workers
            && let Some(member) = queue.pop_front()
        {
            running.insert(member, spawn(work, program, generation, member)?);
            watcher.started(member);
        }
        if running.is_empty() {
            return Ok(stop.get().is_none());
        }
        if stop.get().is_some() && !told {
            told = true;
            for child in running.values() {
                let _ = kill(Pid::from_raw(child.id().cast_signed()), Unix::SIGTERM);
            }
        }
        let mut over = Vec::new();
        for (member, child) in &mut running {
            if let Some(status) = child.try_wait().context("failed to wait for a member's process")? {
                over.push((*member, status.code()));
            }
        }
        for (member, code) in over {
            running.remove(&member);
            if code == Some(i32::from(BUSY)) && stop.get().is_none() {
                // Another process is at it: look again later, without spinning.
                std::thread::sleep(Duration::from_secs(1));
                queue.push_back(member);
            }
            watcher.ended(member, work.is_done(generation, member)?);
        }
        if looked.elapsed() >= Duration::from_millis(500) {
            looked = Instant::now();
            for member in running.keys() {
                if let Some(beat) = work.heartbeat(generation, *member) {
                    watcher.heartbeat(*member, &beat);
                }
            }
        }
        std::thread::sleep(POLL);
    }
}

/// What the process of a piece prints.
fn log_of(work: &dyn Work, stage: u32, piece: MemberId) -> PathBuf {
    work.run().layout.logs().join(format!("{}-{piece}.log", work.label(stage)))
}

fn spawn(work: &dyn Work, program: &Path, generation: u32, member: MemberId) -> Result<Child> {
    let path = log_of(work, generation, member);
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    let errors = log.try_clone().with_context(|| format!("failed to open {}", path.display()))?;
    Command::new(program)
        .args(work.piece_arguments(generation))
        .arg(member.0.to_string())
        .arg("--state")
        .arg(work.run().layout.root())
        .env(PARENT, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))
}

/// Ends this process with the one that started it, if that was a pool.
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

/// Refuses to go on when a member's process keeps ending before it begins an attempt: the reason lies outside
/// of the member, and trying again would never end.
pub fn check_begun(work: &dyn Work, generation: u32, tries: &BTreeMap<MemberId, usize>) -> Result<()> {
    for (&member, &tries) in tries {
        let begun = read_attempts(&work.attempts(generation, member))?.len();
        if tries >= begun + work.run().config.training.max_attempts as usize {
            let log = log_of(work, generation, member);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(5).collect();
            let last: Vec<&str> = lines.into_iter().rev().collect();
            bail!(
                "number {member} of {} cannot begin; the end of {}:\n{}",
                work.label(generation),
                log.display(),
                last.join("\n")
            );
        }
    }
    Ok(())
}

//! Members as job steps of one job: one `srun` process per group, which starts the group on a node with free resources.
//!
//! How srun handles signals (tested with SLURM 22.05): SIGTERM kills its step at once. SIGUSR1 is forwarded to all
//! processes of the step, or ends an srun that waits for resources. srun has a second process that ends the step if the
//! first one is killed; if both are killed, the step keeps running.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal as Unix, kill};
use nix::unistd::Pid;

use super::commands::srun;
use super::room::Capacity;
use crate::backoff::Backoff;
use crate::scheduler::local::{PARENT, log_of, open_log};
use crate::scheduler::pool::{Group, POLL_INTERVAL, Round, WorkerPool};
use crate::scheduler::slurm::parse;
use crate::scheduler::slurm::script::ScriptContext;
use pbtnas_core::search::MemberId;

/// Delay before the next step is started after a step was stopped by a signal that this process has not received: SLURM
/// signals all processes of a job, but not at the same instant.
const PAUSE: Duration = Duration::from_secs(5);
/// The interval between signals to a step that has not exited.
const AGAIN: Duration = Duration::from_secs(1);
/// The time in addition to the members' grace period before a step is killed.
const EXTRA_GRACE: Duration = Duration::from_secs(10);
/// How many bytes of the end of a log are searched for errors of srun.
const END: u64 = 4096;

/// A job and the resources of each of its job steps.
#[derive(Debug, Clone)]
pub struct StepPlacement<'a> {
    pub job: &'a str,
    pub room: &'a Capacity,
    /// The generic resources of a step.
    pub gres: Option<&'a str>,
}

/// The arguments of srun for a job step.
pub fn arguments(place: &StepPlacement, name: &str, state: &Path, script: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--quiet", "--exact", "--nodes=1", "--ntasks=1"].map(str::to_owned).into();
    arguments.extend([
        format!("--cpus-per-task={}", place.room.cpus),
        // A step without --gres takes all of its node's resources, and the next one has to wait.
        format!("--gres={}", place.gres.unwrap_or("none")),
        // Members do not use MPI; without this, srun sets it up on clusters where it is the default.
        "--mpi=none".to_owned(),
        format!("--job-name={name}"),
        format!("--chdir={}", state.to_string_lossy()),
    ]);
    arguments.extend(place.room.memory.map(|memory| format!("--mem={memory}M")));
    arguments.extend(["bash", "-c", script].map(str::to_owned));
    arguments
}

/// The job steps that run the groups of a round.
pub struct Steps<'a> {
    place: StepPlacement<'a>,
    round: Round<'a>,
    context: ScriptContext<'a>,
    running: Vec<RunningStep>,
    delayed: Vec<Delayed>,
    leaving: Option<Leaving>,
}

struct RunningStep {
    group: Group,
    child: Child,
    log: PathBuf,
    /// The length of the log at the start of the step.
    logged: u64,
    /// The delays before retries if the SLURM controller does not answer.
    backoff: Backoff,
}

/// A group whose step is retried because the SLURM controller did not answer.
struct Delayed {
    group: Group,
    until: Instant,
    backoff: Backoff,
}

struct Leaving {
    since: Instant,
    signalled: Instant,
}

impl<'a> Steps<'a> {
    pub fn new(place: StepPlacement<'a>, round: Round<'a>) -> Self {
        let context = ScriptContext::new(round.source, round.program, round.number);
        Self { place, round, context, running: Vec::new(), delayed: Vec::new(), leaving: None }
    }

    fn start(&mut self, group: Group, backoff: Backoff) -> Result<()> {
        let (Some(&first), Some(&last)) = (group.iter().min(), group.iter().max()) else { return Ok(()) };
        let log = log_of(self.round.source, self.round.number, first);
        let file = open_log(&log)?;
        let logged = file.metadata().map_or(0, |metadata| metadata.len());
        let errors = file.try_clone().with_context(|| format!("failed to open {}", log.display()))?;
        let name = format!("pbtnas-{}-{}-{first}", self.round.source.run().record.run_id, self.context.label);
        let script = self.context.group_script(first, last);
        let state = self.round.source.run().layout.root();
        let child = srun(self.place.job, &arguments(&self.place, &name, state, &script))
            .env(PARENT, "srun")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // Ctrl-C in the terminal must reach this process only, which then stops the steps.
            .process_group(0)
            .spawn()
            .context("failed to start srun (use --here to train on this machine without it)")?;
        self.running.push(RunningStep { group, child, log, logged, backoff });
        Ok(())
    }

    /// Retries the groups whose delay is over.
    fn start_delayed(&mut self) -> Result<()> {
        let now = Instant::now();
        let (due, delayed) = std::mem::take(&mut self.delayed).into_iter().partition(|one| one.until <= now);
        self.delayed = delayed;
        let due: Vec<Delayed> = due;
        due.into_iter().try_for_each(|one| self.start(one.group, one.backoff))
    }

    /// Takes a step that has ended, with its exit code.
    fn ended(&mut self) -> Result<Option<(RunningStep, Option<u8>)>> {
        for (at, step) in self.running.iter_mut().enumerate() {
            if let Some(status) = step.child.try_wait().context("failed to wait for srun")? {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Ok(Some((self.running.swap_remove(at), code)));
            }
        }
        Ok(None)
    }

    /// Signals the steps to stop. Repeats the signal, because a step that is just starting misses it, and finally kills
    /// the steps.
    fn urge(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        if leaving.signalled.elapsed() < AGAIN {
            return;
        }
        leaving.signalled = Instant::now();
        let allowed = self.round.source.run().config.grace() + EXTRA_GRACE;
        let signal = match leaving.since.elapsed() {
            late if late > allowed + EXTRA_GRACE => Unix::SIGKILL,
            late if late > allowed => Unix::SIGTERM,
            _ => Unix::SIGUSR1,
        };
        for step in &self.running {
            let _ = kill(Pid::from_raw(step.child.id().cast_signed()), signal);
        }
    }
}

impl WorkerPool for Steps<'_> {
    fn submit(&mut self, group: Group) -> Result<()> {
        self.start(group, Backoff::default())
    }

    fn poll(&mut self) -> Result<Option<(Group, Option<u8>)>> {
        if self.leaving.is_some() {
            self.urge();
            if let Some(delayed) = self.delayed.pop() {
                return Ok(Some((delayed.group, None)));
            }
        } else {
            self.start_delayed()?;
        }
        let Some((step, code)) = self.ended()? else {
            std::thread::sleep(POLL_INTERVAL);
            return Ok(None);
        };
        match complaint(&end_of(&step.log, step.logged)) {
            Some(complaint) if code != Some(0) && self.leaving.is_none() => {
                let mut backoff = step.backoff;
                let delay = backoff.next_delay();
                // Reported once for simultaneous failures.
                if self.delayed.is_empty() {
                    tracing::warn!("{complaint}; retrying in {} s", delay.as_secs());
                }
                self.delayed.push(Delayed { group: step.group, until: Instant::now() + delay, backoff });
                Ok(None)
            }
            _ => Ok(Some((step.group, code))),
        }
    }

    fn stop(&mut self) {
        let now = Instant::now();
        self.leaving = Some(Leaving { since: now, signalled: now.checked_sub(AGAIN).unwrap_or(now) });
        self.urge();
    }

    fn stop_cooldown(&self) -> Duration {
        PAUSE
    }
}

impl Drop for Steps<'_> {
    /// Steps must not outlive the process that continues their members.
    fn drop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        self.stop();
        while !self.running.is_empty() {
            self.urge();
            match self.ended() {
                Ok(Some(_)) => {}
                Ok(None) => std::thread::sleep(POLL_INTERVAL),
                Err(_) => return,
            }
        }
    }
}

/// The error line of srun if it could not start a step for a transient reason: srun gives up on a SLURM controller that
/// does not answer.
fn complaint(log: &str) -> Option<&str> {
    log.lines().rev().find(|line| line.starts_with("srun: error: Unable to ") && parse::is_transient(line))
}

/// The end of what was appended to a log after `from`.
fn end_of(log: &Path, from: u64) -> String {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(END))))?;
        file.take(END).read_to_end(&mut text)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

/// Divides the members of a round into groups of neighbours that share a step.
pub fn groups(units: &[MemberId], size: u32) -> Vec<Group> {
    let mut units = units.to_vec();
    units.sort_unstable();
    let size = size.max(1);
    units.chunk_by(|one, other| one.0 / size == other.0 / size).map(<[MemberId]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_requests_its_share_of_the_job() {
        let said = |memory, gres| {
            let room = Capacity { steps: 8, cpus: 2, memory };
            let place = StepPlacement { job: "12", room: &room, gres };
            arguments(&place, "pbtnas-x-g0001-03", Path::new("/a run"), "exec true\n")
        };
        let expected = [
            "--quiet",
            "--exact",
            "--nodes=1",
            "--ntasks=1",
            "--cpus-per-task=2",
            "--gres=none",
            "--mpi=none",
            "--job-name=pbtnas-x-g0001-03",
            "--chdir=/a run",
            "bash",
            "-c",
            "exec true\n",
        ];
        assert_eq!(said(None, None), expected);
        let asked = said(Some(1000), Some("gpu:a100:1"));
        assert!(asked.contains(&"--mem=1000M".to_owned()) && asked.contains(&"--gres=gpu:a100:1".to_owned()));
    }

    #[test]
    fn neighbours_share_a_step() {
        let ids = |ids: &[u32]| ids.iter().copied().map(MemberId).collect::<Vec<_>>();
        assert_eq!(groups(&ids(&[7, 0, 1, 9]), 4), [ids(&[0, 1]), ids(&[7]), ids(&[9])]);
        assert_eq!(groups(&ids(&[2, 1]), 1), [ids(&[1]), ids(&[2])]);
        assert!(groups(&[], 3).is_empty());
    }

    #[test]
    fn transient_errors_of_srun_are_recognised() {
        for line in [
            "srun: error: Unable to confirm allocation for job 7: Socket timed out on send/recv operation",
            "srun: error: Unable to confirm allocation for job 7: Unable to contact slurm controller (connect failure)",
        ] {
            assert_eq!(complaint(&format!("before\n{line}\nafter\n")), Some(line));
        }
        let others = "srun: error: n1: task 0: Killed\nsocket timed out\n\
                      srun: error: Unable to create step for job 7: More processors requested than permitted\n";
        assert_eq!(complaint(others), None);
    }

    #[test]
    fn only_appended_log_text_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "old\nnew\n").unwrap();
        assert_eq!(end_of(&log, 4), "new\n");
        assert_eq!(end_of(&log, 100), "");
        assert_eq!(end_of(&dir.path().join("none"), 0), "");
        std::fs::write(&log, "x".repeat(10_000)).unwrap();
        assert_eq!(end_of(&log, 0).len(), 4096);
    }
}

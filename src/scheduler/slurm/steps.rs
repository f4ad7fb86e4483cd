//! Members as steps of one job: a process `srun` for each group, which starts it on a node with room.
//!
//! What srun makes of signals was tried (SLURM 22.05): SIGTERM kills its step at once, SIGUSR1 is handed on to all
//! processes of the step, or ends an srun that waits for room. An srun has a second process that ends the step when the
//! first one is killed; when both are, the step goes on.

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
use super::room::Room;
use crate::scheduler::local::{PARENT, log_of, open_log};
use crate::scheduler::pool::{Crew, Group, LOOK};
use crate::scheduler::script::Context;
use crate::scheduler::{Work, parse};
use crate::search::MemberId;

/// How long nothing new is begun after a step heard a signal that this process has not heard: SLURM sends it to all.
const PAUSE: Duration = Duration::from_secs(5);
/// Time between two signals to a step that has not left.
const AGAIN: Duration = Duration::from_secs(1);
/// Time beyond the members' own for leaving, before a step is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest pause before a step is started again that the controller did not answer for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// As much of a log's end as is looked at.
const END: u64 = 4096;

/// A job, and what each of its steps gets.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The job.
    pub job: &'a str,
    /// What a step gets.
    pub room: &'a Room,
    /// The generic resources that a step asks for.
    pub gres: Option<&'a str>,
}

/// The arguments of srun for a step.
pub fn arguments(place: &Place, name: &str, state: &Path, script: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--quiet", "--exact", "--nodes=1", "--ntasks=1"].map(str::to_owned).into();
    arguments.extend([
        format!("--cpus-per-task={}", place.room.cpus),
        // A step that asks for none takes all of its node, and the next one waits for it.
        format!("--gres={}", place.gres.unwrap_or("none")),
        // A member is no process of MPI; without this, it looks like one on clusters where that is usual.
        "--mpi=none".to_owned(),
        format!("--job-name={name}"),
        format!("--chdir={}", state.to_string_lossy()),
    ]);
    arguments.extend(place.room.memory.map(|memory| format!("--mem={memory}M")));
    arguments.extend(["bash", "-c", script].map(str::to_owned));
    arguments
}

/// The steps that work on groups of a stage.
pub struct Steps<'a> {
    place: Place<'a>,
    work: &'a dyn Work,
    stage: u32,
    context: Context<'a>,
    running: Vec<Step>,
    delayed: Vec<Delayed>,
    leaving: Option<Leaving>,
}

struct Step {
    group: Group,
    child: Child,
    log: PathBuf,
    /// Length of the log when it was started.
    logged: u64,
    /// Pause before it is started again, should the controller not answer.
    pause: Duration,
}

/// A group whose step the controller did not answer for.
struct Delayed {
    group: Group,
    until: Instant,
    pause: Duration,
}

struct Leaving {
    since: Instant,
    told: Instant,
}

impl<'a> Steps<'a> {
    /// None yet.
    pub fn new(place: Place<'a>, work: &'a dyn Work, program: &'a Path, stage: u32) -> Self {
        let context = Context::new(work, program, stage);
        Self { place, work, stage, context, running: Vec::new(), delayed: Vec::new(), leaving: None }
    }

    fn start(&mut self, group: Group, pause: Duration) -> Result<()> {
        let (Some(&first), Some(&last)) = (group.iter().min(), group.iter().max()) else { return Ok(()) };
        let log = log_of(self.work, self.stage, first);
        let file = open_log(&log)?;
        let logged = file.metadata().map_or(0, |metadata| metadata.len());
        let errors = file.try_clone().with_context(|| format!("failed to open {}", log.display()))?;
        let name = format!("pbtnas-{}-{}-{first}", self.work.run().record.run_id, self.context.label);
        let script = self.context.group_script(first, last);
        let state = self.work.run().layout.root();
        let child = srun(self.place.job, &arguments(&self.place, &name, state, &script))
            .env(PARENT, "srun")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // A Ctrl-C in a terminal is for this process, which asks the steps to leave.
            .process_group(0)
            .spawn()
            .context("failed to start srun (--here trains on this machine without it)")?;
        self.running.push(Step { group, child, log, logged, pause });
        Ok(())
    }

    /// Starts those again whose pause is over.
    fn start_delayed(&mut self) -> Result<()> {
        let now = Instant::now();
        let (due, delayed) = std::mem::take(&mut self.delayed).into_iter().partition(|one| one.until <= now);
        self.delayed = delayed;
        let due: Vec<Delayed> = due;
        due.into_iter().try_for_each(|one| self.start(one.group, (one.pause * 2).min(LONGEST_PAUSE)))
    }

    /// A step that has ended: its group and exit code.
    fn ended(&mut self) -> Result<Option<(Step, Option<u8>)>> {
        for (at, step) in self.running.iter_mut().enumerate() {
            if let Some(status) = step.child.try_wait().context("failed to wait for srun")? {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Ok(Some((self.running.swap_remove(at), code)));
            }
        }
        Ok(None)
    }

    /// Asks the steps to leave, and again, since a signal is lost on a step that is just starting; in the end they are
    /// killed.
    fn urge(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        if leaving.told.elapsed() < AGAIN {
            return;
        }
        leaving.told = Instant::now();
        let allowed = self.work.run().config.grace() + PATIENCE;
        let signal = match leaving.since.elapsed() {
            late if late > allowed + PATIENCE => Unix::SIGKILL,
            late if late > allowed => Unix::SIGTERM,
            _ => Unix::SIGUSR1,
        };
        for step in &self.running {
            let _ = kill(Pid::from_raw(step.child.id().cast_signed()), signal);
        }
    }
}

impl Crew for Steps<'_> {
    fn give(&mut self, group: Group) -> Result<()> {
        self.start(group, Duration::from_secs(1))
    }

    fn hear(&mut self) -> Result<Option<(Group, Option<u8>)>> {
        if self.leaving.is_some() {
            self.urge();
            if let Some(delayed) = self.delayed.pop() {
                return Ok(Some((delayed.group, None)));
            }
        } else {
            self.start_delayed()?;
        }
        let Some((step, code)) = self.ended()? else {
            std::thread::sleep(LOOK);
            return Ok(None);
        };
        match complaint(&end_of(&step.log, step.logged)) {
            Some(complaint) if code != Some(0) && self.leaving.is_none() => {
                // Of many at once, one is enough.
                if self.delayed.is_empty() {
                    eprintln!("pbtnas: {complaint}; trying again in {} s", step.pause.as_secs());
                }
                let until = Instant::now() + step.pause;
                self.delayed.push(Delayed { group: step.group, until, pause: step.pause });
                Ok(None)
            }
            _ => Ok(Some((step.group, code))),
        }
    }

    fn stop(&mut self) {
        let now = Instant::now();
        self.leaving = Some(Leaving { since: now, told: now.checked_sub(AGAIN).unwrap_or(now) });
        self.urge();
    }

    fn pause_after_a_stop(&self) -> Duration {
        PAUSE
    }
}

impl Drop for Steps<'_> {
    /// Steps do not outlive the one that goes on with their members.
    fn drop(&mut self) {
        if self.running.is_empty() {
            return;
        }
        self.stop();
        while !self.running.is_empty() {
            self.urge();
            match self.ended() {
                Ok(Some(_)) => {}
                Ok(None) => std::thread::sleep(LOOK),
                Err(_) => return,
            }
        }
    }
}

/// What srun said why it could not start a step, if time mends that: it gives up on a controller that does not answer.
fn complaint(log: &str) -> Option<&str> {
    log.lines().rev().find(|line| line.starts_with("srun: error: Unable to ") && parse::is_transient(line))
}

/// What was added to a log, the last of it.
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

/// The members of a stage in groups of neighbours that share a step.
pub fn groups(pieces: &[MemberId], size: u32) -> Vec<Group> {
    let mut pieces = pieces.to_vec();
    pieces.sort_unstable();
    let size = size.max(1);
    pieces.chunk_by(|one, other| one.0 / size == other.0 / size).map(<[MemberId]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_asks_for_its_part_of_the_job_and_no_more() {
        let said = |memory, gres| {
            let room = Room { steps: 8, cpus: 2, memory };
            let place = Place { job: "12", room: &room, gres };
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
    fn a_controller_that_is_away_is_no_member_s_failure() {
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
    fn only_what_was_added_to_a_log_counts() {
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

//! Runs SLURM's commands as processes, and retries them while the controller is unavailable or a queue is full.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use crate::backoff::retry;
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::parse;
use pbtnas_core::durable_fs::failpoint;

/// Runs SLURM's commands with retries.
#[derive(Debug, Clone)]
pub struct Slurm {
    /// How long a command is retried; without limit if `None`.
    pub patience: Option<Duration>,
}

impl Slurm {
    /// Runs a command until it succeeds, the retry time is over, or it fails with an error that is not transient.
    pub fn call(&self, program: &str, arguments: &[&str]) -> Result<String, SchedulerError> {
        self.retry_with_backoff(|| command(program, arguments, None))
    }

    /// Submits a job under a unique name and returns its id.
    pub fn submit(&self, name: &str, arguments: &[String], script: &str) -> Result<String, SchedulerError> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut tried = false;
        self.retry_with_backoff(|| {
            // The controller may have accepted the job although its answer was lost.
            if std::mem::replace(&mut tried, true)
                && let Some(id) = find(name)?
            {
                return Ok(id);
            }
            let output = command("sbatch", &arguments, Some(script))?;
            parse::submitted(&output).ok_or(SchedulerError::Output { command: "sbatch".into(), output })
        })
    }

    fn retry_with_backoff<T>(
        &self,
        act: impl FnMut() -> Result<T, SchedulerError>,
    ) -> Result<T, SchedulerError> {
        let began = Instant::now();
        retry(act, |error, delay| {
            let again = error.is_transient() && self.has_time(began.elapsed() + delay);
            if again {
                tracing::warn!("{error}; retrying in {} s", delay.as_secs());
                std::thread::sleep(delay);
            }
            again
        })
    }

    fn has_time(&self, until: Duration) -> bool {
        self.patience.is_none_or(|patience| until <= patience)
    }
}

/// The id of the job in the queue that has this name.
fn find(name: &str) -> Result<Option<String>, SchedulerError> {
    let output = command("squeue", &["--noheader", "--format=%A", &format!("--name={name}")], None)?;
    Ok(output.lines().next().and_then(parse::submitted))
}

/// Runs a query once, without retries, and kills it after `patience`.
pub fn ask(program: &str, arguments: &[&str], patience: Duration) -> Result<String, SchedulerError> {
    let started = |source| SchedulerError::Start { command: program.into(), source };
    let mut child =
        prepared(program, arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(started)?;
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |from: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = from.map(|mut from| from.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let output = read(stdout.map(|pipe| Box::new(pipe) as _));
    let complaint = read(stderr.map(|pipe| Box::new(pipe) as _));
    std::thread::spawn(move || sender.send(child.wait()));
    let refused =
        |message| SchedulerError::Refused { command: format!("{program} {}", arguments.join(" ")), message };
    let Ok(status) = receiver.recv_timeout(patience) else {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        );
        return Err(refused(format!("no answer within {} s", patience.as_secs())));
    };
    let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
    let status = status.map_err(started)?;
    match status.success() {
        true => Ok(text(output)),
        false => Err(refused(complaint_of(&text(complaint), status))),
    }
}

/// Runs a SLURM command and returns its stdout.
fn command(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, SchedulerError> {
    Ok(String::from_utf8_lossy(&call(program, arguments, input)?.stdout).into_owned())
}

/// Runs a SLURM command once.
pub fn call(program: &str, arguments: &[&str], input: Option<&str>) -> Result<Output, SchedulerError> {
    let started = |source| SchedulerError::Start { command: program.into(), source };
    tracing::debug!("running {program} {}", arguments.join(" "));
    failpoint::reach("call the scheduler").map_err(started)?;
    let mut child =
        prepared(program, arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(started)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A command that rejects its arguments does not read its input; its stderr is the better error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(started)?;
    failpoint::reach("hear from the scheduler").map_err(started)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(SchedulerError::Refused {
        command: format!("{program} {}", arguments.join(" ")),
        message: complaint_of(&String::from_utf8_lossy(&output.stderr), output.status),
    })
}

/// The stderr of a failed command, or its exit status.
fn complaint_of(text: &str, status: ExitStatus) -> String {
    match text.trim() {
        "" => format!("no output ({status})"),
        said => said.to_owned(),
    }
}

/// Prepares a SLURM command without the environment variables of the job in which this process runs: the memory or task
/// count of the controller job must not apply to the training jobs.
fn prepared(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let of_job = name.starts_with("SLURM_") && name != "SLURM_CONF";
        let foreign =
            ["SBATCH_", "SQUEUE_", "SCANCEL_", "SRUN_"].iter().any(|prefix| name.starts_with(prefix));
        if of_job || foreign || failpoint::VARIABLES.contains(&&*name) {
            command.env_remove(name.as_ref());
        }
    }
    command.args(arguments).stdout(Stdio::piped());
    command
}

/// Prepares `srun` for a step of a job. Of the job's environment variables it gets only the job id and the cluster;
/// srun would take the others (CPUs per task, memory per node) as options.
pub fn srun(job: &str, arguments: &[String]) -> Command {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = prepared("srun", &arguments);
    command.env("SLURM_JOB_ID", job);
    if let Some(cluster) = std::env::var_os("SLURM_WORKING_CLUSTER") {
        command.env("SLURM_WORKING_CLUSTER", cluster);
    }
    command
}

/// The id of the job whose allocation this process controls: in a batch script or in the shell of `salloc`. None within
/// a job step, which does not control the allocation.
pub fn own_allocation() -> Option<String> {
    // In the shells of `salloc` and of batch scripts SLURM_STEP_ID may be that of a special step.
    const SPECIAL: u64 = 0xffff_fff0;
    let step = std::env::var("SLURM_STEP_ID").ok();
    let in_step = step.is_some_and(|step| step.parse::<u64>().is_ok_and(|step| step < SPECIAL));
    std::env::var("SLURM_JOB_ID").ok().filter(|_| !in_step).and_then(|job| parse::submitted(&job))
}

/// The job in which this process runs, if any, as SLURM writes it (`123_4` for an array task).
pub fn own_job() -> Option<String> {
    let variable = |name| std::env::var(name).ok();
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(job), Some(task)) => Some(format!("{job}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    }
}

/// Requeues the job in which this process runs; does nothing outside of a job.
pub fn requeue_own_job() -> Result<(), SchedulerError> {
    match own_job() {
        Some(job) => command("scontrol", &["requeue", &job], None).map(|_| ()),
        None => Ok(()),
    }
}

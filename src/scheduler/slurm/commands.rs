//! SLURM's commands, run as processes. When the controller is away or a queue is full, they are tried again.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use crate::failpoint;
use crate::scheduler::{SchedulerError, parse};

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How SLURM is talked to.
#[derive(Debug, Clone)]
pub struct Slurm {
    /// How long a command is tried again; none is without end.
    pub patience: Option<Duration>,
}

impl Slurm {
    /// Runs a command until it succeeds, patience ends, or it fails for a reason that time does not mend.
    pub fn call(&self, program: &str, arguments: &[&str]) -> Result<String, SchedulerError> {
        self.patiently(|| command(program, arguments, None))
    }

    /// Submits a job under a name that no other job has or had; its id.
    pub fn submit(&self, name: &str, arguments: &[String], script: &str) -> Result<String, SchedulerError> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut tried = false;
        self.patiently(|| {
            // The controller may have taken the job although its answer was lost.
            if std::mem::replace(&mut tried, true)
                && let Some(id) = find(name)?
            {
                return Ok(id);
            }
            let output = command("sbatch", &arguments, Some(script))?;
            parse::submitted(&output).ok_or(SchedulerError::Output { command: "sbatch".into(), output })
        })
    }

    fn patiently<T>(&self, mut act: impl FnMut() -> Result<T, SchedulerError>) -> Result<T, SchedulerError> {
        let began = Instant::now();
        let mut pause = Duration::from_secs(1);
        loop {
            match act() {
                Err(error) if error.is_transient() && self.has_time(began.elapsed() + pause) => {
                    eprintln!("pbtnas: {error}; trying again in {} s", pause.as_secs());
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                other => return other,
            }
        }
    }

    fn has_time(&self, until: Duration) -> bool {
        self.patience.is_none_or(|patience| until <= patience)
    }
}

/// The job of a name that is in the queue, if there is one.
fn find(name: &str) -> Result<Option<String>, SchedulerError> {
    let output = command("squeue", &["--noheader", "--format=%A", &format!("--name={name}")], None)?;
    Ok(output.lines().next().and_then(parse::submitted))
}

/// Asks SLURM something once; a command that takes too long is ended.
pub fn ask(program: &str, arguments: &[&str], patience: Duration) -> Result<String, SchedulerError> {
    let started = |source| SchedulerError::Start { command: program.into(), source };
    let mut child =
        prepared(program, arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(started)?;
    let pid = child.id();
    let (told, heard) = std::sync::mpsc::channel();
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
    std::thread::spawn(move || told.send(child.wait()));
    let refused =
        |message| SchedulerError::Refused { command: format!("{program} {}", arguments.join(" ")), message };
    let Ok(status) = heard.recv_timeout(patience) else {
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

/// Runs one of SLURM's commands; what it printed on its standard output.
fn command(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String, SchedulerError> {
    Ok(String::from_utf8_lossy(&call(program, arguments, input)?.stdout).into_owned())
}

/// Runs one of SLURM's commands.
pub fn call(program: &str, arguments: &[&str], input: Option<&str>) -> Result<Output, SchedulerError> {
    let started = |source| SchedulerError::Start { command: program.into(), source };
    failpoint::reach("call the scheduler").map_err(started)?;
    let mut child =
        prepared(program, arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(started)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A command that refuses its arguments does not read its input; what it says is more use than that.
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

/// What a command that failed said, or how it ended.
fn complaint_of(text: &str, status: ExitStatus) -> String {
    match text.trim() {
        "" => format!("it said nothing ({status})"),
        said => said.to_owned(),
    }
}

/// One of SLURM's commands. Variables of the job in which this runs are kept away from it: a step's memory or number
/// of tasks must not become those of the training jobs.
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

/// `srun`, for a step of a job: of the job's variables it gets those that say which job of which cluster it is. The others
/// (processors of a task, memory of a node) would be taken for options.
pub fn srun(job: &str, arguments: &[String]) -> Command {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = prepared("srun", &arguments);
    command.env("SLURM_JOB_ID", job);
    if let Some(cluster) = std::env::var_os("SLURM_WORKING_CLUSTER") {
        command.env("SLURM_WORKING_CLUSTER", cluster);
    }
    command
}

/// The number of the job in whose allocation this process runs: in its script or in the shell of `salloc`. None in one
/// of the job's steps: what belongs to this process there is the step.
pub fn own_allocation() -> Option<String> {
    // Shells of `salloc` and of scripts may have the numbers of special steps.
    const SPECIAL: u64 = 0xffff_fff0;
    let step = std::env::var("SLURM_STEP_ID").ok();
    let in_step = step.is_some_and(|step| step.parse::<u64>().is_ok_and(|step| step < SPECIAL));
    std::env::var("SLURM_JOB_ID").ok().filter(|_| !in_step).and_then(|job| parse::submitted(&job))
}

/// The name of this machine.
pub fn host() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

/// The job in which this process runs, in SLURM's words (`123_4` for a task of an array), if it does.
pub fn own_job() -> Option<String> {
    let variable = |name| std::env::var(name).ok();
    match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
        (Some(job), Some(task)) => Some(format!("{job}_{task}")),
        _ => variable("SLURM_JOB_ID"),
    }
}

/// Puts the job in which this process runs back into the queue; nothing outside of a job.
pub fn requeue_own_job() -> Result<(), SchedulerError> {
    match own_job() {
        Some(job) => command("scontrol", &["requeue", &job], None).map(|_| ()),
        None => Ok(()),
    }
}

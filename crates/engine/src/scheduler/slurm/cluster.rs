//! Queries of a cluster's configuration, and trial jobs.

use std::io::Write;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{User, getuid};

use super::commands::{self, Slurm};
use super::show::{self, ASSOCIATION_FORMAT};
pub use super::show::{Association, NodeInfo, Partition, Preempted, Preemption, SlurmSettings};
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::parse;

/// The SLURM commands that a search requires.
pub const COMMANDS: [&str; 4] = ["sbatch", "squeue", "scontrol", "scancel"];

/// Submits without retries: a controller that does not answer must be reported.
const ONCE: Slurm = Slurm { patience: Some(Duration::ZERO) };
/// The timeout of a command. SLURM's commands themselves give up after about ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a submission whose answer was lost may take to reach the controller.
const LATE: Duration = Duration::from_secs(2);

/// Runs `act` with SIGINT and SIGHUP blocked in this thread. Child processes inherit the mask, so that neither Ctrl-C
/// nor closing the terminal interrupts them. Another thread of this process handles the signals.
fn undisturbed<T>(act: impl FnOnce() -> T) -> T {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGHUP);
    let before = SigSet::thread_get_mask();
    let blocked = before.and_then(|before| signals.thread_block().map(|()| before));
    let result = act();
    if let Ok(before) = blocked {
        let _ = before.thread_set_mask();
    }
    result
}

/// Runs a query once, without retries.
fn ask(program: &str, arguments: &[&str]) -> Result<String, SchedulerError> {
    undisturbed(|| commands::ask(program, arguments, PATIENCE))
}

/// Whether SLURM did not answer, so that the outcome of the request is unknown.
pub fn is_unanswered(error: &SchedulerError) -> bool {
    let SchedulerError::Refused { message, .. } = error else { return false };
    let lower = message.to_ascii_lowercase();
    // A full queue is transient but is an answer.
    let of_limits = ["policy", "submitjob", "submit job limit"].iter().any(|word| lower.contains(word));
    lower.starts_with("no answer within") || error.is_transient() && !of_limits
}

/// The configuration of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    pub settings: SlurmSettings,
    /// All partitions, including hidden ones.
    pub partitions: Vec<Partition>,
    pub nodes: Vec<NodeInfo>,
    /// This user's associations; empty without an accounting database.
    pub associations: Vec<Association>,
}

impl ClusterInfo {
    /// Queries the controller.
    pub fn ask() -> Result<Self, SchedulerError> {
        let show = |what| ask("scontrol", &["--all", "show", what]);
        Ok(Self {
            settings: show::settings(&show("config")?),
            partitions: show::partitions(&show("partition")?),
            nodes: show::nodes(&show("node")?),
            associations: own_associations(),
        })
    }

    /// The partition of jobs that do not request one.
    pub fn default_partition(&self) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.default)
    }

    /// The nodes of at least one of these partitions.
    pub fn nodes_of<'a>(&'a self, partitions: &[&Partition]) -> Vec<&'a NodeInfo> {
        let within =
            |node: &&NodeInfo| node.partitions.iter().any(|name| partitions.iter().any(|p| p.name == *name));
        self.nodes.iter().filter(within).collect()
    }
}

/// This user's associations in the accounting database; empty if sacctmgr fails, as it does without a database.
fn own_associations() -> Vec<Association> {
    let Ok(Some(user)) = User::from_uid(getuid()) else { return Vec::new() };
    let (user, format) = (format!("user={}", user.name), format!("format={ASSOCIATION_FORMAT}"));
    let arguments = ["--noheader", "--parsable2", "show", "associations", "where", &user, &format];
    show::associations(&ask("sacctmgr", &arguments).unwrap_or_default())
}

/// The version that a SLURM command reports.
pub fn version(command: &str) -> Result<String, SchedulerError> {
    Ok(ask(command, &["--version"])?.trim().to_owned())
}

/// Whether a SLURM controller answers.
pub fn ping() -> Result<bool, SchedulerError> {
    Ok(show::is_controller_up(&ask("scontrol", &["ping"])?))
}

/// Asks sbatch, without submitting the job, where and when it could start.
pub fn test(arguments: &[String], script: &str) -> Result<String, SchedulerError> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--test-only"]).collect();
    let output = undisturbed(|| commands::call("sbatch", &arguments, Some(script)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rev().find(|line| line.contains("to start at")).unwrap_or(said.trim());
    Ok(line.trim_start_matches("sbatch: ").to_owned())
}

/// A trial job, cancelled on drop.
#[derive(Debug)]
pub struct TrialJob {
    pub id: String,
}

/// The state of a trial job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Pending, with SLURM's reason.
    Waiting(String),
    /// Running on these nodes.
    Running(String),
    /// Ended or unknown to the controller: state and nodes.
    Over(String, String),
}

impl TrialJob {
    /// Submits a job under a unique name. On failure, cancels jobs of that name, because the controller may have
    /// accepted the job although its answer was lost.
    pub fn submit(name: &str, arguments: &[String], script: &str) -> Result<Self, SchedulerError> {
        let submitted = undisturbed(|| ONCE.submit(name, arguments, script));
        let error = match submitted {
            Ok(id) => return Ok(Self { id }),
            Err(error) => error,
        };
        if !matches!(error, SchedulerError::Start { .. }) {
            let (by_name, what) = (format!("--name={name}"), format!("a job named {name}"));
            cancel(&by_name, &what);
            if error.is_transient() {
                std::thread::sleep(LATE);
                cancel(&by_name, &what);
            }
        }
        Err(error)
    }

    /// Queries the current state.
    pub fn query(&self) -> Result<Standing, SchedulerError> {
        let output = match ask("scontrol", &["show", "job", &self.id]) {
            Err(SchedulerError::Refused { message, .. }) if message.contains("Invalid job id") => {
                return Ok(Standing::Over("forgotten".into(), String::new()));
            }
            other => other?,
        };
        let Some((state, reason, nodes)) = show::job(&output) else {
            return Err(SchedulerError::Output { command: "scontrol show job".into(), output });
        };
        Ok(standing(state, reason, nodes))
    }
}

/// Converts SLURM's state, reason and nodes of a job.
fn standing(state: String, reason: String, nodes: String) -> Standing {
    match parse::job_state(&state, &reason) {
        // Nodes are allocated but do not run the job: they boot (in a cloud for minutes) or the job is suspended.
        _ if ["CONFIGURING", "POWER_UP_NODE", "SUSPENDED", "STOPPED"].contains(&&*state) => {
            Standing::Waiting(format!("{state} on {nodes}"))
        }
        parse::JobState::Running | parse::JobState::Unknown => Standing::Running(nodes),
        parse::JobState::Ended if state == "COMPLETING" => Standing::Running(nodes),
        parse::JobState::Ended => Standing::Over(state, nodes),
        _ => Standing::Waiting(reason),
    }
}

/// Cancels jobs and reports a failure.
fn cancel(which: &str, what: &str) {
    if let Err(error) = ask("scancel", &[which])
        && !error.to_string().contains("Invalid job id")
    {
        // eprintln! would panic if the terminal is closed.
        let _ = writeln!(
            std::io::stderr(),
            "pbtnas: {error}; {what} may still be in the queue: run `scancel {which}`"
        );
    }
}

impl Drop for TrialJob {
    fn drop(&mut self) {
        cancel(&self.id, &format!("job {}", self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_signals_do_not_reach_slurm_commands() {
        let blocked = |status: Result<String, SchedulerError>| {
            let mask = status.unwrap().trim_start_matches("SigBlk:").trim().to_owned();
            u64::from_str_radix(&mask, 16).unwrap()
        };
        let words = ["^SigBlk:", "/proc/self/status"];
        let before = SigSet::thread_get_mask().unwrap();
        let (hangup_and_interrupt, terminate) = (0b11, 1 << 14);
        let mask = blocked(ask("grep", &words));
        assert_eq!((mask & hangup_and_interrupt, mask & terminate), (hangup_and_interrupt, 0));
        assert_eq!(SigSet::thread_get_mask().unwrap(), before, "the mask is restored");
        assert_eq!(blocked(commands::ask("grep", &words, PATIENCE)) & hangup_and_interrupt, 0);
    }

    #[test]
    fn booting_and_suspended_jobs_count_as_waiting() {
        let stands = |state: &str| standing(state.into(), "None".into(), "n1".into());
        for state in ["CONFIGURING", "SUSPENDED", "STOPPED", "POWER_UP_NODE"] {
            assert_eq!(stands(state), Standing::Waiting(format!("{state} on n1")));
        }
        assert_eq!(stands("PENDING"), Standing::Waiting("None".into()));
        for state in ["RUNNING", "COMPLETING", "SIDEWAYS"] {
            assert_eq!(stands(state), Standing::Running("n1".into()));
        }
        assert_eq!(stands("FAILED"), Standing::Over("FAILED".into(), "n1".into()));
    }

    #[test]
    fn a_missing_answer_is_not_a_refusal() {
        let silent = |message: &str| {
            is_unanswered(&SchedulerError::Refused { command: "sbatch".into(), message: message.into() })
        };
        assert!(silent(
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
        ));
        assert!(
            silent("no answer within 60 s") && silent("Unable to contact slurm controller (connect failure)")
        );
        assert!(!silent("invalid partition specified: x") && !silent(""));
        assert!(!silent("QOSMaxSubmitJobPerUserLimit\nJob violates accounting/QOS policy"));
        assert!(!is_unanswered(&SchedulerError::Output {
            command: "sbatch".into(),
            output: "timed out".into()
        }));
    }
}

//! A cluster as it describes itself, and jobs that only try something out.

use std::io::Write;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{User, getuid};

use super::commands::{self, Slurm};
use super::show::{self, ASSOCIATION_FORMAT};
pub use super::show::{Association, Node, Partition, Preempted, Preemption, Settings};
use crate::scheduler::{SchedulerError, parse};

/// The commands that a search needs.
pub const COMMANDS: [&str; 4] = ["sbatch", "squeue", "scontrol", "scancel"];

/// Submitted once: who wants to know how a cluster is wants to know that it does not answer.
const ONCE: Slurm = Slurm { patience: Some(Duration::ZERO) };
/// Longest time that SLURM may take for an answer. Its commands themselves give up after some ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// A submission whose answer was lost may still be on its way to the controller.
const LATE: Duration = Duration::from_secs(2);

/// Runs something whose child processes a Ctrl-C in the terminal, and the terminal's end, do not reach: they inherit
/// what this thread blocks. This process hears of the signal in another thread.
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

/// Asks SLURM something once.
fn ask(program: &str, arguments: &[&str]) -> Result<String, SchedulerError> {
    undisturbed(|| commands::ask(program, arguments, PATIENCE))
}

/// Whether SLURM did not answer: that says nothing of what it was asked for.
pub fn is_silent(error: &SchedulerError) -> bool {
    let SchedulerError::Refused { message, .. } = error else { return false };
    let lower = message.to_ascii_lowercase();
    // A queue that is full for this user is an answer, although time mends it.
    let of_limits = ["policy", "submitjob", "submit job limit"].iter().any(|word| lower.contains(word));
    lower.starts_with("no answer within") || error.is_transient() && !of_limits
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Of the whole cluster.
    pub settings: Settings,
    /// All of them, hidden ones too.
    pub partitions: Vec<Partition>,
    /// All nodes.
    pub nodes: Vec<Node>,
    /// This user's, if there is an accounting database.
    pub associations: Vec<Association>,
}

impl Cluster {
    /// Asks the controller.
    pub fn ask() -> Result<Self, SchedulerError> {
        let show = |what| ask("scontrol", &["--all", "show", what]);
        Ok(Self {
            settings: show::settings(&show("config")?),
            partitions: show::partitions(&show("partition")?),
            nodes: show::nodes(&show("node")?),
            associations: own_associations(),
        })
    }

    /// The partition that jobs go to which name none.
    pub fn default_partition(&self) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.default)
    }

    /// The nodes of some partitions.
    pub fn nodes_of<'a>(&'a self, partitions: &[&Partition]) -> Vec<&'a Node> {
        let within =
            |node: &&Node| node.partitions.iter().any(|name| partitions.iter().any(|p| p.name == *name));
        self.nodes.iter().filter(within).collect()
    }
}

/// What the accounting database says of this user. Many clusters have none: then sacctmgr fails.
fn own_associations() -> Vec<Association> {
    let Ok(Some(user)) = User::from_uid(getuid()) else { return Vec::new() };
    let (user, format) = (format!("user={}", user.name), format!("format={ASSOCIATION_FORMAT}"));
    let arguments = ["--noheader", "--parsable2", "show", "associations", "where", &user, &format];
    show::associations(&ask("sacctmgr", &arguments).unwrap_or_default())
}

/// What one of SLURM's commands says its version is.
pub fn version(command: &str) -> Result<String, SchedulerError> {
    Ok(ask(command, &["--version"])?.trim().to_owned())
}

/// Whether a controller answers.
pub fn ping() -> Result<bool, SchedulerError> {
    Ok(show::a_controller_is_up(&ask("scontrol", &["ping"])?))
}

/// The scheduler's own verdict on a job, which is not submitted: where and when it could start.
pub fn test(arguments: &[String], script: &str) -> Result<String, SchedulerError> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--test-only"]).collect();
    let output = undisturbed(|| commands::call("sbatch", &arguments, Some(script)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rev().find(|line| line.contains("to start at")).unwrap_or(said.trim());
    Ok(line.trim_start_matches("sbatch: ").to_owned())
}

/// A job that tries something out. It is cancelled when this is dropped.
#[derive(Debug)]
pub struct TrialJob {
    /// Its id.
    pub id: String,
}

/// How such a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// In the queue, for a reason in SLURM's words.
    Waiting(String),
    /// On these nodes.
    Running(String),
    /// Over, or forgotten: state, nodes.
    Over(String, String),
}

impl TrialJob {
    /// Submits it under a name that no other job has or had. When that fails, there is no such job afterwards either,
    /// if SLURM can be told so: the controller may have taken it although its answer was lost.
    pub fn submit(name: &str, arguments: &[String], script: &str) -> Result<Self, SchedulerError> {
        let submitted = undisturbed(|| ONCE.submit(name, arguments, script));
        let error = match submitted {
            Ok(id) => return Ok(Self { id }),
            Err(error) => error,
        };
        if !matches!(error, SchedulerError::Start { .. }) {
            let (by_name, what) = (format!("--name={name}"), format!("a job called {name}"));
            cancel(&by_name, &what);
            if error.is_transient() {
                std::thread::sleep(LATE);
                cancel(&by_name, &what);
            }
        }
        Err(error)
    }

    /// How it stands now.
    pub fn look(&self) -> Result<Standing, SchedulerError> {
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

/// How a job stands that SLURM describes so.
fn standing(state: String, reason: String, nodes: String) -> Standing {
    match parse::job_state(&state, &reason) {
        // It has nodes, but they do not work for it: they boot (in a cloud for minutes), or have to stop.
        _ if ["CONFIGURING", "POWER_UP_NODE", "SUSPENDED", "STOPPED"].contains(&&*state) => {
            Standing::Waiting(format!("{state} on {nodes}"))
        }
        parse::JobState::Running | parse::JobState::Unknown => Standing::Running(nodes),
        parse::JobState::Ended if state == "COMPLETING" => Standing::Running(nodes),
        parse::JobState::Ended => Standing::Over(state, nodes),
        _ => Standing::Waiting(reason),
    }
}

/// Cancels jobs; says so if that fails.
fn cancel(which: &str, what: &str) {
    if let Err(error) = ask("scancel", &[which])
        && !error.to_string().contains("Invalid job id")
    {
        // The terminal may be gone: no reason to panic.
        let _ = writeln!(
            std::io::stderr(),
            "pbtnas: {error}; {what} may still be in the queue: cancel it (scancel {which})"
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
    fn a_terminal_s_signals_do_not_reach_slurm_s_commands() {
        let blocked = |status: Result<String, SchedulerError>| {
            let mask = status.unwrap().trim_start_matches("SigBlk:").trim().to_owned();
            u64::from_str_radix(&mask, 16).unwrap()
        };
        let words = ["^SigBlk:", "/proc/self/status"];
        let before = SigSet::thread_get_mask().unwrap();
        let (hangup_and_interrupt, terminate) = (0b11, 1 << 14);
        let mask = blocked(ask("grep", &words));
        assert_eq!((mask & hangup_and_interrupt, mask & terminate), (hangup_and_interrupt, 0));
        assert_eq!(SigSet::thread_get_mask().unwrap(), before, "only as long as it lasts");
        assert_eq!(blocked(commands::ask("grep", &words, PATIENCE)) & hangup_and_interrupt, 0);
    }

    #[test]
    fn nodes_that_boot_or_stand_still_do_not_run_a_job() {
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
    fn silence_is_no_refusal() {
        let silent = |message: &str| {
            is_silent(&SchedulerError::Refused { command: "sbatch".into(), message: message.into() })
        };
        assert!(silent(
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
        ));
        assert!(
            silent("no answer within 60 s") && silent("Unable to contact slurm controller (connect failure)")
        );
        assert!(!silent("invalid partition specified: x") && !silent(""));
        assert!(!silent("QOSMaxSubmitJobPerUserLimit\nJob violates accounting/QOS policy"));
        assert!(!is_silent(&SchedulerError::Output { command: "sbatch".into(), output: "timed out".into() }));
    }
}

//! Single-allocation mode: the whole search in one SLURM job, whose nodes train the members as job steps
//! ([`steps`](super::steps)). The batch script waits for them, advances the search between generations, and requeues
//! the job before its time limit. For clusters where every submission waits for hours.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::JobRequest;
use super::commands::{Slurm, own_allocation};
use super::requeue_own_job;
use super::room::{Capacity, Demand, room};
use super::show::{self, NodeAllocation, RunningJob};
use super::steps::{StepPlacement, Steps, groups};
use super::units::{Limit, gres, mebibytes};
use crate::config::Config;
use crate::scheduler::SchedulerError;
use crate::scheduler::pool;
use crate::scheduler::pool::{Round, Watcher};
use crate::signal::{Signal, StopSignal};

/// The alternative if the job cannot be used.
const HERE: &str = "`pbtnas run --here` trains on this machine only, without job steps";

/// The SLURM job in whose batch script or shell this process runs.
#[derive(Debug, Clone)]
pub struct Allocation {
    job: String,
    batch: bool,
    /// Seconds until the time limit, if there is one.
    left: Option<u64>,
    warning: u64,
    nodes: u64,
    room: Capacity,
    gres: Option<String>,
    at_once: usize,
    idle_gpus: bool,
}

impl Allocation {
    /// Finds the job of this process; none outside of a job and within a job step. Fails if a member does not fit into
    /// the job. `at_once` overrides the number of concurrent steps.
    pub fn find(config: &Config, at_once: Option<usize>) -> Result<Option<Self>> {
        let Some(job) = own_allocation() else { return Ok(None) };
        // The job may have waited for hours, so an unavailable controller is waited for without limit.
        let slurm = Slurm { patience: None };
        let there = query_job(&slurm, &job).with_context(|| format!("this is SLURM job {job}; {HERE}"))?;
        let nodes = slurm.call("scontrol", &["show", "node", &there.nodes])?;
        let ask = JobRequest::of_members(config);
        if ask.get("gres").is_none() && ask.requests_gpu() {
            bail!(
                "[slurm] extra requests GPUs, which does not apply to steps within job {job}: set [slurm] gres \
                 (\"gpu:1\"); {HERE}"
            );
        }
        let need = Demand {
            cpus: u64::from(ask.cpus().unwrap_or(1)),
            memory: ask.get("memory").and_then(mebibytes),
            gres: ask.get("gres").map(gres).unwrap_or_default(),
        };
        let room = room(&there.shares, &need, show::cpus_per_core(&nodes));
        if room.steps == 0 {
            bail!("{}", no_room(&job, &need, &there.shares));
        }
        let (left, warning) = (there.left(), u64::from(config.slurm.warning_seconds));
        if let Some(left) = left.filter(|left| *left <= warning) {
            bail!(
                "job {job} has {} until its time limit, and members are stopped [slurm] warning_seconds ({warning}) \
                 before it: submit it with a longer --time; {HERE}",
                Limit::Seconds(left)
            );
        }
        Ok(Some(Self {
            batch: there.batch,
            left,
            warning,
            nodes: there.shares.iter().map(|share| share.nodes).sum(),
            at_once: at_once.unwrap_or(room.steps.try_into().unwrap_or(usize::MAX)),
            room,
            gres: ask.get("gres").map(str::to_owned),
            idle_gpus: ask.get("gres").is_none()
                && there.shares.iter().flat_map(|share| &share.gres).any(|one| one.name == "gpu"),
            job,
        }))
    }

    /// Describes the job and the number of concurrent members, `units_per_step` in a job step, in one or two lines.
    pub fn describe(&self, units_per_step: u32) -> String {
        let nodes = if self.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", self.nodes) };
        let members = self.capacity(units_per_step);
        let left = match self.left {
            Some(left) => format!("time left {}", Limit::Seconds(left)),
            None => "no time limit".to_owned(),
        };
        let unused = "\nthe job has GPUs, but members request none ([slurm] gres)";
        let unused = if self.idle_gpus { unused } else { "" };
        format!("in SLURM job {}: {nodes}, {members} member(s) at a time, {left}{unused}", self.job)
    }

    /// Raises [`Signal::Warning`] before the time limit, which may change while the job runs.
    pub fn watch_time(&self, stop: &StopSignal) {
        let Some(mut left) = self.left else { return };
        let (stop, warning, job) = (stop.clone(), self.warning, self.job.clone());
        let once = Slurm { patience: Some(Duration::ZERO) };
        std::thread::spawn(move || {
            while left > warning {
                std::thread::sleep(Duration::from_secs(left - warning));
                left = match query_job(&once, &job) {
                    Ok(job) => match job.left() {
                        Some(left) => left,
                        None => return,
                    },
                    // The limit is taken as unchanged since the last query.
                    Err(_) => 0,
                };
            }
            stop.raise(Signal::Warning);
        });
    }

    /// Units that run at a time if a job step has `units_per_step`.
    pub fn capacity(&self, units_per_step: u32) -> usize {
        self.at_once.saturating_mul(units_per_step as usize)
    }

    /// Runs the units of a round as steps of the job until each has been tried once. False after a signal.
    pub fn run_round(&self, round: &Round, watcher: &mut dyn Watcher) -> Result<bool> {
        let place = StepPlacement { job: &self.job, room: &self.room, gres: self.gres.as_deref() };
        let mut steps = Steps::new(place, *round);
        let groups = groups(round.units, round.source.units_per_task());
        pool::run_round(round, groups, self.at_once, watcher, &mut steps)
    }

    /// Requeues the job after a signal, where that is possible, and returns a message on how the search resumes.
    /// `by_hand` is the instruction for resuming it manually.
    pub fn after(&self, signal: Option<Signal>, by_hand: &str) -> String {
        let job = &self.job;
        match signal {
            Some(Signal::Warning) if self.batch => match requeue_own_job() {
                Ok(()) => format!("job {job} was requeued and will resume from here"),
                Err(error) => format!("failed to requeue job {job} ({error}): {by_hand}"),
            },
            // SLURM requeues preempted jobs.
            Some(Signal::Terminate) if self.batch => {
                format!("job {job} will resume from here if it was preempted; if it was cancelled, {by_hand}")
            }
            _ => by_hand.to_owned(),
        }
    }
}

/// Queries the running job.
fn query_job(slurm: &Slurm, job: &str) -> Result<RunningJob, SchedulerError> {
    let output = slurm.call("scontrol", &["--details", "show", "job", job])?;
    let command = format!("scontrol --details show job {job}");
    show::running_job(&output)
        .filter(|job| !job.shares.is_empty())
        .ok_or(SchedulerError::Output { command, output })
}

/// The message for a job in which a member does not fit.
fn no_room(job: &str, need: &Demand, shares: &[NodeAllocation]) -> String {
    let part = |cpus: u64, memory: Option<u64>, gres: &[super::units::Gres]| {
        let memory = memory.filter(|memory| *memory > 0).map(|memory| format!("{memory} MiB"));
        let parts = [format!("{cpus} CPU(s)")].into_iter().chain(memory);
        parts.chain(gres.iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ")
    };
    let there = shares.iter().map(|share| part(share.cpus, Some(share.memory), &share.gres));
    format!(
        "job {job} is too small for a member: [slurm] requests {} per node, and the job has {} per node; request more \
         with sbatch (--cpus-per-task, --mem, --gres); {HERE}",
        part(need.cpus, need.memory, &need.gres),
        there.collect::<Vec<_>>().join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_too_small_is_reported_with_demand_and_capacity() {
        let need = Demand { cpus: 4, memory: Some(16_000), gres: gres("gpu:1") };
        let shares = [
            NodeAllocation { nodes: 2, cpus: 2, memory: 0, gres: Vec::new() },
            NodeAllocation { nodes: 1, cpus: 8, memory: 4000, gres: gres("gpu:a100:1") },
        ];
        let said = no_room("12", &need, &shares);
        assert!(
            said.starts_with(
                "job 12 is too small for a member: [slurm] requests 4 CPU(s), 16000 MiB, gpu:1 per node, and the job \
                 has 2 CPU(s) or 8 CPU(s), 4000 MiB, gpu:a100:1 per node;"
            ),
            "{said}"
        );
    }
}

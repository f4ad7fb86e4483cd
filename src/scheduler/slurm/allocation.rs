//! One allocation instead of many jobs: the whole search in one SLURM job, whose nodes train the members as steps
//! ([`steps`](super::steps)). The job's script waits for them, decides between generations, and puts the job back into the
//! queue before its time limit. For clusters where every submission waits for hours.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::ask::Ask;
use super::commands::{Slurm, own_allocation};
use super::requeue_own_job;
use super::room::{Need, Room, room};
use super::show::{self, RunningJob, Share};
use super::steps::{Place, Steps, groups};
use super::units::{Limit, gres, mebibytes};
use crate::config::Config;
use crate::scheduler::pool::{self, Watcher};
use crate::scheduler::{SchedulerError, Work};
use crate::search::MemberId;
use crate::signal::{Signal, StopSignal};

/// The way out where a job is of no use.
const HERE: &str = "`pbtnas run --here` trains on this machine alone, without steps";

/// The SLURM job in whose script, or in whose shell, this process runs.
#[derive(Debug, Clone)]
pub struct Allocation {
    job: String,
    batch: bool,
    /// Seconds until the time limit.
    left: Option<u64>,
    warning: u64,
    nodes: u64,
    room: Room,
    gres: Option<String>,
    at_once: usize,
    members_per_step: u32,
    idle_gpus: bool,
}

impl Allocation {
    /// The job, if there is one and this is none of its steps. It must have room for a member. `at_once` overrides how many
    /// steps there are at a time.
    pub fn find(config: &Config, at_once: Option<usize>) -> Result<Option<Self>> {
        let Some(job) = own_allocation() else { return Ok(None) };
        // The job has waited long enough to wait for a controller that is away, too.
        let slurm = Slurm { patience: None };
        let there = look(&slurm, &job).with_context(|| format!("this is SLURM job {job}; {HERE}"))?;
        let nodes = slurm.call("scontrol", &["show", "node", &there.nodes])?;
        let ask = Ask::of_members(config);
        if ask.gres.is_none() && ask.asks_for_gpu() {
            bail!(
                "[slurm] extra asks for GPUs as only jobs can: within job {job} a member gets those that [slurm] gres \
                 names (\"gpu:1\"); {HERE}"
            );
        }
        let need = Need {
            cpus: u64::from(ask.cpus.unwrap_or(1)),
            memory: ask.memory.and_then(mebibytes),
            gres: ask.gres.map(gres).unwrap_or_default(),
        };
        let room = room(&there.shares, &need, show::cpus_per_core(&nodes));
        if room.steps == 0 {
            bail!("{}", no_room(&job, &need, &there.shares));
        }
        let (left, warning) = (there.left(), u64::from(config.slurm.warning_seconds));
        if let Some(left) = left.filter(|left| *left <= warning) {
            bail!(
                "job {job} has {} until its time limit, and members are stopped [slurm] warning_seconds ({warning}) \
                 before it: ask sbatch for more (--time); {HERE}",
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
            gres: ask.gres.map(str::to_owned),
            members_per_step: config.slurm.members_per_task,
            idle_gpus: ask.gres.is_none()
                && there.shares.iter().flat_map(|share| &share.gres).any(|one| one.name == "gpu"),
            job,
        }))
    }

    /// What will be done, in a line or two.
    pub fn describe(&self) -> String {
        let nodes = if self.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", self.nodes) };
        let members = self.at_once.saturating_mul(self.members_per_step as usize);
        let left = match self.left {
            Some(left) => format!("time left {}", Limit::Seconds(left)),
            None => "no time limit".to_owned(),
        };
        let unused = "\nthe job has GPUs, but members ask for none ([slurm] gres)";
        let unused = if self.idle_gpus { unused } else { "" };
        format!("in SLURM job {}: {nodes}, {members} member(s) at a time, {left}{unused}", self.job)
    }

    /// Raises the warning in time before the limit, which may be changed while the job runs.
    pub fn watch_time(&self, stop: &StopSignal) {
        let Some(mut left) = self.left else { return };
        let (stop, warning, job) = (stop.clone(), self.warning, self.job.clone());
        let once = Slurm { patience: Some(Duration::ZERO) };
        std::thread::spawn(move || {
            while left > warning {
                std::thread::sleep(Duration::from_secs(left - warning));
                left = match look(&once, &job) {
                    Ok(job) => match job.left() {
                        Some(left) => left,
                        None => return,
                    },
                    // As it was when this was asked last.
                    Err(_) => 0,
                };
            }
            stop.raise(Signal::Warning);
        });
    }

    /// Works off pieces of a stage as steps of the job, until each was tried once. False if a signal came.
    pub fn work_off(
        &self,
        work: &dyn Work,
        program: &Path,
        stage: u32,
        pieces: &[MemberId],
        stop: &StopSignal,
        watcher: &mut dyn Watcher,
    ) -> Result<bool> {
        let place = Place { job: &self.job, room: &self.room, gres: self.gres.as_deref() };
        let mut steps = Steps::new(place, work, program, stage);
        let groups = groups(pieces, work.pieces_per_task());
        pool::work_off((work, stage), groups, self.at_once, stop, watcher, &mut steps)
    }

    /// Sees to it that the search goes on after a signal has stopped it, where that is possible, and tells how. `by_hand` is
    /// what a person would do.
    pub fn after(&self, signal: Option<Signal>, by_hand: &str) -> String {
        let job = &self.job;
        match signal {
            Some(Signal::Warning) if self.batch => match requeue_own_job() {
                Ok(()) => format!("job {job} is back in the queue and goes on from here"),
                Err(error) => format!("job {job} could not be put back into the queue ({error}): {by_hand}"),
            },
            // SLURM decides.
            Some(Signal::Terminate) if self.batch => {
                format!("job {job} goes on from here if it was preempted; if it was cancelled, {by_hand}")
            }
            _ => by_hand.to_owned(),
        }
    }
}

/// How the job stands.
fn look(slurm: &Slurm, job: &str) -> Result<RunningJob, SchedulerError> {
    let output = slurm.call("scontrol", &["--details", "show", "job", job])?;
    let command = format!("scontrol --details show job {job}");
    show::running_job(&output)
        .filter(|job| !job.shares.is_empty())
        .ok_or(SchedulerError::Output { command, output })
}

/// Why a job has no room for a member, with the way out.
fn no_room(job: &str, need: &Need, shares: &[Share]) -> String {
    let part = |cpus: u64, memory: Option<u64>, gres: &[super::units::Gres]| {
        let memory = memory.filter(|memory| *memory > 0).map(|memory| format!("{memory} MiB"));
        let parts = [format!("{cpus} CPU(s)")].into_iter().chain(memory);
        parts.chain(gres.iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ")
    };
    let there = shares.iter().map(|share| part(share.cpus, Some(share.memory), &share.gres));
    format!(
        "job {job} has no room for a member: [slurm] asks for {} on a node, and the job has on a node {}; ask sbatch for as \
         much (--cpus-per-task, --mem, --gres); {HERE}",
        part(need.cpus, need.memory, &need.gres),
        there.collect::<Vec<_>>().join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_room_says_what_it_has_and_what_is_asked() {
        let need = Need { cpus: 4, memory: Some(16_000), gres: gres("gpu:1") };
        let shares = [
            Share { nodes: 2, cpus: 2, memory: 0, gres: Vec::new() },
            Share { nodes: 1, cpus: 8, memory: 4000, gres: gres("gpu:a100:1") },
        ];
        let said = no_room("12", &need, &shares);
        assert!(
            said.starts_with(
                "job 12 has no room for a member: [slurm] asks for 4 CPU(s), 16000 MiB, gpu:1 on a node, and the job has on \
                 a node 2 CPU(s) or 8 CPU(s), 4000 MiB, gpu:a100:1;"
            ),
            "{said}"
        );
    }
}

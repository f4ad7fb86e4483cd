//! What becomes of jobs that others preempt, and how long they have to save. Pure.

use super::finding::{Area, Finding};
use crate::config::{Config, TaskKind};
use crate::scheduler::slurm::Ask;
use crate::scheduler::slurm::cluster::{Cluster, Partition, Preempted, Preemption};

const AREA: Area = Area::Limits;

/// SLURM's own default of KillWait.
const KILL_WAIT: u64 = 30;

/// Whether jobs of these partitions may be preempted, and what that costs.
pub fn judge(ask: &Ask, partitions: &[&Partition], config: &Config, cluster: &Cluster) -> Finding {
    let title = format!("preemption of {}", ask.jobs);
    let settings = &cluster.settings;
    let kill_wait = settings.kill_wait.unwrap_or(KILL_WAIT);
    let need = config.grace().as_secs() + 1;
    let Some((name, mode, grace)) = how(partitions, cluster) else {
        return short(ask, &title, "none", kill_wait, need, config)
            .unwrap_or_else(|| Finding::ok(AREA, &title, "none"));
    };
    let found = match mode {
        Preempted::Never => name,
        Preempted::Cancelled => format!("{name}, which are then cancelled"),
        Preempted::Requeued => format!("{name}, which are then requeued"),
        Preempted::Suspended => format!("{name}, which are then suspended"),
    };
    if ask.section != "[slurm]" {
        return Finding::warning(
            AREA,
            &title,
            found,
            "A step that is preempted is called again in its next turn; until then the search stands still.",
            "Name a partition that is not preempted in [slurm.step]: steps take seconds, and need no GPU.",
        );
    }
    if ask.stays_away() {
        return Finding::warning(
            AREA,
            &title,
            format!("{found}, and [slurm] extra has --no-requeue"),
            "A preempted task does not come back by itself; its members wait until the whole array has ended.",
            "Leave --no-requeue out: pbtnas asks for --requeue.",
        );
    }
    if mode == Preempted::Cancelled {
        return Finding::warning(
            AREA,
            &title,
            found,
            "Preempted tasks are cancelled and do not come back by themselves: the step submits them again, but only \
             when all other tasks of the generation have ended. Nothing is lost.",
            "If there is a partition or qos with PreemptMode=REQUEUE, use that one.",
        );
    }
    if mode == Preempted::Suspended {
        return Finding::ok(
            AREA,
            &title,
            format!("{found}: preempted tasks stop where they are, and go on later"),
        );
    }
    // SIGTERM comes at once, and again when the grace is over; KillWait after that, SIGKILL.
    let seconds = grace + kill_wait;
    let requeue = match settings.job_requeue {
        Some(false) => " (JobRequeue=0 is for jobs that say nothing; these ask for --requeue)",
        _ => "",
    };
    short(ask, &title, &found, seconds, need, config).unwrap_or_else(|| {
        Finding::ok(
            AREA,
            &title,
            format!(
                "{found}: tasks have {seconds} s to snapshot, need {need} at most, and come back by themselves{requeue}"
            ),
        )
    })
}

/// The warning that processes are killed before they have saved, if they are.
fn short(ask: &Ask, title: &str, found: &str, seconds: u64, need: u64, config: &Config) -> Option<Finding> {
    if ask.section != "[slurm]" || seconds >= need {
        return None;
    }
    let advice = match config.task.kind {
        TaskKind::Command => "Set [command] grace_seconds lower, if your script can save faster.",
        _ => "Ask for a longer KillWait or GraceTime in slurm.conf.",
    };
    Some(Finding::warning(
        AREA,
        title,
        format!("{found}; between SIGTERM and SIGKILL tasks have {seconds} s, and may need {need}"),
        format!(
            "A task that is cancelled or preempted while it saves may lose what came after its last snapshot (up to {} s).",
            config.training.snapshot_seconds
        ),
        format!("{advice} Snapshots more often ([training] snapshot_seconds) make the loss smaller."),
    ))
}

/// Who preempts whom, what becomes of the jobs, and the seconds of grace. None: nobody does.
fn how(partitions: &[&Partition], cluster: &Cluster) -> Option<(String, Preempted, u64)> {
    let settings = &cluster.settings;
    match settings.preemption {
        Preemption::None => return None,
        Preemption::ByQos => {
            let name = "jobs of a higher qos may preempt these";
            return (settings.preempted != Preempted::Never).then(|| (name.into(), settings.preempted, 0));
        }
        Preemption::ByPartition => {}
    }
    let above = |partition: &Partition| {
        let nodes = cluster.nodes_of(&[partition]);
        let shares = |other: &&Partition| {
            cluster.nodes_of(&[other]).iter().any(|node| nodes.iter().any(|own| own.name == node.name))
        };
        cluster.partitions.iter().filter(|other| other.priority_tier > partition.priority_tier).find(shares)
    };
    partitions.iter().filter(|partition| partition.preempted != Preempted::Never).find_map(|partition| {
        let other = above(partition)?;
        let name = format!("jobs in {} may preempt those in {}", other.name, partition.name);
        Some((name, partition.preempted, partition.grace_time))
    })
}

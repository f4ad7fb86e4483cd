//! Preemption of jobs, and the time that they have to save. Pure.

use super::finding::{Area, Finding};
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::slurm::JobRequest;
use pbtnas_engine::scheduler::slurm::cluster::{ClusterInfo, Partition, Preempted, Preemption};

const AREA: Area = Area::Limits;

/// SLURM's default of KillWait, in seconds.
const KILL_WAIT: u64 = 30;

/// Checks whether jobs of these partitions can be preempted, and the consequences.
pub fn check(
    request: &JobRequest,
    partitions: &[&Partition],
    config: &Config,
    cluster: &ClusterInfo,
) -> Finding {
    let title = format!("preemption of {}", request.jobs);
    let settings = &cluster.settings;
    let kill_wait = settings.kill_wait.unwrap_or(KILL_WAIT);
    let need = config.grace().as_secs() + 1;
    let Some((name, mode, grace)) = how(partitions, cluster) else {
        return short(request, &title, "none", kill_wait, need, config)
            .unwrap_or_else(|| Finding::ok(AREA, &title, "none"));
    };
    let found = match mode {
        Preempted::Never => name,
        Preempted::Cancelled => format!("{name}, which cancels them"),
        Preempted::Requeued => format!("{name}, which requeues them"),
        Preempted::Suspended => format!("{name}, which suspends them"),
    };
    if request.section != "[slurm]" {
        return Finding::warning(
            AREA,
            &title,
            found,
            "The search stops until a preempted controller job runs again.",
            "Set a partition without preemption in [slurm.controller]: controller jobs take seconds and need no GPU.",
        );
    }
    if request.disables_requeue() {
        return Finding::warning(
            AREA,
            &title,
            format!("{found}, and [slurm] extra has --no-requeue"),
            "A preempted task is not requeued; its members wait until the whole array has ended.",
            "Remove --no-requeue; pbtnas sets --requeue.",
        );
    }
    if mode == Preempted::Cancelled {
        return Finding::warning(
            AREA,
            &title,
            found,
            "Preempted tasks are cancelled and not requeued: the controller job resubmits them when all other tasks of the \
             generation have ended. No work is lost.",
            "Use a partition or qos with PreemptMode=REQUEUE if there is one.",
        );
    }
    if mode == Preempted::Suspended {
        return Finding::ok(AREA, &title, format!("{found}: they continue later"));
    }
    // SIGTERM is sent at once, and again after the grace time; SIGKILL follows KillWait later.
    let seconds = grace + kill_wait;
    let requeue = match settings.job_requeue {
        Some(false) => " (JobRequeue=0 does not apply: they set --requeue)",
        _ => "",
    };
    short(request, &title, &found, seconds, need, config).unwrap_or_else(|| {
        Finding::ok(
            AREA,
            &title,
            format!(
                "{found}: tasks have {seconds} s to write a snapshot, and need at most {need} s{requeue}"
            ),
        )
    })
}

/// The warning if tasks are killed before they can save.
fn short(
    request: &JobRequest,
    title: &str,
    found: &str,
    seconds: u64,
    need: u64,
    config: &Config,
) -> Option<Finding> {
    if request.section != "[slurm]" || seconds >= need {
        return None;
    }
    let advice = match config.task.settings.grace() {
        Some(_) => "Lower the task's grace_seconds if your script can save faster.",
        None => "Ask the administrators for a longer KillWait or GraceTime.",
    };
    Some(Finding::warning(
        AREA,
        title,
        format!("{found}; tasks have {seconds} s between SIGTERM and SIGKILL, and may need {need} s"),
        format!(
            "A task that is cancelled or preempted while it saves may lose the work since its last snapshot (up to {} s).",
            config.training.snapshot_seconds
        ),
        format!("{advice} More frequent snapshots ([training] snapshot_seconds) reduce the loss."),
    ))
}

/// Returns which jobs preempt these, the mode, and the grace time in seconds. None without preemption.
fn how(partitions: &[&Partition], cluster: &ClusterInfo) -> Option<(String, Preempted, u64)> {
    let settings = &cluster.settings;
    match settings.preemption {
        Preemption::None => return None,
        Preemption::ByQos => {
            let name = "jobs of a higher qos can preempt these";
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
        let name = format!("jobs in {} can preempt those in {}", other.name, partition.name);
        Some((name, partition.preempted, partition.grace_time))
    })
}

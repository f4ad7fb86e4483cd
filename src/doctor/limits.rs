//! The requests of a configuration compared with the limits of a cluster. Pure.

use super::finding::{Area, Finding};
use super::{preemption, resources};
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::slurm::JobRequest;
use pbtnas_engine::scheduler::slurm::cluster::{Association, ClusterInfo, Partition};
use pbtnas_engine::scheduler::slurm::show::DEFAULT_MAX_ARRAY_SIZE;
use pbtnas_engine::scheduler::slurm::units::{Limit, limit};

const AREA: Area = Area::Limits;

/// Checks all requests.
pub fn check(config: &Config, cluster: &ClusterInfo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for request in [JobRequest::of_members(config), JobRequest::of_controller(config)] {
        let found = partition(&request, cluster);
        let usable = request.partitions(cluster).unwrap_or_default();
        findings.push(found);
        if usable.is_empty() {
            continue;
        }
        findings.extend(time(&request, &usable, config));
        findings.extend(resources::check(&request, cluster));
        findings.extend(access(&request, &usable, config, cluster));
        findings.push(preemption::check(&request, &usable, config, cluster));
    }
    findings.push(tasks(config, cluster));
    findings.extend(resources::device(config, cluster));
    findings.push(dependencies(cluster));
    // Findings about the cluster itself come first.
    findings.sort_by_key(|finding| finding.area);
    findings
}

fn partition(request: &JobRequest, cluster: &ClusterInfo) -> Finding {
    let title = format!("partition of {}", request.jobs);
    let known = || cluster.partitions.iter().map(|partition| &*partition.name).collect::<Vec<_>>().join(", ");
    let refused = "sbatch would reject the jobs.";
    let partitions = match request.partitions(cluster) {
        Err(name) => {
            let near = cluster.partitions.iter().max_by(|a, b| {
                strsim::jaro_winkler(name, &a.name).total_cmp(&strsim::jaro_winkler(name, &b.name))
            });
            let near = near.map_or(String::new(), |near| format!(" Did you mean {:?}?", near.name));
            return Finding::problem(
                AREA,
                &title,
                format!("unknown partition {name:?}"),
                refused,
                format!("Change partition in {}.{near} (known: {})", request.section, known()),
            );
        }
        Ok(partitions) => partitions,
    };
    if partitions.is_empty() {
        return Finding::problem(
            AREA,
            &title,
            "none is set, and the cluster has no default",
            refused,
            format!("Set partition in {1} to one of {0}.", known(), request.section),
        );
    }
    let names = partitions.iter().map(|partition| &*partition.name).collect::<Vec<_>>().join(", ");
    let names =
        if request.get("partition").is_some() { names } else { format!("{names} (the cluster's default)") };
    if !partitions.iter().any(|partition| partition.is_up()) {
        let states = partitions.iter().map(|partition| &*partition.state).collect::<Vec<_>>().join(", ");
        return Finding::problem(
            Area::Slurm,
            &title,
            format!("{names}: {states}"),
            "Jobs would wait until an administrator sets it UP, or be rejected.",
            format!("Wait, or set another one in {} (`sinfo -R` prints the reason).", request.section),
        );
    }
    let nodes = cluster.nodes_of(&partitions);
    let usable = nodes.iter().filter(|node| node.usable()).count();
    let found = format!("{names}: up, {usable} of {} nodes usable", nodes.len());
    match usable {
        0 if !nodes.is_empty() => Finding::warning(
            AREA,
            &title,
            found,
            "Jobs would wait until nodes are available.",
            format!("`sinfo -R -p {}` prints the reason.", partitions[0].name),
        ),
        _ => Finding::ok(AREA, &title, found),
    }
}

/// Checks that the partition allows the time limit, and that it is longer than the warning time.
fn time(request: &JobRequest, partitions: &[&Partition], config: &Config) -> Option<Finding> {
    let title = format!("time limit of {}", request.jobs);
    let longest = partitions.iter().map(|partition| partition.max_time.unwrap_or(Limit::Unlimited)).max()?;
    let members = request.section == "[slurm]";
    let unwarned = "SLURM ends a task at the limit without an earlier warning, and does not requeue it: its members wait \
                    until the whole array has ended, then the controller job resubmits them.";
    let Some(text) = request.get("time") else {
        let by_default = partitions[0].default_time.or(partitions[0].max_time).unwrap_or(Limit::Unlimited);
        return Some(match by_default {
            Limit::Seconds(_) if members => Finding::warning(
                AREA,
                &title,
                format!("not set; the default of the partition is {by_default}"),
                unwarned,
                format!(
                    "Set time in [slurm]{}: then a task gets a warning {} s before, writes a snapshot and requeues \
                     itself.",
                    match longest {
                        Limit::Seconds(_) => format!(" (at most {longest})"),
                        Limit::Unlimited => String::new(),
                    },
                    config.slurm.warning_seconds
                ),
            ),
            by_default => {
                Finding::ok(AREA, &title, format!("not set; the default of the partition is {by_default}"))
            }
        });
    };
    let Some(asked) = limit(text) else {
        return Some(Finding::problem(
            AREA,
            &title,
            format!("invalid time limit {text:?}"),
            "sbatch would reject the jobs.",
            "Write minutes, HH:MM:SS, or DAYS-HH:MM:SS: \"04:00:00\", \"1-12:00:00\".",
        ));
    };
    if asked > longest {
        return Some(Finding::problem(
            AREA,
            &title,
            format!("{asked} is requested, the partition allows {longest}"),
            "The jobs would be rejected, or never start (reason PartitionTimeLimit).",
            format!(
                "Set time in {} to {longest} or less{}.",
                request.section,
                if members { "; members resume from snapshots, so a short limit costs little" } else { "" }
            ),
        ));
    }
    let warning = u64::from(config.slurm.warning_seconds);
    // pbtnas requests the warning signal only with time in [slurm]; the user can request it in extra.
    let (own_signal, warned) = (request.requests_signal(), config.slurm.get("time").is_some());
    if asked != Limit::Unlimited && members && !warned && !own_signal {
        return Some(Finding::warning(
            AREA,
            &title,
            format!("{asked}, set in [slurm] extra"),
            unwarned,
            format!(
                "Set time in [slurm] instead of in extra: then a task gets a warning {warning} s before, writes a snapshot \
                 and requeues itself."
            ),
        ));
    }
    if let Limit::Seconds(seconds) = asked
        && members
        && warned
        && !own_signal
        && seconds <= warning
    {
        return Some(Finding::problem(
            AREA,
            &title,
            format!("{asked}, with a warning {warning} s before its end"),
            "Every task would get the warning when it starts, and requeue itself in an endless loop.",
            "Raise time in [slurm], or lower warning_seconds.",
        ));
    }
    Some(Finding::ok(
        AREA,
        &title,
        match longest {
            Limit::Seconds(_) => format!("{asked} of at most {longest}"),
            Limit::Unlimited => format!("{asked}"),
        },
    ))
}

/// Compares the number of tasks with the limits on arrays and queues.
fn tasks(config: &Config, cluster: &ClusterInfo) -> Finding {
    const TITLE: &str = "number of tasks";
    let groups = config.search.population.div_ceil(config.slurm.members_per_task.max(1) as usize) as u64;
    let settings = &cluster.settings;
    let share = "Let several members share a task ([slurm] members_per_task), or reduce the population.";
    if settings.max_array_size.is_some_and(|size| size <= 1) {
        return Finding::problem(
            AREA,
            TITLE,
            "the cluster allows no job arrays (MaxArraySize is 0 or 1)",
            "Members train as tasks of an array, which sbatch would reject.",
            "Ask the administrators to raise MaxArraySize, or use `pbtnas run` in one large job.",
        );
    }
    // The next controller job waits in the queue, and the previous one may still be there.
    let jobs = groups + 2;
    if let Some(most) = settings.max_job_count.filter(|most| jobs > *most) {
        return Finding::problem(
            AREA,
            TITLE,
            format!(
                "{groups} tasks and a controller job; the cluster allows {most} jobs in total (MaxJobCount)"
            ),
            "SLURM would never accept the jobs.",
            share,
        );
    }
    let account = config.slurm.get("account");
    let limits = settings.limits_enforced;
    let partitions = JobRequest::of_members(config).partitions(cluster).unwrap_or_default();
    let own = holding(&cluster.associations, account, &partitions);
    // Which of several accounts is charged is unknown here; use the highest limit.
    let most = own.iter().map(|one| one.max_submit.unwrap_or(u64::MAX)).max();
    if let Some(most) = most.filter(|most| limits && jobs > *most) {
        return Finding::problem(
            AREA,
            TITLE,
            format!(
                "{groups} tasks and a controller job; your account allows {most} jobs in the queue (MaxSubmitJobs)"
            ),
            "sbatch would reject the array.",
            share,
        );
    }
    let arrays = groups.div_ceil(u64::from(settings.max_array_size.unwrap_or(DEFAULT_MAX_ARRAY_SIZE)));
    let mut found = format!("{groups} per generation");
    if arrays > 1 {
        found += &format!(", in {arrays} arrays (MaxArraySize)");
    }
    if let Some(most) = config.slurm.max_running {
        found += &format!(", {most} of them at a time ([slurm] max_running)");
    }
    let running = own.iter().map(|one| one.max_jobs.unwrap_or(u64::MAX)).max();
    if let Some(most) = running.filter(|most| limits && *most < groups) {
        found += &format!("; your account allows {most} to run at a time");
    }
    Finding::ok(AREA, TITLE, found)
}

/// Returns the associations whose limits apply to jobs in some partitions: per account, the one for the partition,
/// else the one for all partitions.
fn holding<'a>(
    all: &'a [Association],
    account: Option<&str>,
    partitions: &[&Partition],
) -> Vec<&'a Association> {
    let mine = || all.iter().filter(|one| account.is_none_or(|name| name == one.account));
    let is_for = |one: &Association, partition: Option<&str>| one.partition.as_deref() == partition;
    let names = partitions.iter().map(|partition| Some(&*partition.name));
    let names: Vec<Option<&str>> = if partitions.is_empty() { vec![None] } else { names.collect() };
    let holds = |one: &Association, name: Option<&str>| {
        is_for(one, name)
            || is_for(one, None) && !mine().any(|other| other.account == one.account && is_for(other, name))
    };
    mine().filter(|one| names.iter().any(|name| holds(one, *name))).collect()
}

/// Checks that account and quality of service may use the partitions.
fn access(
    request: &JobRequest,
    partitions: &[&Partition],
    config: &Config,
    cluster: &ClusterInfo,
) -> Option<Finding> {
    let refused = "sbatch would reject the jobs.";
    let account = config.slurm.get("account");
    let known = &cluster.associations;
    let checked = !known.is_empty() && cluster.settings.accounts_enforced;
    if let Some(name) = account.filter(|name| checked && known.iter().all(|one| one.account != **name)) {
        let mut names: Vec<&str> = known.iter().map(|one| &*one.account).collect();
        names.dedup();
        return Some(Finding::problem(
            AREA,
            &format!("account of {}", request.jobs),
            format!("unknown account {name:?}"),
            refused,
            format!("Change account in [slurm]. Your accounts: {}.", names.join(", ")),
        ));
    }
    let may = |list: &Option<Vec<String>>, name: Option<&str>| {
        name.is_none_or(|name| list.as_ref().is_none_or(|list| list.iter().any(|one| one == name)))
    };
    // The reason why a partition does not accept the jobs: title, key, its value, and the allowed values.
    let bar = |partition: &Partition| {
        let account_key = "account in [slurm]";
        let bars = [
            ("account", account_key, account, &partition.accounts),
            ("qos", "qos", request.get("qos"), &partition.qos),
        ];
        let (what, key, name, list) = bars.into_iter().find(|(_, _, name, list)| !may(list, *name))?;
        let open = list.clone().unwrap_or_default().join(", ");
        Some((what, key, name.unwrap_or_default().to_owned(), open))
    };
    let closed: Vec<_> =
        partitions.iter().filter_map(|partition| Some((&*partition.name, bar(partition)?))).collect();
    let (partition, (what, key, name, open)) = closed.first()?;
    let title = format!("{what} of {}", request.jobs);
    let found = format!("partition {partition} does not allow {name:?}");
    let advice = format!("Change {key} (allowed: {open}), or the partition in {}.", request.section);
    Some(match closed.len() == partitions.len() {
        true => Finding::problem(AREA, &title, found, refused, advice),
        false => Finding::warning(
            AREA,
            &title,
            found,
            "Jobs would run in the other partitions only, or be rejected if EnforcePartLimits=ALL.",
            advice,
        ),
    })
}

/// Reports whether SLURM cancels jobs with an invalid dependency.
fn dependencies(cluster: &ClusterInfo) -> Finding {
    let kills = cluster.settings.kills_invalid_dependencies;
    Finding::ok(
        AREA,
        "dependencies",
        match kills {
            true => {
                "a controller job waits for the end of its array with any result (afterany); kill_invalid_depend, which is \
                 set here, does not affect it"
            }
            false => "a controller job waits for the end of its array with any result (afterany)",
        },
    )
}

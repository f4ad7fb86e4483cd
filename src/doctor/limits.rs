//! What a configuration asks of a cluster, compared with what the cluster allows. Pure.

use super::finding::{Area, Finding};
use super::{preemption, resources};
use crate::config::Config;
use crate::scheduler::slurm::Ask;
use crate::scheduler::slurm::cluster::{Association, Cluster, Partition};
use crate::scheduler::slurm::show::USUAL_ARRAY_SIZE;
use crate::scheduler::slurm::units::{Limit, limit};

const AREA: Area = Area::Limits;

/// All of it.
pub fn judge(config: &Config, cluster: &Cluster) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ask in [Ask::of_members(config), Ask::of_steps(config)] {
        let found = partition(&ask, cluster);
        let usable = ask.partitions(cluster).unwrap_or_default();
        findings.push(found);
        if usable.is_empty() {
            continue;
        }
        findings.extend(time(&ask, &usable, config));
        findings.extend(resources::judge(&ask, cluster));
        findings.extend(access(&ask, &usable, config, cluster));
        findings.push(preemption::judge(&ask, &usable, config, cluster));
    }
    findings.push(tasks(config, cluster));
    findings.extend(resources::device(config, cluster));
    findings.push(dependencies(cluster));
    // What is the cluster's trouble comes first, beside the rest of that.
    findings.sort_by_key(|finding| finding.area);
    findings
}

fn partition(ask: &Ask, cluster: &Cluster) -> Finding {
    let title = format!("partition of {}", ask.jobs);
    let known = || cluster.partitions.iter().map(|partition| &*partition.name).collect::<Vec<_>>().join(", ");
    let refused = "sbatch would refuse the jobs.";
    let partitions = match ask.partitions(cluster) {
        Err(name) => {
            let near = cluster.partitions.iter().max_by(|a, b| {
                strsim::jaro_winkler(name, &a.name).total_cmp(&strsim::jaro_winkler(name, &b.name))
            });
            let near = near.map_or(String::new(), |near| format!(" Did you mean {:?}?", near.name));
            return Finding::problem(
                AREA,
                &title,
                format!("{name:?} is none of this cluster's"),
                refused,
                format!("Change partition in {}.{near} (known: {})", ask.section, known()),
            );
        }
        Ok(partitions) => partitions,
    };
    if partitions.is_empty() {
        return Finding::problem(
            AREA,
            &title,
            "none is named, and the cluster has no default",
            refused,
            format!("Name one of {} as partition in {}.", known(), ask.section),
        );
    }
    let names = partitions.iter().map(|partition| &*partition.name).collect::<Vec<_>>().join(", ");
    let names = if ask.partition.is_some() { names } else { format!("{names} (the cluster's default)") };
    if !partitions.iter().any(|partition| partition.is_up()) {
        let states = partitions.iter().map(|partition| &*partition.state).collect::<Vec<_>>().join(", ");
        return Finding::problem(
            Area::Slurm,
            &title,
            format!("{names}: {states}"),
            "Jobs would wait until an administrator sets it UP, or be refused.",
            format!("Wait, or name another one in {} (`sinfo` tells why).", ask.section),
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
            "Jobs would wait until nodes come back.",
            format!("`sinfo -R -p {}` tells why.", partitions[0].name),
        ),
        _ => Finding::ok(AREA, &title, found),
    }
}

/// Whether the time limit is one that the partition allows, and long enough to be warned of.
fn time(ask: &Ask, partitions: &[&Partition], config: &Config) -> Option<Finding> {
    let title = format!("time limit of {}", ask.jobs);
    let longest = partitions.iter().map(|partition| partition.max_time.unwrap_or(Limit::Unlimited)).max()?;
    let members = ask.section == "[slurm]";
    let unwarned = "A task that reaches the limit is ended without an earlier warning, and does not come back by itself: \
                    its members wait until the whole array has ended, then the step submits them again.";
    let Some(text) = ask.time else {
        let by_default = partitions[0].default_time.or(partitions[0].max_time).unwrap_or(Limit::Unlimited);
        return Some(match by_default {
            Limit::Seconds(_) if members => Finding::warning(
                AREA,
                &title,
                format!("none is asked for; the partition gives {by_default}"),
                unwarned,
                format!(
                    "Set time in [slurm]{}: then a task is warned {} s before, snapshots and requeues \
                     itself.",
                    match longest {
                        Limit::Seconds(_) => format!(" (at most {longest})"),
                        Limit::Unlimited => String::new(),
                    },
                    config.slurm.warning_seconds
                ),
            ),
            by_default => {
                Finding::ok(AREA, &title, format!("none is asked for; the partition gives {by_default}"))
            }
        });
    };
    let Some(asked) = limit(text) else {
        return Some(Finding::problem(
            AREA,
            &title,
            format!("{text:?} is no time that sbatch understands"),
            "sbatch would refuse the jobs.",
            "Write minutes, HH:MM:SS, or DAYS-HH:MM:SS: \"04:00:00\", \"1-12:00:00\".",
        ));
    };
    if asked > longest {
        return Some(Finding::problem(
            AREA,
            &title,
            format!("{asked} is asked for, the partition allows {longest}"),
            "The jobs would be refused, or wait for ever (reason PartitionTimeLimit).",
            format!(
                "Set time in {} to {longest} or less{}.",
                ask.section,
                if members {
                    "; members snapshot and go on in their next turn, so a short limit costs little"
                } else {
                    ""
                }
            ),
        ));
    }
    let warning = u64::from(config.slurm.warning_seconds);
    // Only with time in [slurm] is a warning asked for, unless the user does it.
    let (own_signal, warned) = (ask.asks_for_signal(), config.slurm.time.is_some());
    if asked != Limit::Unlimited && members && !warned && !own_signal {
        return Some(Finding::warning(
            AREA,
            &title,
            format!("{asked}, by [slurm] extra"),
            unwarned,
            format!(
                "Write it as time in [slurm], not in extra: then a task is warned {warning} s before, snapshots and \
                 requeues itself."
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
            "Every task would be warned as soon as it starts, and put itself back into the queue, without end.",
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

/// How many tasks there are at a time, against the limits on arrays and queues.
fn tasks(config: &Config, cluster: &Cluster) -> Finding {
    const TITLE: &str = "number of tasks";
    let groups = config.search.population.div_ceil(config.slurm.members_per_task.max(1) as usize) as u64;
    let settings = &cluster.settings;
    let share =
        "Let several members share a task ([slurm] members_per_task), or make the population smaller.";
    if settings.max_array_size.is_some_and(|size| size <= 1) {
        return Finding::problem(
            AREA,
            TITLE,
            "the cluster allows no job arrays (MaxArraySize is 0 or 1)",
            "Members train as tasks of an array, which sbatch would refuse.",
            "Ask the administrators to raise MaxArraySize in slurm.conf, or use `pbtnas run` inside one large job.",
        );
    }
    // The step waits in the queue with them, and the one before it may still be there.
    let jobs = groups + 2;
    if let Some(most) = settings.max_job_count.filter(|most| jobs > *most) {
        return Finding::problem(
            AREA,
            TITLE,
            format!("{groups} tasks and a step; the cluster keeps {most} jobs in all (MaxJobCount)"),
            "The jobs would never get into the queue.",
            share,
        );
    }
    let account = config.slurm.account.as_deref();
    let limits = settings.limits_enforced;
    let partitions = Ask::of_members(config).partitions(cluster).unwrap_or_default();
    let own = holding(&cluster.associations, account, &partitions);
    // Which of several accounts counts is not known here: the most generous.
    let most = own.iter().map(|one| one.max_submit.unwrap_or(u64::MAX)).max();
    if let Some(most) = most.filter(|most| limits && jobs > *most) {
        return Finding::problem(
            AREA,
            TITLE,
            format!(
                "{groups} tasks and a step; your account allows {most} jobs in the queue (MaxSubmitJobs)"
            ),
            "sbatch would refuse the array each time.",
            share,
        );
    }
    let arrays = groups.div_ceil(u64::from(settings.max_array_size.unwrap_or(USUAL_ARRAY_SIZE)));
    let mut found = format!("{groups} for each generation");
    if arrays > 1 {
        found += &format!(", in {arrays} arrays (MaxArraySize)");
    }
    if let Some(most) = config.slurm.max_running {
        found += &format!(", {most} of them at a time ([slurm] max_running)");
    }
    let running = own.iter().map(|one| one.max_jobs.unwrap_or(u64::MAX)).max();
    if let Some(most) = running.filter(|most| limits && *most < groups) {
        found += &format!("; your account lets {most} run at a time");
    }
    Finding::ok(AREA, TITLE, found)
}

/// The associations whose limits hold for jobs in some partitions: of an account, the one for the partition, else the
/// one for all.
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

/// Account and quality of service.
fn access(ask: &Ask, partitions: &[&Partition], config: &Config, cluster: &Cluster) -> Option<Finding> {
    let refused = "sbatch would refuse the jobs.";
    let account = config.slurm.account.as_deref();
    let known = &cluster.associations;
    let checked = !known.is_empty() && cluster.settings.accounts_enforced;
    if let Some(name) = account.filter(|name| checked && known.iter().all(|one| one.account != **name)) {
        let mut names: Vec<&str> = known.iter().map(|one| &*one.account).collect();
        names.dedup();
        return Some(Finding::problem(
            AREA,
            &format!("account of {}", ask.jobs),
            format!("you have none called {name:?}"),
            refused,
            format!("Change account in [slurm]. Yours: {}.", names.join(", ")),
        ));
    }
    let may = |list: &Option<Vec<String>>, name: Option<&str>| {
        name.is_none_or(|name| list.as_ref().is_none_or(|list| list.iter().any(|one| one == name)))
    };
    // What keeps the jobs out of a partition: of what kind, the key, its value, and what would be let in.
    let bar = |partition: &Partition| {
        let account_key = "account in [slurm]";
        let bars =
            [("account", account_key, account, &partition.accounts), ("qos", "qos", ask.qos, &partition.qos)];
        let (what, key, name, list) = bars.into_iter().find(|(_, _, name, list)| !may(list, *name))?;
        let open = list.clone().unwrap_or_default().join(", ");
        Some((what, key, name.unwrap_or_default().to_owned(), open))
    };
    let closed: Vec<_> =
        partitions.iter().filter_map(|partition| Some((&*partition.name, bar(partition)?))).collect();
    let (partition, (what, key, name, open)) = closed.first()?;
    let title = format!("{what} of {}", ask.jobs);
    let found = format!("partition {partition} is not for {name:?}");
    let advice = format!("Change {key} (allowed there: {open}), or the partition in {}.", ask.section);
    Some(match closed.len() == partitions.len() {
        true => Finding::problem(AREA, &title, found, refused, advice),
        false => Finding::warning(
            AREA,
            &title,
            found,
            "Jobs would run in the other partitions only (or be refused, where SLURM is set to EnforcePartLimits=ALL).",
            advice,
        ),
    })
}

/// Whether a step that waits behind its array may be cancelled for it.
fn dependencies(cluster: &Cluster) -> Finding {
    let kills = cluster.settings.kills_invalid_dependencies;
    Finding::ok(
        AREA,
        "dependencies",
        match kills {
            true => {
                "a step waits until its array has ended, however it ended (afterany), so kill_invalid_depend, which is set \
                 here, does not meet it"
            }
            false => "a step waits until its array has ended, however it ended (afterany)",
        },
    )
}

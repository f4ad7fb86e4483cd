//! Processors, memory, GPUs and features that tasks ask for, and the nodes that could give them. Pure.

use super::finding::{Area, Finding};
use crate::config::{Config, TaskKind};
use crate::gpu::DeviceChoice;
use crate::scheduler::slurm::Ask;
use crate::scheduler::slurm::cluster::{Cluster, Node};
use crate::scheduler::slurm::units::{gres, mebibytes, satisfies};

const AREA: Area = Area::Limits;

/// Whether a node has what jobs ask for: each thing, then all of it at once.
pub fn judge(ask: &Ask, cluster: &Cluster) -> Option<Finding> {
    let title = format!("resources of {}", ask.jobs);
    let nodes = ask.nodes(cluster);
    if nodes.is_empty() {
        return None;
    }
    let asked_memory = match ask.memory {
        Some(text) => match mebibytes(text) {
            Some(memory) => Some(memory),
            None => {
                return Some(Finding::problem(
                    AREA,
                    &title,
                    format!("memory {text:?} is nothing that sbatch understands"),
                    "sbatch would refuse the jobs.",
                    format!(
                        "Write megabytes, or a number with M, G or T, as memory in {}: \"16G\".",
                        ask.section
                    ),
                ));
            }
        },
        None => None,
    };
    let asked_gres = ask.gres.map(gres).unwrap_or_default();
    let cpus =
        |node: &Node| ask.cpus.is_none_or(|asked| node.cpus.is_none_or(|cpus| u64::from(asked) <= cpus));
    let memory =
        |node: &Node| asked_memory.is_none_or(|asked| node.memory.is_none_or(|memory| asked <= memory));
    let lacks = |node: &Node| asked_gres.iter().find(|one| !satisfies(&node.gres, one)).cloned();
    // Of constraints a single word is understood here; sbatch itself judges the others.
    let word =
        ask.constraint.filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)));
    let feature = |node: &Node| word.is_none_or(|word| node.features.iter().any(|one| one == word));
    let refused = "sbatch would refuse the jobs (\"Requested node configuration is not available\").";
    let most =
        |value: fn(&Node) -> Option<u64>| nodes.iter().filter_map(|node| value(node)).max().unwrap_or(0);
    let problem =
        |found: String, advice: String| Some(Finding::problem(AREA, &title, found, refused, advice));

    if !nodes.iter().any(|node| cpus(node)) {
        let most = most(|node| node.cpus);
        return problem(
            format!("{} processors are asked for, the largest node has {most}", ask.cpus.unwrap_or(0)),
            format!("Set cpus in {} to {most} or less, or choose another partition.", ask.section),
        );
    }
    if !nodes.iter().any(|node| memory(node)) {
        let most = most(|node| node.memory);
        return problem(
            format!(
                "memory {} is asked for, the largest node has {most}M for jobs",
                ask.memory.unwrap_or_default()
            ),
            format!("Set memory in {} to {most}M or less, or choose another partition.", ask.section),
        );
    }
    if let Some(lacking) = nodes.iter().map(|node| lacks(node)).min_by_key(Option::is_some).flatten() {
        return problem(
            format!("{lacking} is asked for, no node of the partition has that"),
            format!("Change gres in {}, or the partition. {}", ask.section, what_nodes_have(cluster)),
        );
    }
    if !nodes.iter().any(|node| feature(node)) {
        let mut known: Vec<&str> = nodes.iter().flat_map(|node| &node.features).map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let known = if known.is_empty() { "none at all".into() } else { known.join(", ") };
        return problem(
            format!("constraint {:?}: no node of the partition has that feature", word.unwrap_or_default()),
            format!("Change constraint in {}. The nodes have {known}.", ask.section),
        );
    }
    let fitting =
        nodes.iter().filter(|node| cpus(node) && memory(node) && lacks(node).is_none() && feature(node));
    let found = asked(ask);
    match fitting.count() {
        0 => problem(
            format!("{found}: some nodes have the one, others the other, and none all of it"),
            format!(
                "Ask for less in {}; `sinfo -N -o \"%N %c %m %G %f\"` lists what each node has.",
                ask.section
            ),
        ),
        count => Some(Finding::ok(
            AREA,
            &title,
            format!("{found}: {count} of {} nodes could give that", nodes.len()),
        )),
    }
}

/// In words.
fn asked(ask: &Ask) -> String {
    let words = [
        ask.cpus.map(|cpus| format!("{cpus} processor(s)")),
        ask.memory.map(|memory| format!("memory {memory}")),
        ask.gres.map(str::to_owned),
        ask.constraint.map(str::to_owned),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "nothing special is asked for".into() } else { words.join(", ") }
}

/// Which partitions have which generic resources.
fn what_nodes_have(cluster: &Cluster) -> String {
    let mut have: Vec<String> = Vec::new();
    for node in cluster.nodes.iter().filter(|node| !node.gres.is_empty()) {
        let gres = node.gres.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let line = format!("{gres} in {}", node.partitions.join(", "));
        if !have.contains(&line) {
            have.push(line);
        }
    }
    match have.is_empty() {
        true => "No node of this cluster has any.".into(),
        false => format!("Nodes have {}.", have.join("; ")),
    }
}

/// Whether what members train on goes with what their tasks ask for.
pub fn device(config: &Config, cluster: &Cluster) -> Vec<Finding> {
    let (device, threads) = match config.task.kind {
        TaskKind::Gan => (config.gan.device, config.gan.threads.max(1) as u64),
        TaskKind::Rl => (config.rl.device, config.rl.threads.max(1) as u64),
        TaskKind::Command => match &config.command {
            Some(command) => (command.device, u64::from(command.threads)),
            None => return Vec::new(),
        },
        TaskKind::Synthetic => return Vec::new(),
    };
    let ask = Ask::of_members(config);
    let asks = ask.asks_for_gpu();
    let there = ask.nodes(cluster).iter().any(|node| node.gres.iter().any(|one| one.name == "gpu"));
    let mut findings = Vec::new();
    let way_out = "Set gres = \"gpu:1\" in [slurm]";
    match (device, asks) {
        (DeviceChoice::Cuda, false) => findings.push(Finding::warning(
            AREA,
            "GPU of members",
            "device = \"cuda\", but the tasks ask for no GPU",
            "On most clusters a task sees only GPUs that it asked for: every member would fail at once.",
            format!("{way_out}, or device = \"cpu\"."),
        )),
        (DeviceChoice::Auto, false) if there => findings.push(Finding::warning(
            AREA,
            "GPU of members",
            "the partition's nodes have GPUs, but the tasks ask for none",
            "On most clusters a task sees only GPUs that it asked for: members would train on the CPU, slowly.",
            format!("{way_out}; if the CPU is meant, set device = \"cpu\"."),
        )),
        (DeviceChoice::Cpu, true) => findings.push(Finding::warning(
            AREA,
            "GPU of members",
            "the tasks ask for a GPU, but device = \"cpu\"",
            "The GPUs would be taken and not used.",
            "Set device = \"auto\", or leave gres out of [slurm].",
        )),
        _ => {}
    }
    let members = u64::from(config.slurm.members_per_task.max(1));
    let (wanted, cpus) = (threads * members, u64::from(ask.cpus.unwrap_or(1)));
    if wanted > cpus && !ask.is_exclusive() {
        findings.push(Finding::warning(
            AREA,
            "processors of members",
            format!("{members} member(s) of {threads} thread(s) in a task of {cpus} processor(s)"),
            "They would wait for each other.",
            format!("Set cpus = {wanted} in [slurm], or fewer threads or members_per_task."),
        ));
    }
    findings
}

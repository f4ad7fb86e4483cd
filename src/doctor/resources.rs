//! Requested processors, memory, GPUs and features, compared with the nodes. Pure.

use super::finding::{Area, Finding};
use pbtnas_engine::config::Config;
use pbtnas_engine::device::{Compute, DeviceChoice};
use pbtnas_engine::scheduler::slurm::JobRequest;
use pbtnas_engine::scheduler::slurm::cluster::{ClusterInfo, NodeInfo};
use pbtnas_engine::scheduler::slurm::units::{gres, mebibytes, satisfies};

const AREA: Area = Area::Limits;

/// Checks that a node has each requested resource, then all of them.
pub fn check(request: &JobRequest, cluster: &ClusterInfo) -> Option<Finding> {
    let title = format!("resources of {}", request.jobs);
    let nodes = request.nodes(cluster);
    if nodes.is_empty() {
        return None;
    }
    let asked_memory = match request.get("memory") {
        Some(text) => match mebibytes(text) {
            Some(memory) => Some(memory),
            None => {
                return Some(Finding::problem(
                    AREA,
                    &title,
                    format!("invalid memory {text:?}"),
                    "sbatch would reject the jobs.",
                    format!(
                        "Set memory in {} to megabytes or a number with M, G or T: \"16G\".",
                        request.section
                    ),
                ));
            }
        },
        None => None,
    };
    let asked_gres = request.get("gres").map(gres).unwrap_or_default();
    let cpus = |node: &NodeInfo| {
        request.cpus().is_none_or(|asked| node.cpus.is_none_or(|cpus| u64::from(asked) <= cpus))
    };
    let memory =
        |node: &NodeInfo| asked_memory.is_none_or(|asked| node.memory.is_none_or(|memory| asked <= memory));
    let lacks = |node: &NodeInfo| asked_gres.iter().find(|one| !satisfies(&node.gres, one)).cloned();
    // Only single-word constraints are checked here; sbatch checks the others.
    let word = request
        .get("constraint")
        .filter(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)));
    let feature = |node: &NodeInfo| word.is_none_or(|word| node.features.iter().any(|one| one == word));
    let refused = "sbatch would reject the jobs (\"Requested node configuration is not available\").";
    let most =
        |value: fn(&NodeInfo) -> Option<u64>| nodes.iter().filter_map(|node| value(node)).max().unwrap_or(0);
    let problem =
        |found: String, advice: String| Some(Finding::problem(AREA, &title, found, refused, advice));

    if !nodes.iter().any(|node| cpus(node)) {
        let most = most(|node| node.cpus);
        return problem(
            format!("{} processors are requested, the largest node has {most}", request.cpus().unwrap_or(0)),
            format!("Set cpus in {} to {most} or less, or choose another partition.", request.section),
        );
    }
    if !nodes.iter().any(|node| memory(node)) {
        let most = most(|node| node.memory);
        return problem(
            format!(
                "memory {} is requested, the largest node has {most}M for jobs",
                request.get("memory").unwrap_or_default()
            ),
            format!("Set memory in {} to {most}M or less, or choose another partition.", request.section),
        );
    }
    if let Some(lacking) = nodes.iter().map(|node| lacks(node)).min_by_key(Option::is_some).flatten() {
        return problem(
            format!("{lacking} is requested, but no node of the partition has it"),
            format!("Change gres in {}, or the partition. {}", request.section, what_nodes_have(cluster)),
        );
    }
    if !nodes.iter().any(|node| feature(node)) {
        let mut known: Vec<&str> = nodes.iter().flat_map(|node| &node.features).map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let known = if known.is_empty() { "no features".into() } else { known.join(", ") };
        return problem(
            format!("constraint {:?}: no node of the partition has that feature", word.unwrap_or_default()),
            format!("Change constraint in {}. The nodes have {known}.", request.section),
        );
    }
    let fitting =
        nodes.iter().filter(|node| cpus(node) && memory(node) && lacks(node).is_none() && feature(node));
    let found = asked(request);
    match fitting.count() {
        0 => problem(
            format!("{found}: no node has all of it"),
            format!(
                "Request less in {}; `sinfo -N -o \"%N %c %m %G %f\"` lists the resources of each node.",
                request.section
            ),
        ),
        count => {
            Some(Finding::ok(AREA, &title, format!("{found}: {count} of {} nodes have that", nodes.len())))
        }
    }
}

/// Describes a request.
fn asked(request: &JobRequest) -> String {
    let words = [
        request.cpus().map(|cpus| format!("{cpus} processor(s)")),
        request.get("memory").map(|memory| format!("memory {memory}")),
        request.get("gres").map(str::to_owned),
        request.get("constraint").map(str::to_owned),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "no special requests".into() } else { words.join(", ") }
}

/// Lists the generic resources of the nodes per partition.
fn what_nodes_have(cluster: &ClusterInfo) -> String {
    let mut have: Vec<String> = Vec::new();
    for node in cluster.nodes.iter().filter(|node| !node.gres.is_empty()) {
        let gres = node.gres.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let line = format!("{gres} in {}", node.partitions.join(", "));
        if !have.contains(&line) {
            have.push(line);
        }
    }
    match have.is_empty() {
        true => "No node of this cluster has generic resources.".into(),
        false => format!("Nodes have {}.", have.join("; ")),
    }
}

/// Checks that the device and threads of members agree with the requests of their tasks.
pub fn device(config: &Config, cluster: &ClusterInfo) -> Vec<Finding> {
    let Some(Compute { device, threads, .. }) = config.task.settings.compute() else { return Vec::new() };
    let request = JobRequest::of_members(config);
    let asks = request.requests_gpu();
    let there = request.nodes(cluster).iter().any(|node| node.gres.iter().any(|one| one.name == "gpu"));
    let mut findings = Vec::new();
    let advice = "Set gres = \"gpu:1\" in [slurm]";
    match (device, asks) {
        (DeviceChoice::Cuda, false) => findings.push(Finding::warning(
            AREA,
            "GPU of members",
            "device = \"cuda\", but the tasks do not request a GPU",
            "On most clusters a task sees only the GPUs that it requests: every member would fail at once.",
            format!("{advice}, or device = \"cpu\"."),
        )),
        (DeviceChoice::Auto, false) if there => findings.push(Finding::warning(
            AREA,
            "GPU of members",
            "the nodes of the partition have GPUs, but the tasks do not request one",
            "On most clusters a task sees only the GPUs that it requests: members would train on the CPU.",
            format!("{advice}, or device = \"cpu\" to train on the CPU."),
        )),
        (DeviceChoice::Cpu, true) => findings.push(Finding::warning(
            AREA,
            "GPU of members",
            "the tasks request a GPU, but device = \"cpu\"",
            "The GPUs would be allocated but not used.",
            "Set device = \"auto\", or remove gres from [slurm].",
        )),
        _ => {}
    }
    let members = u64::from(config.slurm.members_per_task.max(1));
    let (wanted, cpus) = (threads * members, u64::from(request.cpus().unwrap_or(1)));
    if wanted > cpus && !request.is_exclusive() {
        findings.push(Finding::warning(
            AREA,
            "processors of members",
            format!("{members} member(s) with {threads} thread(s) each in a task with {cpus} processor(s)"),
            "The threads would share processors and train slowly.",
            format!("Set cpus = {wanted} in [slurm], or lower threads or members_per_task."),
        ));
    }
    findings
}

//! The resource requests of a kind of job, including options in `extra`.

use std::collections::BTreeMap;

use super::cluster::{ClusterInfo, NodeInfo, Partition};
use super::options::{OPTIONS, OptionScope, value_of};
use super::units::gres;
use crate::config::Config;

/// sbatch's options that request GPUs by number, long and short.
const GPU_FLAGS: [(&str, &str); 4] =
    [("--gpus", "-G"), ("--gpus-per-node", ""), ("--gpus-per-task", ""), ("--gpus-per-socket", "")];

/// The request of a kind of job.
#[derive(Debug, Clone, Default)]
pub struct JobRequest<'a> {
    /// The section of the configuration.
    pub section: &'static str,
    /// The name of these jobs in messages.
    pub jobs: &'static str,
    /// Values by key. Options without a value are left to the cluster's defaults.
    values: BTreeMap<&'static str, &'a str>,
    /// Additional options.
    extra: &'a [String],
}

impl<'a> JobRequest<'a> {
    /// The request of a training job.
    pub fn of_members(config: &'a Config) -> Self {
        let slurm = &config.slurm;
        let values = OPTIONS.iter().filter_map(|option| Some((option.key, slurm.get(option.key)?)));
        Self { section: "[slurm]", jobs: "members", values: values.collect(), extra: &slurm.extra }
            .with_extra()
    }

    /// The request of a controller job.
    pub fn of_controller(config: &'a Config) -> Self {
        let (slurm, controller) = (&config.slurm, &config.slurm.controller);
        let values = OPTIONS.iter().filter_map(|option| {
            let value = match option.scope {
                OptionScope::All => slurm.get(option.key),
                OptionScope::Both => controller.options.get(option.key),
                OptionScope::Members => None,
            };
            Some((option.key, value?))
        });
        Self {
            section: "[slurm.controller]",
            jobs: "controller jobs",
            values: values.collect(),
            extra: &controller.extra,
        }
        .with_extra()
    }

    /// Applies the options in `extra`: sbatch uses the last of repeated options.
    fn with_extra(mut self) -> Self {
        for option in &OPTIONS {
            self.values
                .extend(value_of(self.extra, option.flag, option.short).map(|value| (option.key, value)));
        }
        self
    }

    /// The value of a key of [`OPTIONS`].
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).copied()
    }

    /// CPUs per task.
    pub fn cpus(&self) -> Option<u32> {
        self.get("cpus")?.parse().ok()
    }

    /// GPUs of a task, by any of sbatch's options; none if it requests none, or as many as the node has.
    pub fn gpus(&self) -> u64 {
        let count = |text: &str| {
            text.split(',').map(|one| one.rsplit(':').next().and_then(|n| n.parse().ok()).unwrap_or(1)).sum()
        };
        let named = |text: &str| -> u64 {
            gres(text).iter().filter(|one| one.name == "gpu").map(|one| one.count).sum()
        };
        let by_flag =
            GPU_FLAGS.iter().filter_map(|(long, short)| value_of(self.extra, long, short)).map(count);
        let by_name =
            [self.get("gres"), value_of(self.extra, "--tres-per-task", "")].into_iter().flatten().map(named);
        by_flag.chain(by_name).max().unwrap_or(0)
    }

    /// Whether the tasks request whole nodes and all of their resources. `--exclusive=user` and `=mcs` only restrict
    /// sharing.
    pub fn is_exclusive(&self) -> bool {
        self.extra.iter().any(|word| word == "--exclusive")
    }

    /// Whether the tasks request a GPU with any of sbatch's options.
    pub fn requests_gpu(&self) -> bool {
        let mut named = self.get("gres").map(gres).unwrap_or_default();
        named.extend(value_of(self.extra, "--tres-per-task", "").map(gres).unwrap_or_default());
        named.iter().any(|one| ["gpu", "shard", "mps"].contains(&&*one.name))
            || self.is_exclusive()
            || GPU_FLAGS.iter().any(|(long, short)| value_of(self.extra, long, short).is_some())
    }

    /// Whether `extra` requests its own signal before the time limit.
    pub fn requests_signal(&self) -> bool {
        value_of(self.extra, "--signal", "").is_some()
    }

    /// Whether `extra` disables requeueing.
    pub fn disables_requeue(&self) -> bool {
        self.extra.iter().any(|word| word == "--no-requeue")
    }

    /// The partitions that the jobs may run in. The error is the first unknown name.
    pub fn partitions<'c>(&self, cluster: &'c ClusterInfo) -> Result<Vec<&'c Partition>, &'a str> {
        match self.get("partition") {
            None => Ok(cluster.default_partition().into_iter().collect()),
            Some(names) => names
                .split(',')
                .map(|name| cluster.partitions.iter().find(|partition| partition.name == name).ok_or(name))
                .collect(),
        }
    }

    /// The nodes of these partitions.
    pub fn nodes<'c>(&self, cluster: &'c ClusterInfo) -> Vec<&'c NodeInfo> {
        self.partitions(cluster).map(|partitions| cluster.nodes_of(&partitions)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn gpu_requests_of_every_option_are_recognised() {
        for extra in [
            "-G1",
            "--gpus=1",
            "--gpus-per-node=a100:1",
            "--gpus-per-socket=1",
            "--gpus-per-task=1",
            "--tres-per-task=gres/gpu:1",
            "--tres-per-task=cpu:4,gres/gpu:a100:1",
            "--exclusive",
        ] {
            assert!(JobRequest { extra: &words(extra), ..JobRequest::default() }.requests_gpu(), "{extra}");
        }
        for extra in ["", "--tres-per-task=cpu:4", "--exclusive=user", "--gpu-bind=none", "--get-user-env"] {
            assert!(!JobRequest { extra: &words(extra), ..JobRequest::default() }.requests_gpu(), "{extra}");
        }
    }

    #[test]
    fn gpus_are_counted_whatever_option_requests_them() {
        for (extra, count) in [
            ("-G2", 2),
            ("--gpus=a100:4", 4),
            ("--gpus-per-node=1", 1),
            ("--gres=gpu:3", 3),
            ("--gres=gpu:a100:2,shard:1", 2),
            ("--tres-per-task=cpu:4,gres/gpu:2", 2),
            ("--gpus=a100", 1),
            ("--mem=4G", 0),
        ] {
            let extra_words = words(extra);
            let request = JobRequest { extra: &extra_words, ..JobRequest::default() }.with_extra();
            assert_eq!(request.gpus(), count, "{extra}");
        }
    }

    #[test]
    fn only_exclusive_without_a_value_takes_whole_nodes() {
        let is = |extra| JobRequest { extra: &words(extra), ..JobRequest::default() }.is_exclusive();
        assert!(is("--exclusive"));
        assert!(!is("--exclusive=user") && !is("--exclusive=mcs") && !is(""));
    }

    #[test]
    fn the_last_of_repeated_options_counts_in_long_and_short_form() {
        let extra = words("-pa --partition=b -qlong -t30 --signal=USR1@60");
        let ask = JobRequest {
            values: BTreeMap::from([("partition", "x")]),
            extra: &extra,
            ..JobRequest::default()
        };
        assert!(ask.requests_signal());
        let ask = ask.with_extra();
        assert_eq!(
            (ask.get("partition"), ask.get("qos"), ask.get("time")),
            (Some("b"), Some("long"), Some("30"))
        );
    }
}

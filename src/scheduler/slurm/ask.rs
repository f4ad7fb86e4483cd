//! What jobs of one kind ask the cluster for, options among `extra` included.

use super::cluster::{Cluster, Node, Partition};
use super::units::gres;
use crate::config::Config;
use crate::scheduler::script::value_of;

/// See the module; none leaves it to the cluster.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    /// The section that says so.
    pub section: &'static str,
    /// What the jobs are called here.
    pub jobs: &'static str,
    /// One, or several with commas.
    pub partition: Option<&'a str>,
    /// Quality of service.
    pub qos: Option<&'a str>,
    /// Generic resources, commas between them.
    pub gres: Option<&'a str>,
    /// Memory of a node.
    pub memory: Option<&'a str>,
    /// Time limit.
    pub time: Option<&'a str>,
    /// Features of a node.
    pub constraint: Option<&'a str>,
    /// Processors of a task.
    pub cpus: Option<u32>,
    /// All further options.
    pub extra: &'a [String],
}

impl<'a> Ask<'a> {
    /// What a training task asks for.
    pub fn of_members(config: &'a Config) -> Self {
        let slurm = &config.slurm;
        Self {
            section: "[slurm]",
            jobs: "members",
            partition: slurm.partition.as_deref(),
            qos: slurm.qos.as_deref(),
            gres: slurm.gres.as_deref(),
            memory: slurm.memory.as_deref(),
            time: slurm.time.as_deref(),
            constraint: slurm.constraint.as_deref(),
            cpus: slurm.cpus,
            extra: &slurm.extra,
        }
        .with_extra()
    }

    /// What a step asks for.
    pub fn of_steps(config: &'a Config) -> Self {
        let step = &config.slurm.step;
        Self {
            section: "[slurm.step]",
            jobs: "steps",
            partition: step.partition.as_deref(),
            qos: step.qos.as_deref(),
            memory: step.memory.as_deref(),
            time: step.time.as_deref(),
            extra: &step.extra,
            ..Self::default()
        }
        .with_extra()
    }

    /// sbatch believes the last of two options: those of `extra`.
    fn with_extra(mut self) -> Self {
        let extra = self.extra;
        let option = |long: &str, short: &str| value_of(extra, long, short);
        self.partition = option("--partition", "-p").or(self.partition);
        self.qos = option("--qos", "-q").or(self.qos);
        self.gres = option("--gres", "").or(self.gres);
        self.memory = option("--mem", "").or(self.memory);
        self.time = option("--time", "-t").or(self.time);
        self.constraint = option("--constraint", "-C").or(self.constraint);
        self.cpus = option("--cpus-per-task", "-c").and_then(|count| count.parse().ok()).or(self.cpus);
        self
    }

    /// Whether the tasks ask for whole nodes, and so for all that is in them. With `=user` and the like they only do
    /// not share them with everybody.
    pub fn is_exclusive(&self) -> bool {
        self.extra.iter().any(|word| word == "--exclusive")
    }

    /// Whether they ask for a GPU, in any of sbatch's ways.
    pub fn asks_for_gpu(&self) -> bool {
        const OPTIONS: [(&str, &str); 4] =
            [("--gpus", "-G"), ("--gpus-per-node", ""), ("--gpus-per-task", ""), ("--gpus-per-socket", "")];
        let mut named = self.gres.map(gres).unwrap_or_default();
        named.extend(value_of(self.extra, "--tres-per-task", "").map(gres).unwrap_or_default());
        named.iter().any(|one| ["gpu", "shard", "mps"].contains(&&*one.name))
            || self.is_exclusive()
            || OPTIONS.iter().any(|(long, short)| value_of(self.extra, long, short).is_some())
    }

    /// Whether they ask for a signal of their own before the time limit.
    pub fn asks_for_signal(&self) -> bool {
        value_of(self.extra, "--signal", "").is_some()
    }

    /// Whether they ask not to be requeued.
    pub fn stays_away(&self) -> bool {
        self.extra.iter().any(|word| word == "--no-requeue")
    }

    /// The partitions that the jobs may run in; a name that the cluster does not have is the error.
    pub fn partitions<'c>(&self, cluster: &'c Cluster) -> Result<Vec<&'c Partition>, &'a str> {
        match self.partition {
            None => Ok(cluster.default_partition().into_iter().collect()),
            Some(names) => names
                .split(',')
                .map(|name| cluster.partitions.iter().find(|partition| partition.name == name).ok_or(name))
                .collect(),
        }
    }

    /// Their nodes.
    pub fn nodes<'c>(&self, cluster: &'c Cluster) -> Vec<&'c Node> {
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
    fn gpus_in_each_of_sbatch_s_ways() {
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
            assert!(Ask { extra: &words(extra), ..Ask::default() }.asks_for_gpu(), "{extra}");
        }
        for extra in ["", "--tres-per-task=cpu:4", "--exclusive=user", "--gpu-bind=none", "--get-user-env"] {
            assert!(!Ask { extra: &words(extra), ..Ask::default() }.asks_for_gpu(), "{extra}");
        }
    }

    #[test]
    fn only_the_bare_word_takes_whole_nodes() {
        let is = |extra| Ask { extra: &words(extra), ..Ask::default() }.is_exclusive();
        assert!(is("--exclusive"));
        assert!(!is("--exclusive=user") && !is("--exclusive=mcs") && !is(""));
    }

    #[test]
    fn the_last_of_two_options_counts_however_it_is_written() {
        let extra = words("-pa --partition=b -qlong -t30 --signal=USR1@60");
        let ask = Ask { partition: Some("x"), extra: &extra, ..Ask::default() };
        assert!(ask.asks_for_signal());
        let ask = ask.with_extra();
        assert_eq!((ask.partition, ask.qos, ask.time), (Some("b"), Some("long"), Some("30")));
    }
}

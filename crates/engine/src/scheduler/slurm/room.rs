//! How many members fit into a job's allocation, and the resources of each. Pure.

use super::show::NodeAllocation;
use super::units::{Gres, satisfies};

/// The demand of a member, or of the members that share a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub cpus: u64,
    /// In MiB.
    pub memory: Option<u64>,
    pub gres: Vec<Gres>,
}

/// The capacity of a job for job steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Number of concurrent job steps.
    pub steps: u64,
    /// CPUs of each job step. SLURM allocates whole cores, but accounts for them only if whole cores are requested.
    pub cpus: u64,
    /// MiB of each job step, where SLURM tracks memory: a step without a request takes all of the job's memory on its
    /// node.
    pub memory: Option<u64>,
}

/// The capacity of all nodes of a job. A job step does not span nodes.
pub fn room(shares: &[NodeAllocation], need: &Demand, cpus_per_core: u64) -> Capacity {
    let cpus = need.cpus.next_multiple_of(cpus_per_core.max(1));
    let on_one = |share: &NodeAllocation| {
        let of_memory = need.memory.filter(|memory| *memory > 0 && share.memory > 0);
        let of_memory = of_memory.map(|memory| share.memory / memory);
        let of_gres = need.gres.iter().map(|one| times(&share.gres, one));
        of_gres.chain(of_memory).chain([share.cpus / cpus.max(1)]).min().unwrap_or(0)
    };
    let counts: Vec<u64> = shares.iter().map(on_one).collect();
    let split = || {
        let of_steps = shares.iter().zip(&counts).filter(|(share, count)| share.memory > 0 && **count > 0);
        of_steps.map(|(share, count)| share.memory / count).min()
    };
    Capacity {
        steps: shares.iter().zip(&counts).map(|(share, count)| share.nodes.saturating_mul(*count)).sum(),
        cpus,
        memory: need.memory.or_else(split),
    }
}

/// How many times the available resources satisfy a request.
fn times(there: &[Gres], asked: &Gres) -> u64 {
    let held =
        |count: u64| satisfies(there, &Gres { count: asked.count.saturating_mul(count), ..asked.clone() });
    let all = there.iter().map(|one| one.count).fold(0, u64::saturating_add);
    let most = all / asked.count.max(1);
    (1..=most.min(1000)).take_while(|count| held(*count)).last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::slurm::units::gres;

    fn share(nodes: u64, cpus: u64, memory: u64, has: &str) -> NodeAllocation {
        NodeAllocation { nodes, cpus, memory, gres: gres(has) }
    }

    fn need(cpus: u64, memory: Option<u64>, asks: &str) -> Demand {
        Demand { cpus, memory, gres: gres(asks) }
    }

    #[test]
    fn capacity_is_counted_node_by_node() {
        let steps = |shares: &[NodeAllocation], need| room(shares, &need, 1).steps;
        let two = [share(4, 2, 0, "gpu:1"), share(1, 1, 0, "")];
        assert_eq!(steps(&two, need(1, None, "")), 9);
        assert_eq!(steps(&two, need(2, None, "")), 4);
        assert_eq!(steps(&two, need(1, None, "gpu:1")), 4);
        assert_eq!(steps(&two, need(3, None, "")), 0);
        assert_eq!(steps(&two, need(1, None, "gpu:2")), 0);
        let big = [share(2, 64, 100_000, "gpu:a100:4(IDX:0-3)")];
        assert_eq!(steps(&big, need(8, None, "gpu:a100:1")), 8);
        assert_eq!(steps(&big, need(8, None, "gpu:h100:1")), 0);
        assert_eq!(steps(&big, need(8, Some(30_000), "gpu:1")), 6);
        assert_eq!(steps(&[], need(1, None, "")), 0);
    }

    #[test]
    fn cores_are_not_shared_and_tracked_memory_is_split() {
        let threads = [share(2, 4, 2000, "")];
        assert_eq!(room(&threads, &need(1, None, ""), 2), Capacity { steps: 4, cpus: 2, memory: Some(1000) });
        assert_eq!(room(&threads, &need(3, None, ""), 2), Capacity { steps: 2, cpus: 4, memory: Some(2000) });
        let asked = room(&threads, &need(1, Some(500), ""), 1);
        assert_eq!(asked, Capacity { steps: 8, cpus: 1, memory: Some(500) });
        let uncounted = room(&[share(2, 4, 0, "")], &need(1, None, ""), 1);
        assert_eq!(uncounted, Capacity { steps: 8, cpus: 1, memory: None });
    }
}

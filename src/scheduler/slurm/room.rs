//! How many members a job has room for, and what each gets of it. Pure.

use super::show::Share;
use super::units::{Gres, satisfies};

/// What one member, or several that share a task, asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Processors.
    pub cpus: u64,
    /// MiB.
    pub memory: Option<u64>,
    /// Generic resources.
    pub gres: Vec<Gres>,
}

/// What a step of the job is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Steps at a time.
    pub steps: u64,
    /// Processors of each. SLURM gives whole cores away and counts them only where it is asked for whole cores.
    pub cpus: u64,
    /// MiB of each, where the job's memory is counted: a step that names none takes all of its node.
    pub memory: Option<u64>,
}

/// The room that the nodes of a job have together. Nothing goes over the border of a node.
pub fn room(shares: &[Share], need: &Need, cpus_per_core: u64) -> Room {
    let cpus = need.cpus.next_multiple_of(cpus_per_core.max(1));
    let on_one = |share: &Share| {
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
    Room {
        steps: shares.iter().zip(&counts).map(|(share, count)| share.nodes.saturating_mul(*count)).sum(),
        cpus,
        memory: need.memory.or_else(split),
    }
}

/// How many times what there is holds what is asked for.
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

    fn share(nodes: u64, cpus: u64, memory: u64, has: &str) -> Share {
        Share { nodes, cpus, memory, gres: gres(has) }
    }

    fn need(cpus: u64, memory: Option<u64>, asks: &str) -> Need {
        Need { cpus, memory, gres: gres(asks) }
    }

    #[test]
    fn members_fit_into_nodes_one_by_one() {
        let steps = |shares: &[Share], need| room(shares, &need, 1).steps;
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
    fn cores_are_not_shared_and_memory_is_split_where_it_is_counted() {
        let threads = [share(2, 4, 2000, "")];
        assert_eq!(room(&threads, &need(1, None, ""), 2), Room { steps: 4, cpus: 2, memory: Some(1000) });
        assert_eq!(room(&threads, &need(3, None, ""), 2), Room { steps: 2, cpus: 4, memory: Some(2000) });
        let asked = room(&threads, &need(1, Some(500), ""), 1);
        assert_eq!(asked, Room { steps: 8, cpus: 1, memory: Some(500) });
        let uncounted = room(&[share(2, 4, 0, "")], &need(1, None, ""), 1);
        assert_eq!(uncounted, Room { steps: 8, cpus: 1, memory: None });
    }
}

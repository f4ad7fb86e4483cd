//! Facts about a run that do not change while it is watched.

use chrono::TimeDelta;

use pbtnas_core::run::BestOf;
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::slurm::gpus_per_member;

/// The fixed facts of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    pub run_id: String,
    pub algorithm: String,
    pub task: &'static str,
    /// The run directory.
    pub folder: String,
    /// The generations whose best member counts.
    pub best_of: BestOf,
    /// Epochs of the whole search.
    pub epochs: u32,
    /// Generations of the whole search.
    pub generations: u32,
    /// A process without a heartbeat for this long is considered dead.
    pub heartbeat_timeout: TimeDelta,
    /// GPUs per member of a SLURM task; a fraction if members share one.
    pub gpus: f64,
}

impl RunInfo {
    pub fn new(run: &Run) -> Self {
        let search = &run.config.search;
        let next = |&from: &u32| search.schedule().ok()?.next_boundary(from);
        let timeout = i64::try_from(run.config.storage.retry_seconds).unwrap_or(i64::MAX / 1000);
        Self {
            run_id: run.record.run_id.clone(),
            algorithm: search.algorithm.to_string(),
            task: run.config.task.kind,
            folder: run.layout.root().display().to_string(),
            best_of: run.terms.best_of,
            epochs: search.epochs,
            generations: std::iter::successors(next(&0), next).count() as u32,
            heartbeat_timeout: TimeDelta::try_seconds(timeout).unwrap_or(TimeDelta::MAX),
            gpus: gpus_per_member(&run.config),
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A run with generations of two epochs.
    pub fn run_info(generations: u32) -> RunInfo {
        RunInfo {
            run_id: "7b3ceabf".into(),
            algorithm: "pbt-nas".into(),
            task: "synthetic",
            folder: "/home/me/runs/first".into(),
            best_of: BestOf::AllGenerations,
            epochs: 2 * generations,
            generations,
            heartbeat_timeout: TimeDelta::seconds(600),
            gpus: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_engine::config::Config;
    use pbtnas_engine::create::create;

    #[test]
    fn generations_and_gpus_from_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let text = "seed = 7\n[search]\npopulation = 4\nepochs = 8\ntau = 0.5\n\
                    epochs_per_generation = [{ epochs = 1, until = 2 }, { epochs = 4 }]\n[task]\nkind = \"synthetic\"\n\
                    [slurm]\ngres = \"gpu:a100:1\"\nmembers_per_task = 4\n";
        let config = Config::parse(std::path::Path::new("run.toml"), text).unwrap();
        let run = create(&dir.path().join("run"), &config, config.task().as_ref()).unwrap().0;
        let info = RunInfo::new(&run);
        assert_eq!((info.epochs, info.generations, info.gpus), (8, 4, 0.25));
    }
}

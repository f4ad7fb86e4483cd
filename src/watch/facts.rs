//! What does not change while a run is watched.

use chrono::TimeDelta;

use crate::config::TaskKind;
use crate::scheduler::gpus_of_a_member;
use crate::state::Run;

/// What is known of a run from its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its id.
    pub run_id: String,
    /// What is searched with.
    pub algorithm: String,
    /// What is trained.
    pub task: &'static str,
    /// Its directory.
    pub folder: String,
    /// Epochs of the search.
    pub epochs: u32,
    /// Generations of the search.
    pub generations: u32,
    /// Time without a sign of life after which a process is taken for dead.
    pub patience: TimeDelta,
    /// GPUs that a member has while it trains as a job: one that four members share is a quarter for each.
    pub gpus: f64,
}

impl Facts {
    /// Of a run.
    pub fn of(run: &Run) -> Self {
        let (search, slurm) = (&run.config.search, &run.config.slurm);
        let next = |&from: &u32| search.schedule().ok()?.next_boundary(from);
        let patience = i64::try_from(run.config.storage.patience_seconds).unwrap_or(i64::MAX / 1000);
        Self {
            run_id: run.record.run_id.clone(),
            algorithm: search.algorithm.to_string(),
            task: match run.config.task.kind {
                TaskKind::Gan => "gan",
                TaskKind::Command => "command",
                TaskKind::Rl => "rl",
                TaskKind::Synthetic => "synthetic",
            },
            folder: run.layout.root().display().to_string(),
            epochs: search.epochs,
            generations: std::iter::successors(next(&0), next).count() as u32,
            patience: TimeDelta::try_seconds(patience).unwrap_or(TimeDelta::MAX),
            gpus: gpus_of_a_member(slurm),
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Of a run with generations of two epochs.
    pub fn facts(generations: u32) -> Facts {
        Facts {
            run_id: "7b3ceabf".into(),
            algorithm: "pbt-nas".into(),
            task: "synthetic",
            folder: "/home/me/runs/first".into(),
            epochs: 2 * generations,
            generations,
            patience: TimeDelta::seconds(600),
            gpus: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::create::create;

    #[test]
    fn generations_and_gpus_follow_from_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let text = "seed = 7\n[search]\npopulation = 4\nepochs = 8\ntau = 0.5\n\
                    epochs_per_step = [{ epochs = 1, until = 2 }, { epochs = 4 }]\n[task]\nkind = \"synthetic\"\n\
                    [slurm]\ngres = \"gpu:a100:1\"\nmembers_per_task = 4\n";
        let config = Config::parse(std::path::Path::new("run.toml"), text).unwrap();
        let run = create(&dir.path().join("run"), &config, config.task().unwrap().as_ref()).unwrap().0;
        let facts = Facts::of(&run);
        assert_eq!((facts.epochs, facts.generations, facts.gpus), (8, 4, 0.25));
    }
}

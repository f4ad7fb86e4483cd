//! A run that takes part in a comparison.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::RunValues;
use crate::state::Run;

/// The name under which fitness stands among the metrics.
pub const FITNESS: &str = "fitness";

/// A run, and what it counts with.
#[derive(Debug)]
pub struct Entrant {
    /// The directory, as given: what is told about it should be what was typed.
    pub path: PathBuf,
    /// The run.
    pub run: Run,
    /// The last generation behind its values.
    pub generation: u32,
    /// Epochs complete with that generation.
    pub epoch: u32,
    /// The value of each metric.
    pub metrics: BTreeMap<String, f64>,
}

/// The numbers that a run counts with: those of its best member, with its fitness as `fitness`. None if there is
/// no such member yet.
pub fn final_metrics(run: &Run) -> Result<Option<BTreeMap<String, f64>>> {
    Ok(run.best()?.map(|best| {
        let mut metrics = best.metrics;
        metrics.insert(FITNESS.into(), best.fitness);
        metrics
    }))
}

impl Entrant {
    /// Opens the run in a directory; it must have a best member.
    pub fn open(path: PathBuf) -> Result<Self> {
        let run = Run::open(&path)?;
        let (Some(best), Some(metrics)) = (run.best()?, final_metrics(&run)?) else {
            bail!(
                "{} has no trained member to compare: no generation of it is complete, or nothing in it has a \
                 fitness",
                path.display()
            );
        };
        let epoch = run.plan(best.as_of)?.to_epoch;
        Ok(Self { path, run, generation: best.as_of, epoch, metrics })
    }

    pub(super) fn values(&self, setting: String, variant: String) -> RunValues {
        let epochs = self.run.config.search.epochs;
        RunValues {
            state: self.path.display().to_string(),
            run_id: self.run.record.run_id.clone(),
            seed: self.run.record.seed,
            setting,
            variant,
            epoch: self.epoch,
            epochs,
            finished: self.epoch == epochs,
            metrics: self.metrics.clone(),
        }
    }
}

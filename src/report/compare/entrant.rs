//! A run that takes part in a comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::RunValues;
use crate::evaluate::{Subject, latest_evaluation, soup_record};
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

/// What runs are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// The best member, as the search measured it.
    Search,
    /// The best member, as `pbtnas evaluate` measured it with so many samples.
    Final(usize),
    /// What the soup is better by than the best member, both measured by `pbtnas evaluate` with so many samples.
    SoupFinal(usize),
    /// The same, as search and soup measured it.
    SoupSearch,
}

impl Measured {
    /// By what all of some runs can be compared: by final evaluations if all have them, with the same number of
    /// samples.
    fn of(runs: &[(PathBuf, Run)], soups: bool) -> Result<Self> {
        let samples = |run: &Run| -> Result<Option<usize>> {
            if run.best()?.is_none() {
                return Ok(None);
            }
            let Some(best) = latest_evaluation(run, Subject::Best)? else { return Ok(None) };
            let soup = if soups { latest_evaluation(run, Subject::Soup)? } else { None };
            let same = !soups || soup.is_some_and(|soup| soup.samples == best.samples);
            Ok(same.then_some(best.samples))
        };
        let all = runs.iter().map(|(_, run)| samples(run)).collect::<Result<Vec<_>>>()?;
        let common =
            all.first().copied().flatten().filter(|&first| all.iter().all(|one| *one == Some(first)));
        Ok(match (common, soups) {
            (Some(samples), false) => Self::Final(samples),
            (None, false) => Self::Search,
            (Some(samples), true) => Self::SoupFinal(samples),
            (None, true) => Self::SoupSearch,
        })
    }

    /// In words, for the notes under a table.
    pub fn note(self) -> String {
        match self {
            Self::Search => "as the search measured them".into(),
            Self::Final(samples) => format!("as `pbtnas evaluate` measured them with {samples} samples"),
            Self::SoupFinal(samples) => {
                format!("soup minus best member, as `pbtnas evaluate` measured them with {samples} samples")
            }
            Self::SoupSearch => "soup minus best member, as search and soup measured them".into(),
        }
    }
}

/// The numbers that a run counts with; none if it has no best member yet.
fn metrics(path: &Path, run: &Run, measured: Measured) -> Result<Option<BTreeMap<String, f64>>> {
    let evaluated = |subject| -> Result<BTreeMap<String, f64>> {
        let record = latest_evaluation(run, subject)?;
        let record = record.with_context(|| format!("{} was not evaluated", path.display()))?;
        let mut metrics = record.metrics;
        metrics.extend(record.fitness.map(|fitness| (FITNESS.to_owned(), fitness)));
        Ok(metrics)
    };
    let Some(best) = run.best()? else { return Ok(None) };
    let mut metrics = match measured {
        Measured::Search => {
            let mut metrics = best.metrics;
            metrics.insert(FITNESS.into(), best.fitness);
            metrics
        }
        Measured::Final(_) => evaluated(Subject::Best)?,
        Measured::SoupFinal(_) => {
            let (soup, best) = (evaluated(Subject::Soup)?, evaluated(Subject::Best)?);
            soup.iter()
                .filter_map(|(name, value)| Some((format!("Δ{name}"), value - best.get(name)?)))
                .collect()
        }
        Measured::SoupSearch => {
            let soup = soup_record(run)?
                .with_context(|| format!("{} has no soup: call `pbtnas soup` for it", path.display()))?;
            BTreeMap::from([(format!("Δ{FITNESS}"), soup.fitness - best.fitness)])
        }
    };
    // A spread within a run is no measure of it.
    metrics.retain(|name, _| !name.ends_with("_deviation"));
    Ok(Some(metrics))
}

impl Entrant {
    /// Opens runs; each must have a best member. With `soups` what counts is the difference that soups make.
    pub fn open_all(paths: Vec<PathBuf>, soups: bool) -> Result<(Vec<Self>, Measured)> {
        let runs: Vec<(PathBuf, Run)> = paths
            .into_iter()
            .map(|path| Run::open(&path).map(|run| (path, run)))
            .collect::<Result<_, _>>()?;
        let measured = Measured::of(&runs, soups)?;
        let entrants =
            runs.into_iter().map(|(path, run)| Self::new(path, run, measured)).collect::<Result<_>>()?;
        Ok((entrants, measured))
    }

    fn new(path: PathBuf, run: Run, measured: Measured) -> Result<Self> {
        let (Some(best), Some(metrics)) = (run.best()?, metrics(&path, &run, measured)?) else {
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

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

/// By which measurement runs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// As the search measured it (and that for a soup).
    Search,
    /// As `pbtnas evaluate` measured it with so many samples.
    Final(usize),
}

/// What of each run is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared<'a> {
    /// The best member.
    Best,
    /// What the soup, of everything or of a part, is better by than the best member.
    Soup(Option<&'a str>),
}

impl Measured {
    /// By what all of some runs can be compared: by final evaluations if all have them, with the same number of
    /// samples.
    fn of(runs: &[(PathBuf, Run)], compared: Compared) -> Result<Self> {
        let samples = |run: &Run| -> Result<Option<usize>> {
            if run.best()?.is_none() {
                return Ok(None);
            }
            let Some(best) = latest_evaluation(run, Subject::Best)? else { return Ok(None) };
            let same = match compared {
                Compared::Best => true,
                Compared::Soup(part) => latest_evaluation(run, Subject::Soup(part))?
                    .is_some_and(|soup| soup.samples == best.samples),
            };
            Ok(same.then_some(best.samples))
        };
        let all = runs.iter().map(|(_, run)| samples(run)).collect::<Result<Vec<_>>>()?;
        let common =
            all.first().copied().flatten().filter(|&first| all.iter().all(|one| *one == Some(first)));
        Ok(common.map_or(Self::Search, Self::Final))
    }

    /// In words, for the notes under a table.
    pub fn note(self) -> String {
        match self {
            Self::Search => "as the search measured them".into(),
            Self::Final(samples) => format!("as `pbtnas evaluate` measured them with {samples} samples"),
        }
    }
}

/// The numbers that a run counts with; none if it has no best member yet.
fn metrics(
    path: &Path,
    run: &Run,
    compared: Compared,
    measured: Measured,
) -> Result<Option<BTreeMap<String, f64>>> {
    let evaluated = |subject| -> Result<BTreeMap<String, f64>> {
        let record = latest_evaluation(run, subject)?;
        let record = record.with_context(|| format!("{} was not evaluated", path.display()))?;
        let mut metrics = record.metrics;
        metrics.extend(record.fitness.map(|fitness| (FITNESS.to_owned(), fitness)));
        Ok(metrics)
    };
    let Some(best) = run.best()? else { return Ok(None) };
    let mut metrics = match (compared, measured) {
        (Compared::Best, Measured::Search) => {
            let mut metrics = best.metrics;
            metrics.insert(FITNESS.into(), best.fitness);
            metrics
        }
        (Compared::Best, Measured::Final(_)) => evaluated(Subject::Best)?,
        (Compared::Soup(part), Measured::Final(_)) => {
            let (soup, best) = (evaluated(Subject::Soup(part))?, evaluated(Subject::Best)?);
            soup.iter()
                .filter_map(|(name, value)| Some((format!("Δ{name}"), value - best.get(name)?)))
                .collect()
        }
        (Compared::Soup(part), Measured::Search) => {
            let soup = soup_record(run, part)?.with_context(|| {
                let option = part.map_or(String::new(), |part| format!(" --part {part}"));
                let state = path.display();
                format!("{state} has no such soup: `pbtnas soup{option} --state {state}` makes it")
            })?;
            BTreeMap::from([(format!("Δ{FITNESS}"), soup.fitness - best.fitness)])
        }
    };
    // A spread within a run is no measure of it.
    metrics.retain(|name, _| !name.ends_with("_deviation"));
    Ok(Some(metrics))
}

impl Entrant {
    /// Opens runs; each must have a best member.
    pub fn open_all(paths: Vec<PathBuf>, compared: Compared) -> Result<(Vec<Self>, Measured)> {
        let runs: Vec<(PathBuf, Run)> = paths
            .into_iter()
            .map(|path| Run::open(&path).map(|run| (path, run)))
            .collect::<Result<_, _>>()?;
        let measured = Measured::of(&runs, compared)?;
        let entrants = runs
            .into_iter()
            .map(|(path, run)| Self::new(path, run, compared, measured))
            .collect::<Result<_>>()?;
        Ok((entrants, measured))
    }

    fn new(path: PathBuf, run: Run, compared: Compared, measured: Measured) -> Result<Self> {
        let (Some(best), Some(metrics)) = (run.best()?, metrics(&path, &run, compared, measured)?) else {
            bail!(
                "{} has no trained member to compare: no generation of it is complete, or nothing in it has a \
                 fitness (supernets do not count)",
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

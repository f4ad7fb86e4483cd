//! A run in a comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::RunValues;
use pbtnas_engine::evaluate::{Subject, latest_evaluation, soup_record};
use pbtnas_engine::run::Run;

/// The key of fitness among the metrics.
pub const FITNESS: &str = "fitness";

/// A run and its values.
#[derive(Debug)]
pub struct ComparedRun {
    /// The run directory, as given on the command line.
    pub path: PathBuf,
    pub run: Run,
    /// The last generation that its best member was chosen from.
    pub generation: u32,
    /// Complete epochs at the end of that generation.
    pub epoch: u32,
    pub metrics: BTreeMap<String, f64>,
}

/// The measurement that runs are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// The evaluation during the search (or during `pbtnas soup`).
    Search,
    /// `pbtnas evaluate` with this number of samples.
    Final(usize),
}

/// The network of each run that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared<'a> {
    /// The best member.
    Best,
    /// The difference between the soup (of all networks, or of a part) and the best member.
    Soup(Option<&'a str>),
}

impl Measured {
    /// Final evaluations if all runs have them with the same number of samples, else the evaluations of the search.
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

    /// For the notes below a table.
    pub fn note(self) -> String {
        match self {
            Self::Search => "as measured by the search".into(),
            Self::Final(samples) => format!("as measured by `pbtnas evaluate` with {samples} samples"),
        }
    }
}

/// The metrics of a run; none without a best member.
fn metrics(
    path: &Path,
    run: &Run,
    compared: Compared,
    measured: Measured,
) -> Result<Option<BTreeMap<String, f64>>> {
    let evaluated = |subject| -> Result<BTreeMap<String, f64>> {
        let record = latest_evaluation(run, subject)?;
        let record = record.with_context(|| format!("{} has no final evaluation", path.display()))?;
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
                format!("{state} has no such soup; run `pbtnas soup{option} --state {state}`")
            })?;
            BTreeMap::from([(format!("Δ{FITNESS}"), soup.fitness - best.fitness)])
        }
    };
    // Deviations within a run are not compared.
    metrics.retain(|name, _| !name.ends_with("_deviation"));
    Ok(Some(metrics))
}

impl ComparedRun {
    /// Opens runs. Fails for runs without a best member.
    pub fn open_all(paths: Vec<PathBuf>, compared: Compared) -> Result<(Vec<Self>, Measured)> {
        let runs: Vec<(PathBuf, Run)> = paths
            .into_iter()
            .map(|path| Run::open(&path).map(|run| (path, run)))
            .collect::<Result<_, _>>()?;
        let measured = Measured::of(&runs, compared)?;
        let inputs = runs
            .into_iter()
            .map(|(path, run)| Self::new(path, run, compared, measured))
            .collect::<Result<_>>()?;
        Ok((inputs, measured))
    }

    fn new(path: PathBuf, run: Run, compared: Compared, measured: Measured) -> Result<Self> {
        let (Some(best), Some(metrics)) = (run.best()?, metrics(&path, &run, compared, measured)?) else {
            bail!(
                "{} has no best member: no generation is complete, or no member other than supernets has a fitness",
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

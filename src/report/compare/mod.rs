//! Comparison of experiments, as in the paper: mean and standard deviation of the best networks over runs with
//! different seeds, and Wilcoxon signed-rank tests with Bonferroni correction.

mod compared_run;
mod curve;
mod label;
mod plot;
mod significance;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::Serialize;

pub use compared_run::{Compared, ComparedRun, FITNESS, Measured};
pub use plot::plot;
pub use significance::{Test, Tests};
pub use text::{markdown_report, markdown_soups, text_report, text_soups};

use super::statistics::{mean, population_deviation, standard_deviation};
use pbtnas_engine::config::SearchConfig;

/// What `pbtnas compare --json` prints. Labels of settings and variants are unique.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Comparison {
    /// In the order of the runs.
    pub settings: Vec<Setting>,
    /// In the order of the runs.
    pub variants: Vec<Variant>,
    pub conventions: Conventions,
    pub runs: Vec<RunValues>,
    /// Cells of the table that have a value.
    pub cells: Vec<TableCell>,
    /// The reference against each other variant; null for a single variant.
    pub tests: Option<Tests>,
}

/// The conventions of deviations and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Conventions {
    /// The deviation of a sample (n - 1), two-sided tests, and a correction for the tests that are made.
    Usual,
    /// The paper's: the deviation of a population (n), one-sided tests, and a correction for its four comparisons
    /// (facts: What is reported).
    Paper,
}

impl Conventions {
    /// The standard deviation; none of fewer than two values.
    pub fn deviation(self, values: &[f64]) -> Option<f64> {
        match self {
            Self::Usual => standard_deviation(values),
            Self::Paper => population_deviation(values),
        }
    }

    /// For the notes below a table.
    pub fn note(self) -> &'static str {
        match self {
            Self::Usual => {
                "conventions: deviation of a sample (n - 1), two-sided tests, corrected for the tests made; \
                 the paper's with --paper"
            }
            Self::Paper => {
                "the paper's conventions: deviation of a population (n), one-sided tests, corrected for its 4 comparisons"
            }
        }
    }
}

/// The task and its section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Setting {
    pub label: String,
    pub kind: String,
    /// The section without keys that do not affect the result (devices, threads, limits).
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub section: toml::Table,
}

/// The search: `[search]`, and the name of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Variant {
    pub label: String,
    /// `name` in the configuration.
    pub name: Option<String>,
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub search: SearchConfig,
    /// The settings of its algorithm alone, e.g. `supernet.epochs`.
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub of_algorithm: toml::Table,
}

/// The values of a run.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct RunValues {
    /// The run directory, as given.
    pub state: String,
    pub run_id: String,
    pub seed: u64,
    /// Label of the setting.
    pub setting: String,
    /// Label of the variant.
    pub variant: String,
    /// Complete epochs.
    pub epoch: u32,
    /// Epochs of the whole search.
    pub epochs: u32,
    pub finished: bool,
    /// Metrics of the best member, including fitness.
    pub metrics: BTreeMap<String, f64>,
}

/// A metric of a variant in a setting.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct TableCell {
    /// Label of the setting.
    pub setting: String,
    /// Label of the variant.
    pub variant: String,
    pub metric: String,
    /// Null for metrics without a known direction.
    pub better: Option<Better>,
    /// Number of runs with a value.
    pub n: usize,
    /// Number of them that are not finished.
    pub unfinished: usize,
    pub mean: f64,
    /// By the conventions of the comparison; null for a single run.
    pub standard_deviation: Option<f64>,
    /// Whether the mean is the best of at least two variants.
    pub best: bool,
}

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

impl Better {
    /// Known metrics: fitness, Fréchet inception distance `fid`, inception score `is`.
    pub fn of(metric: &str) -> Option<Self> {
        match metric {
            FITNESS | "is" => Some(Self::Higher),
            "fid" => Some(Self::Lower),
            _ => None,
        }
    }
}

/// Groups runs into settings and variants and compares them; `reference` is the label of a variant. Fails if two runs
/// have the same setting, variant and seed.
pub fn compare(
    inputs: &[ComparedRun],
    reference: Option<&str>,
    conventions: Conventions,
) -> Result<Comparison> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut variants: Vec<Variant> = Vec::new();
    let mut places = Vec::new();
    for input in inputs {
        let config = &input.run.config;
        let setting = place(&mut settings, label::setting(config)?);
        let variant = place(&mut variants, label::variant(config)?);
        places.push((setting, variant, config.seed));
    }
    for (later, place) in places.iter().enumerate() {
        if let Some(earlier) = places[..later].iter().position(|other| other == place) {
            bail!(
                "{} and {} have the same configuration and the same seed {}: leave one out",
                inputs[earlier].path.display(),
                inputs[later].path.display(),
                place.2
            );
        }
    }
    label::label_settings(&mut settings);
    label::label_variants(&mut variants)?;
    let runs: Vec<RunValues> = inputs
        .iter()
        .zip(places)
        .map(|(input, (setting, variant, _))| {
            input.values(settings[setting].label.clone(), variants[variant].label.clone())
        })
        .collect();
    let tests = significance::tests(conventions, &settings, &variants, &runs, reference)?;
    let cells = cells(conventions, &settings, &variants, &runs);
    Ok(Comparison { settings, variants, conventions, runs, cells, tests })
}

/// The index of an equal element, which is added if missing.
fn place<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

/// Cells by column: per setting, fitness first, then the other metrics by name.
fn cells(
    conventions: Conventions,
    settings: &[Setting],
    variants: &[Variant],
    runs: &[RunValues],
) -> Vec<TableCell> {
    let mut cells = Vec::new();
    for setting in settings {
        let of_setting = runs.iter().filter(|run| run.setting == setting.label);
        let names: BTreeSet<&String> = of_setting.flat_map(|run| run.metrics.keys()).collect();
        let (fitness, others): (Vec<&String>, Vec<&String>) =
            names.into_iter().partition(|name| *name == FITNESS);
        for metric in fitness.into_iter().chain(others) {
            let mut column: Vec<TableCell> = variants
                .iter()
                .filter_map(|variant| cell(conventions, (&setting.label, &variant.label), metric, runs))
                .collect();
            mark_best(&mut column);
            cells.extend(column);
        }
    }
    cells
}

fn cell(
    conventions: Conventions,
    (setting, variant): (&str, &str),
    metric: &str,
    runs: &[RunValues],
) -> Option<TableCell> {
    let here = runs.iter().filter(|run| run.setting == setting && run.variant == variant);
    let (values, finished): (Vec<f64>, Vec<bool>) =
        here.filter_map(|run| Some((*run.metrics.get(metric)?, run.finished))).unzip();
    Some(TableCell {
        setting: setting.into(),
        variant: variant.into(),
        metric: metric.into(),
        better: Better::of(metric),
        n: values.len(),
        unfinished: finished.iter().filter(|finished| !**finished).count(),
        mean: mean(&values)?,
        standard_deviation: conventions.deviation(&values),
        best: false,
    })
}

fn mark_best(column: &mut [TableCell]) {
    if column.len() < 2 {
        return;
    }
    let means = column.iter().map(|cell| cell.mean);
    let best = match column[0].better {
        Some(Better::Higher) => means.fold(f64::NEG_INFINITY, f64::max),
        Some(Better::Lower) => means.fold(f64::INFINITY, f64::min),
        None => return,
    };
    for cell in column {
        cell.best = cell.mean == best;
    }
}

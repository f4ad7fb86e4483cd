//! Experiments side by side, as the paper compares them: mean and standard deviation, over runs of different
//! seed, of each run's best network; Wilcoxon signed-rank tests with Bonferroni's correction.

mod curve;
mod entrant;
mod label;
mod plot;
mod significance;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use serde::Serialize;

pub use entrant::{Compared, Entrant, FITNESS, Measured};
pub use plot::plot;
pub use significance::{Test, Tests};
pub use text::{markdown_report, markdown_soups, text_report, text_soups};

use super::statistics::{mean, standard_deviation};
use crate::config::{SearchConfig, TaskKind};
use crate::tasks::gan::SupernetConfig;

/// What `pbtnas compare --json` prints. Settings and variants are named by their labels, which are unique.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Comparison {
    /// What was trained, in the order of the runs.
    pub settings: Vec<Setting>,
    /// How it was searched, in the order of the runs.
    pub variants: Vec<Variant>,
    /// One for each entrant, in their order.
    pub runs: Vec<RunValues>,
    /// The table; there is none for a setting and variant without a value.
    pub cells: Vec<Cell>,
    /// The reference against each other variant; none if there is only one variant.
    pub tests: Option<Tests>,
}

/// What is trained: the task and its section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Setting {
    /// What it is called.
    pub label: String,
    /// The task.
    pub kind: TaskKind,
    /// Its section, without what is merely technical.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub section: toml::Table,
}

/// How it is searched: `[search]`, and the experiment's name.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Variant {
    /// What it is called.
    pub label: String,
    /// The name in the configuration.
    pub name: Option<String>,
    /// `[search]`.
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub search: SearchConfig,
    /// `[gan.supernet]`, of AdversarialNAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")]
    pub supernet: Option<SupernetConfig>,
}

/// What a run contributes.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct RunValues {
    /// Its directory, as given.
    pub state: String,
    /// Its id.
    pub run_id: String,
    /// Its seed.
    pub seed: u64,
    /// Label of its setting.
    pub setting: String,
    /// Label of its variant.
    pub variant: String,
    /// Epochs behind the values.
    pub epoch: u32,
    /// Epochs of the search.
    pub epochs: u32,
    /// Whether these are the values of the whole search.
    pub finished: bool,
    /// Of its best member, fitness among them.
    pub metrics: BTreeMap<String, f64>,
}

/// A metric of a variant in a setting.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Cell {
    /// Label of the setting.
    pub setting: String,
    /// Label of the variant.
    pub variant: String,
    /// The metric.
    pub metric: String,
    /// Which end of it is the good one, if that is known.
    pub better: Option<Better>,
    /// Runs that have a value.
    pub n: usize,
    /// Those among them that are not finished.
    pub unfinished: usize,
    /// Mean over the runs.
    pub mean: f64,
    /// Standard deviation of the sample; none for a single run.
    pub standard_deviation: Option<f64>,
    /// Whether no other variant has a better mean; never if there is no other.
    pub best: bool,
}

/// Which values of a metric are the good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Large ones.
    Higher,
    /// Small ones.
    Lower,
}

impl Better {
    /// For the metrics that are known: fitness, the Fréchet distance `fid`, the inception score `is`.
    pub fn of(metric: &str) -> Option<Self> {
        match metric {
            FITNESS | "is" => Some(Self::Higher),
            "fid" => Some(Self::Lower),
            _ => None,
        }
    }
}

/// Groups runs into settings and variants and compares them; `reference` is the label of a variant.
///
/// Fails for two runs of the same experiment with the same seed: they would count twice.
pub fn compare(entrants: &[Entrant], reference: Option<&str>) -> Result<Comparison> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut variants: Vec<Variant> = Vec::new();
    let mut places = Vec::new();
    for entrant in entrants {
        let config = &entrant.run.config;
        let setting = place(&mut settings, label::setting(config)?);
        let variant = place(&mut variants, label::variant(config));
        places.push((setting, variant, config.seed));
    }
    for (later, place) in places.iter().enumerate() {
        if let Some(earlier) = places[..later].iter().position(|other| other == place) {
            bail!(
                "{} and {} are the same experiment with the same seed {}, which would count twice: leave one \
                 out",
                entrants[earlier].path.display(),
                entrants[later].path.display(),
                place.2
            );
        }
    }
    label::label_settings(&mut settings);
    label::label_variants(&mut variants)?;
    let runs: Vec<RunValues> = entrants
        .iter()
        .zip(places)
        .map(|(entrant, (setting, variant, _))| {
            entrant.values(settings[setting].label.clone(), variants[variant].label.clone())
        })
        .collect();
    let tests = significance::tests(&variants, &runs, reference)?;
    Ok(Comparison { cells: cells(&settings, &variants, &runs), settings, variants, runs, tests })
}

/// The place of an equal element, which is added if there is none yet.
fn place<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

/// Cells column by column: settings in their order, fitness first among the metrics of each.
fn cells(settings: &[Setting], variants: &[Variant], runs: &[RunValues]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for setting in settings {
        let of_setting = runs.iter().filter(|run| run.setting == setting.label);
        let names: BTreeSet<&String> = of_setting.flat_map(|run| run.metrics.keys()).collect();
        let (fitness, others): (Vec<&String>, Vec<&String>) =
            names.into_iter().partition(|name| *name == FITNESS);
        for metric in fitness.into_iter().chain(others) {
            let mut column: Vec<Cell> = variants
                .iter()
                .filter_map(|variant| cell(&setting.label, &variant.label, metric, runs))
                .collect();
            mark_best(&mut column);
            cells.extend(column);
        }
    }
    cells
}

fn cell(setting: &str, variant: &str, metric: &str, runs: &[RunValues]) -> Option<Cell> {
    let here = runs.iter().filter(|run| run.setting == setting && run.variant == variant);
    let (values, finished): (Vec<f64>, Vec<bool>) =
        here.filter_map(|run| Some((*run.metrics.get(metric)?, run.finished))).unzip();
    Some(Cell {
        setting: setting.into(),
        variant: variant.into(),
        metric: metric.into(),
        better: Better::of(metric),
        n: values.len(),
        unfinished: finished.iter().filter(|finished| !**finished).count(),
        mean: mean(&values)?,
        standard_deviation: standard_deviation(&values),
        best: false,
    })
}

fn mark_best(column: &mut [Cell]) {
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

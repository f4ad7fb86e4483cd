//! The sections of a configuration that do not depend on a task, with their defaults.

use pbtnas_core::checkpoint::ShrinkPerturb;
use pbtnas_core::run::{BestOf, Keep};
use pbtnas_core::search::{Algorithm, Initial, Piece, Schedule, ScheduleError, SelectionRule};
use serde::{Deserialize, Serialize};
use serde_untagged::UntaggedEnumVisitor;

/// `[search]`: paper, Algorithms 1 and 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// `pbt-nas`, `mutation`, `random-search` or `adversarial-nas`.
    #[serde(default = "default_algorithm")]
    pub algorithm: Algorithm,
    /// N, the population size.
    pub population: usize,
    /// Total number of epochs of the search.
    pub epochs: u32,
    /// e_step of the paper: epochs between two selections, or pieces `[{ epochs = 20, until = 150 }, { epochs = 10 }]`.
    pub epochs_per_generation: EpochsPerGeneration,
    /// The fraction of the population that is replaced, and the fraction that may be parents.
    #[serde(default = "default_tau")]
    pub tau: f64,
    /// p, the probability that a variable is replaced.
    #[serde(default = "default_replace_probability")]
    pub replace_probability: f64,
    /// What the worse parent's layers are multiplied by, and how much of a fresh network is added.
    #[serde(default)]
    pub shrink_perturb: ShrinkPerturb,
    /// False is the ablation "no mixing", in which both parents are the same network.
    #[serde(default = "default_mixing")]
    pub mixing: bool,
    /// Shrink-perturbs the whole network of every member at the start of each generation except the first (Table 3;
    /// only for random search).
    #[serde(default)]
    pub shrink_perturb_survivors: bool,
    /// `balanced` or `uniform`.
    #[serde(default = "default_initial")]
    pub initial: Initial,
    /// Explore of Population Based Training: the probability that a child's hyperparameter is resampled from its range.
    #[serde(default = "default_resample_probability")]
    pub resample_probability: f64,
    /// Explore: a hyperparameter that is not resampled is multiplied by one of these factors.
    #[serde(default = "default_explore_factors")]
    pub explore_factors: Vec<f64>,
    /// The generations whose best member counts for soups, comparisons and tests: `all-generations` or
    /// `last-generation`; by default the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_of: Option<BestOf>,
}

fn default_algorithm() -> Algorithm {
    Algorithm::PbtNas
}
fn default_tau() -> f64 {
    0.25
}
fn default_replace_probability() -> f64 {
    0.25
}
fn default_resample_probability() -> f64 {
    0.25
}
fn default_mixing() -> bool {
    true
}
fn default_explore_factors() -> Vec<f64> {
    vec![0.8, 1.2]
}
fn default_initial() -> Initial {
    Initial::Balanced
}

impl SearchConfig {
    /// A search of this size, with defaults for all other settings.
    pub fn new(population: usize, epochs: u32, epochs_per_generation: EpochsPerGeneration) -> Self {
        Self {
            algorithm: default_algorithm(),
            population,
            epochs,
            epochs_per_generation,
            tau: default_tau(),
            replace_probability: default_replace_probability(),
            shrink_perturb: ShrinkPerturb::default(),
            mixing: default_mixing(),
            shrink_perturb_survivors: false,
            initial: default_initial(),
            resample_probability: default_resample_probability(),
            explore_factors: default_explore_factors(),
            best_of: None,
        }
    }

    /// Whether all settings except the size are defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::new(self.population, self.epochs, self.epochs_per_generation.clone())
    }

    /// The epochs at which generations end.
    pub fn schedule(&self) -> Result<Schedule, ScheduleError> {
        Schedule::new(self.epochs_per_generation.pieces(), self.epochs)
    }

    /// The rule that selects parents and replaced members.
    pub fn selection(&self) -> SelectionRule {
        SelectionRule { tau: self.tau }
    }
}

/// A number, or pieces. Deserialize is not derived, because serde's untagged enums lose the line of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpochsPerGeneration {
    /// Generations of equal length.
    Constant(u32),
    /// Lengths that change during the search.
    Pieces(Vec<Piece>),
}

impl EpochsPerGeneration {
    fn pieces(&self) -> Vec<Piece> {
        match self {
            Self::Constant(epochs) => vec![Piece { epochs: *epochs, until: None }],
            Self::Pieces(pieces) => pieces.clone(),
        }
    }
}

impl Serialize for EpochsPerGeneration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(epochs) => epochs.serialize(serializer),
            Self::Pieces(pieces) => pieces.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for EpochsPerGeneration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting(
                "a number of epochs, or a list such as [{ epochs = 20, until = 150 }, { epochs = 10 }]",
            )
            .i64(|epochs| match u32::try_from(epochs) {
                Ok(epochs) => Ok(Self::Constant(epochs)),
                Err(_) => Err(serde::de::Error::invalid_value(
                    serde::de::Unexpected::Signed(epochs),
                    &"a whole number from 0 to 4294967295",
                )),
            })
            .seq(|pieces| pieces.deserialize().map(Self::Pieces))
            .deserialize(deserializer)
    }
}

/// Returns the first factor that cannot be used.
pub fn check_shrink_perturb(factors: &ShrinkPerturb) -> Result<(), (&'static str, String)> {
    for (key, value) in [("lambda", factors.lambda), ("gamma", factors.gamma)] {
        if !value.is_finite() || value < 0.0 {
            return Err((key, "must be a number that is not negative".into()));
        }
    }
    Ok(())
}

/// `[training]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Failed attempts after which a member counts as failed. Preemption is not a failure.
    pub max_attempts: u32,
    /// The interval between snapshots in seconds.
    pub snapshot_seconds: u64,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self { max_attempts: 3, snapshot_seconds: 600 }
    }
}

/// `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Checkpoint retention: the number of trained generations that keep their members' files, `"all"` or `"best"`.
    /// Older generations keep results and attempts, in one file each. The best member's checkpoint is always kept.
    pub keep: Keep,
    /// How many seconds to wait for an expected result: changes of a directory may become visible on another node late.
    pub visibility_timeout: u64,
    /// How many seconds a failing storage operation is retried (e.g. full, server restart), and after how many seconds
    /// without a heartbeat another process that trains the same member is considered dead.
    pub retry_seconds: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { keep: Keep::Generations(2), visibility_timeout: 20, retry_seconds: 600 }
    }
}

/// `[local]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Number of members that train concurrently; by default one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
}

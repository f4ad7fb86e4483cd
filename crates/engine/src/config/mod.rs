//! The configuration of a run: typed, with all defaults in one place, and validated.

pub(crate) mod bad_value;
mod error;
mod layers;
mod renamed;
mod sections;
mod task;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use pbtnas_core::run::Terms;
use pbtnas_core::search::{Algorithm, Explore, SearchSettings, Space};
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, Deserializer};

pub use bad_value::BadValue;
pub use error::ConfigError;
pub use layers::absolute;
pub use sections::{
    EpochsPerGeneration, LocalConfig, SearchConfig, StorageConfig, TrainingConfig, check_shrink_perturb,
};
pub use task::TaskSection;

use crate::scheduler::slurm::config::SlurmConfig;
use crate::task::Task;
use layers::Layers;

/// The plan of this many members with 100 variables does not exceed the maximum size of a record.
const MAX_POPULATION: usize = 10_000;
/// Maximum number of factors in `search.explore_factors`.
const MAX_FACTORS: usize = 16;
/// Upper bound of times in seconds: a clock plus this time does not overflow.
pub(crate) const YEAR: u64 = 365 * 24 * 60 * 60;
/// Default time in which a member's process must exit after a signal; a task may ask for more.
const GRACE: Duration = Duration::from_secs(4);

/// A complete configuration, as in `configs/*.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The experiment's name where runs are compared; runs that differ in seed alone share it.
    pub name: Option<String>,
    /// The seed of all random numbers of the run.
    pub seed: u64,
    pub search: SearchConfig,
    /// The task and its settings.
    pub task: TaskSection,
    pub training: TrainingConfig,
    pub storage: StorageConfig,
    pub local: LocalConfig,
    pub slurm: SlurmConfig,
}

/// The sections that belong to no task.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct General {
    name: Option<String>,
    seed: u64,
    search: SearchConfig,
    task: task::TaskName,
    #[serde(default)]
    training: TrainingConfig,
    #[serde(default)]
    storage: StorageConfig,
    #[serde(default)]
    local: LocalConfig,
    #[serde(default)]
    slurm: SlurmConfig,
}

impl Serialize for Config {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeMap};
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        map.serialize_entry("seed", &self.seed)?;
        map.serialize_entry("search", &self.search)?;
        map.serialize_entry("task", &task::TaskName { kind: self.task.kind.into() })?;
        map.serialize_entry(self.task.kind, &self.task.settings.to_table().map_err(S::Error::custom)?)?;
        map.serialize_entry("training", &self.training)?;
        map.serialize_entry("storage", &self.storage)?;
        map.serialize_entry("local", &self.local)?;
        map.serialize_entry("slurm", &self.slurm)?;
        map.end()
    }
}

impl Config {
    /// Reads and validates a configuration and the ones that it `extends`. Relative paths in a file are relative to the
    /// file's folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let layers = Layers::read(path)?;
        let merged = layers.merged();
        let mut config = Self::read(&merged).map_err(|error| match error {
            Unusable::Syntax(error) => layers.misread(&merged, &error),
            Unusable::Value(bad) => layers.bad_value(&bad),
        })?;
        config.task.settings = config.task.settings.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Parses and validates the text of a configuration; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::read(text).map_err(|error| match error {
            Unusable::Syntax(error) => ConfigError::from_toml(path, text, &error),
            Unusable::Value(bad) => ConfigError::bad_value(path, text, &bad),
        })
    }

    fn read(text: &str) -> Result<Self, Unusable> {
        let mut document = DeTable::parse(text)?;
        let mut tasks = task::read_all(document.get_mut())?;
        let General { name, seed, search, task, training, storage, local, slurm } =
            General::deserialize(Deserializer::from(document))?;
        // The sections of all tasks are checked, not only that of the configured task.
        for section in &tasks {
            section.settings.check(&search)?;
        }
        let chosen = tasks.iter().position(|section| section.kind == task.kind);
        let task = tasks.swap_remove(chosen.ok_or_else(|| task::absent(&task.kind))?);
        let config = Self { name, seed, search, task, training, storage, local, slurm };
        config.check()?;
        Ok(config)
    }

    /// Returns the first invalid value of the sections that belong to no task.
    fn check(&self) -> Result<(), BadValue> {
        let bad = |key: &str, message: &str| Err(BadValue::new(key, message));
        if let Some(name) = &self.name {
            let plain = !name.trim().is_empty() && !name.chars().any(char::is_control);
            if !plain || name.chars().count() > 80 {
                return bad("name", "must be a single line of at most 80 characters that is not empty");
            }
        }
        // TOML integers are signed 64-bit numbers, and the run directory stores the configuration as TOML.
        if i64::try_from(self.seed).is_err() {
            return Err(BadValue::new("seed", format!("must be at most {}", i64::MAX)));
        }
        self.check_search()?;
        if self.training.max_attempts == 0 {
            return bad("training.max_attempts", "must be at least 1");
        }
        if self.local.workers.is_some_and(|workers| workers == 0 || workers > MAX_POPULATION) {
            return Err(BadValue::new("local.workers", format!("must be between 1 and {MAX_POPULATION}")));
        }
        for (key, seconds) in [
            ("training.snapshot_seconds", self.training.snapshot_seconds),
            ("storage.visibility_timeout", self.storage.visibility_timeout),
            ("storage.retry_seconds", self.storage.retry_seconds),
            ("slurm.retry_seconds", self.slurm.retry_seconds),
        ] {
            if seconds > YEAR {
                return Err(BadValue::new(key, format!("must be at most {YEAR}")));
            }
        }
        // Near its time limit, a member has `warning_seconds` to save and exit.
        let least = self.grace().as_secs() + 1;
        if self.task.settings.grace().is_some()
            && self.slurm.get("time").is_some()
            && u64::from(self.slurm.warning_seconds) < least
        {
            let message =
                format!("must be at least {least}: the time that the task needs to save and publish");
            return Err(BadValue::new("slurm.warning_seconds", message));
        }
        if self.search.algorithm == Algorithm::AdversarialNas && self.task.settings.supernet().is_none() {
            let message = format!(
                "{:?} needs a supernet, which this task does not have",
                self.search.algorithm.to_string()
            );
            return Err(BadValue::new("search.algorithm", message));
        }
        self.task.settings.check_chosen(&self.search)?;
        self.slurm.check()
    }

    fn check_search(&self) -> Result<(), BadValue> {
        let bad = |key: &str, message: &str| Err(BadValue::new(key, message));
        let search = &self.search;
        if search.population == 0 || search.population > MAX_POPULATION {
            return Err(BadValue::new(
                "search.population",
                format!("must be between 1 and {MAX_POPULATION}"),
            ));
        }
        if !(search.tau >= 0.0 && search.tau <= 0.5) {
            return bad("search.tau", "must be between 0 and 0.5: the best and the worst must not overlap");
        }
        if search.shrink_perturb_survivors && search.algorithm != Algorithm::RandomSearch {
            return bad(
                "search.shrink_perturb_survivors",
                "is for algorithm \"random-search\" only (Table 3)",
            );
        }
        if matches!(search.algorithm, Algorithm::PbtNas | Algorithm::Mutation) {
            let count = search.selection().count(search.population);
            let mixing = search.mixing && search.algorithm == Algorithm::PbtNas;
            let needed = if mixing { 2 } else { 1 };
            if count < needed {
                let least = if search.tau > 0.0 { (needed as f64 / search.tau).ceil() as u64 } else { 8 };
                let message = format!(
                    "population {} with tau {} selects {count} parent(s), but {needed} are needed: use a population of \
                     at least {least}",
                    search.population, search.tau
                );
                return Err(BadValue::new("search.population", message));
            }
        }
        for (key, probability) in [
            ("search.replace_probability", search.replace_probability),
            ("search.resample_probability", search.resample_probability),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                return bad(key, "must be between 0 and 1");
            }
        }
        let factors = &search.explore_factors;
        let positive = factors.iter().all(|factor| factor.is_finite() && *factor > 0.0);
        if factors.is_empty() || factors.len() > MAX_FACTORS || !positive {
            let message = format!("must be a list of 1 to {MAX_FACTORS} numbers that are more than 0");
            return Err(BadValue::new("search.explore_factors", message));
        }
        check_shrink_perturb(&search.shrink_perturb).map_err(BadValue::below("search.shrink_perturb"))?;
        if search.epochs == 0 {
            return bad("search.epochs", "must be at least 1");
        }
        search
            .schedule()
            .map(drop)
            .map_err(|error| BadValue::new("search.epochs_per_generation", error.to_string()))
    }

    /// The time in which a member's process must exit after a signal.
    pub fn grace(&self) -> Duration {
        self.task.settings.grace().unwrap_or_default() + GRACE
    }

    /// The terms that the records of the run are checked against.
    pub fn terms(&self) -> anyhow::Result<Terms> {
        Ok(Terms {
            search: self.settings(),
            schedule: self.search.schedule()?,
            keep: self.storage.keep,
            best_of: self.search.best_of.unwrap_or(self.task.settings.best_of()),
            supernet: self.task.settings.supernet(),
        })
    }

    /// The parameters of the pure search.
    pub fn settings(&self) -> SearchSettings {
        SearchSettings {
            algorithm: self.search.algorithm,
            population: self.search.population,
            selection: self.search.selection(),
            replace_probability: self.search.replace_probability,
            mixing: self.search.mixing,
            perturb_survivors: self.search.shrink_perturb_survivors,
            initial: self.search.initial,
            explore: Explore {
                resample_probability: self.search.resample_probability,
                perturb_factors: self.search.explore_factors.clone(),
            },
        }
    }

    /// The search space. Opens no file.
    pub fn space(&self) -> Space {
        self.task.settings.space()
    }

    /// The task. Opens no file.
    pub fn task(&self) -> Box<dyn Task> {
        self.task.settings.clone().task(&self.training)
    }
}

/// The reason why a text is not a valid configuration.
enum Unusable {
    Syntax(toml::de::Error),
    Value(BadValue),
}

impl From<toml::de::Error> for Unusable {
    fn from(error: toml::de::Error) -> Self {
        Self::Syntax(error)
    }
}

impl From<BadValue> for Unusable {
    fn from(bad: BadValue) -> Self {
        Self::Value(bad)
    }
}

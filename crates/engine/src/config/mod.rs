//! The configuration of a run: typed, with all defaults in one place, and validated.

mod error;
mod layers;
mod renamed;
mod sections;
mod task;

use std::path::Path;
use std::time::Duration;

use pbtnas_core::run::Terms;
use pbtnas_core::search::{Algorithm, Explore, SearchSettings, Space, truncation_count};
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, Deserializer};

pub use error::ConfigError;
pub use layers::absolute;
pub use sections::{
    EpochsPerGeneration, LocalConfig, SearchConfig, StorageConfig, TrainingConfig, check_shrink_perturb,
};
pub use task::TaskSection;

use crate::scheduler::slurm::SlurmConfig;
use crate::task::Task;
use layers::Layers;

/// The plan of this many members with 100 variables does not exceed the maximum size of a record.
const MAX_POPULATION: usize = 10_000;
/// The most factors of `search.explore_factors`.
const MAX_FACTORS: usize = 16;
/// Seconds. A clock plus this time does not overflow.
const YEAR: u64 = 365 * 24 * 60 * 60;
/// Seconds in which a member's process must leave after a signal; a task may ask for more.
const GRACE: Duration = Duration::from_secs(4);

/// A value that has the right type but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The dotted key, e.g. `search.tau`.
    pub key: String,
    /// What it must be.
    pub message: String,
}

impl BadValue {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }

    /// The same below a section.
    pub fn below(section: &str) -> impl Fn((&str, String)) -> Self {
        move |(key, message)| Self::new(format!("{section}.{key}"), message)
    }
}

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
        // Every task's section is checked, so that none holds nonsense only because another task is chosen.
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
        // TOML's largest number: the run directory keeps the configuration.
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
        // A member that comes near to its time limit has so long to save.
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
            let count = truncation_count(search.population, search.tau);
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

    /// What the run's records are checked against.
    pub fn terms(&self) -> anyhow::Result<Terms> {
        Ok(Terms {
            search: self.settings(),
            schedule: self.search.schedule()?,
            keep: self.storage.keep,
            supernet: self.task.settings.supernet(),
        })
    }

    /// The parameters of the pure search.
    pub fn settings(&self) -> SearchSettings {
        SearchSettings {
            algorithm: self.search.algorithm,
            population: self.search.population,
            tau: self.search.tau,
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

/// Why a text is not a configuration.
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

#[cfg(test)]
mod tests {
    use pbtnas_core::checkpoint::ShrinkPerturb;
    use pbtnas_core::run::Keep;

    use super::*;

    const GOOD: &str = r#"
seed = 1

[search]
population = 8
epochs = 10
epochs_per_generation = [{ epochs = 2, until = 5 }, { epochs = 1 }]

[task]
kind = "synthetic"
"#;

    fn error(text: &str) -> String {
        Config::parse(Path::new("run.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_paper() {
        let config = Config::parse(Path::new("run.toml"), GOOD).unwrap();
        assert_eq!(config.search.tau, 0.25);
        assert_eq!(config.search.replace_probability, 0.25);
        assert_eq!(config.search.shrink_perturb, ShrinkPerturb { lambda: 0.4, gamma: 0.1 });
        // The values of Population Based Training: the paper does not search hyperparameters.
        assert_eq!(config.search.resample_probability, 0.25);
        assert_eq!(config.search.explore_factors, [0.8, 1.2]);
        assert_eq!(config.storage.keep, Keep::Generations(2));
    }

    #[test]
    fn resolved_configurations_round_trip() {
        for extra in
            ["", "[storage]\nkeep = \"all\"\n", "[storage]\nkeep = 5\n[slurm]\nsetup = [\"a b\"]\n", RANGES]
        {
            let config = Config::parse(Path::new("run.toml"), &format!("{GOOD}{extra}")).unwrap();
            let text = toml::to_string_pretty(&config).unwrap();
            assert_eq!(Config::parse(Path::new("again.toml"), &text).unwrap(), config);
        }
    }

    const RANGES: &str = "[synthetic]\nrate = { low = 0.01, high = 1, scale = \"log\" }\n";

    #[test]
    fn ranges_become_the_last_variables() {
        let space =
            |extra: &str| Config::parse(Path::new("run.toml"), &format!("{GOOD}{extra}")).unwrap().space();
        let (fixed, searched) = (space(""), space(RANGES));
        let (last, others) = searched.variables.split_last().unwrap();
        assert_eq!(others, fixed.variables);
        assert_eq!(last.name, "rate");
        assert_eq!(searched.size(), fixed.size());
    }

    #[test]
    fn names_are_short_single_lines() {
        let named = |name: &str| format!("name = {name:?}\n{GOOD}");
        let config = Config::parse(Path::new("run.toml"), &named("no mixing, λ = 1")).unwrap();
        assert_eq!(config.name.as_deref(), Some("no mixing, λ = 1"));
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(Config::parse(Path::new("again.toml"), &text).unwrap(), config);
        for wrong in ["", "  ", "two\nlines", &"x".repeat(81)] {
            let message = error(&named(wrong));
            assert!(message.starts_with("run.toml:1: name: must be a single line"), "{message}");
        }
    }

    #[test]
    fn unknown_keys_are_rejected_with_the_nearest_key() {
        let message = error(&GOOD.replace("population", "populaton"));
        assert!(message.starts_with("run.toml:5: unknown key `populaton`"), "{message}");
        assert!(message.contains("did you mean `population`?"), "{message}");
        let message = error(&format!("{GOOD}\n[slurm]\npartion = \"gpu\"\n"));
        assert!(message.contains("run.toml:13: ") && message.contains("`partition`"), "{message}");
    }

    #[test]
    fn renamed_keys_are_refused_with_the_new_name() {
        for (old, new) in [
            ("[search]\nepochs_per_step = 2", "search.epochs_per_generation"),
            ("[search]\nshrink = 0.4", "search.shrink_perturb.lambda"),
            ("[search]\nperturb = 0.1", "search.shrink_perturb.gamma"),
            ("[search]\nperturb_survivors = true", "search.shrink_perturb_survivors"),
            ("[search]\nperturb_factors = [0.8]", "search.explore_factors"),
            ("[slurm.step]\npartition = \"cpu\"", "slurm.controller"),
            ("[slurm]\npatience_seconds = 1", "slurm.retry_seconds"),
            ("[storage]\npatience_seconds = 1", "storage.retry_seconds"),
        ] {
            let (section, line) = old.split_once('\n').unwrap();
            let text = match section {
                "[search]" => GOOD.replace("[search]", old),
                _ => format!("{GOOD}{section}\n{line}\n"),
            };
            let message = error(&text);
            assert!(
                message.contains(&format!("now called {new}")) && !message.starts_with("run.toml:0"),
                "{message}"
            );
        }
    }

    #[test]
    fn invalid_values_are_rejected_with_their_line() {
        let message = error(&GOOD.replace("population = 8", "population = 7"));
        assert!(message.starts_with("run.toml:5: search.population: "), "{message}");
        assert!(message.contains("at least 8"), "{message}");
        let message = error(&GOOD.replace("epochs = 10", "epochs = 10\ntau = 0.7"));
        assert!(message.starts_with("run.toml:7: search.tau: "), "{message}");
        let message = error(&GOOD.replace("\"synthetic\"", "\"synthetik\""));
        assert!(
            message.contains("run.toml:10") && message.contains("did you mean `synthetic`?"),
            "{message}"
        );
        let message = error(&GOOD.replace("population = 8", "population = \"8\""));
        assert!(message.starts_with("run.toml:5: "), "{message}");
        let message = error(&format!("{GOOD}[slurm]\naccount = \"a\\nb\"\n"));
        assert!(message.starts_with("run.toml:12: slurm.account: "), "{message}");
    }

    /// Without bounds, a search of 4 billion epochs ended before it began, a timeout overflowed, and a large number
    /// could not be written back.
    #[test]
    fn numbers_have_bounds() {
        let huge = "9223372036854775807";
        let larger = "9223372036854775808";
        for (wrong, key) in [
            (GOOD.replace("seed = 1", &format!("seed = {larger}")), "seed"),
            (GOOD.replace("population = 8", "population = 10001"), "search.population"),
            (format!("{GOOD}[local]\nworkers = {larger}\n"), "local.workers"),
            (format!("{GOOD}[storage]\nvisibility_timeout = {huge}\n"), "storage.visibility_timeout"),
            (format!("{GOOD}[storage]\nretry_seconds = {huge}\n"), "storage.retry_seconds"),
            (format!("{GOOD}[training]\nsnapshot_seconds = {huge}\n"), "training.snapshot_seconds"),
            (format!("{GOOD}[slurm]\nretry_seconds = {huge}\n"), "slurm.retry_seconds"),
            (format!("{GOOD}[slurm]\nmembers_per_task = 4294967295\n"), "slurm.members_per_task"),
            (format!("{GOOD}[slurm]\nwarning_seconds = 65536\n"), "slurm.warning_seconds"),
            (format!("{GOOD}[synthetic]\nlayers = 101\n"), "synthetic.layers"),
            (format!("{GOOD}[synthetic]\nsteps_per_epoch = {larger}\n"), "synthetic.steps_per_epoch"),
            (format!("{GOOD}[synthetic]\ncrash_option = 4\n"), "synthetic.crash_option"),
            (
                GOOD.replace("epochs = 10", "epochs = 10\nresample_probability = 1.5"),
                "search.resample_probability",
            ),
            (GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = []"), "search.explore_factors"),
            (
                GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = [0.8, 0.0]"),
                "search.explore_factors",
            ),
            (GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = [inf]"), "search.explore_factors"),
        ] {
            let message = error(&wrong);
            assert!(message.contains(&format!(": {key}: must be ")), "{key}: {message}");
        }
    }

    #[test]
    fn type_errors_do_not_mention_rust_types() {
        for (wrong, message) in [
            ("search = 3\n".to_owned(), "run.toml:1: search: must be a section, not 3"),
            (
                GOOD.replace("epochs = 10", "epochs = \"10\""),
                ": search.epochs: must be a whole number from 0 to ",
            ),
            (GOOD.replace("epochs = 10", "epochs = -1"), "not -1"),
            (GOOD.replace("epochs = 10", "epochs = 0"), ": search.epochs: must be at least 1"),
            (
                GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = 2"),
                ": search.explore_factors: must be a list, as in [\"a\", \"b\"], not 2",
            ),
            (
                format!("{GOOD}[synthetic]\nnoise = \"x\"\n"),
                "run.toml:12: synthetic.noise: must be a number, not \"x\"",
            ),
            (GOOD.replace("epochs = 10\n", ""), "the key `epochs` is missing"),
        ] {
            let found = error(&wrong);
            assert!(found.contains(message), "{found}");
            for rust in ["usize", "u32", "f64", "struct", "invalid type", "field"] {
                assert!(!found.contains(rust), "{found}");
            }
        }
    }

    #[test]
    fn invalid_ranges_are_rejected_with_their_line() {
        let synthetic = |line: &str| error(&format!("{GOOD}[synthetic]\nlayers = 2\n{line}\n"));
        for (line, message) in [
            ("rate = { low = 1.0, high = 0.5 }", "low of a range must be less than its high"),
            ("rate = { low = 0.0, high = 0.5, scale = \"log\" }", "must be greater than 0"),
            ("rate = { low = 0.1, hihg = 0.5 }", "unknown key `hihg`: did you mean `high`?"),
            ("rate = { low = 0.1 }", "the key `high` is missing"),
            ("rate = { low = 0.1, high = 0.5, scale = \"lin\" }", "did you mean `linear`?"),
            ("rate = \"fast\"", "a number, or a range such as { low = "),
            ("rate = { low = -0.5, high = 0.5 }", "synthetic.rate: must be between 0 and"),
            ("rate = nan", "synthetic.rate: must be between 0 and"),
            ("noise = -1.0", "synthetic.noise: must be between 0 and"),
        ] {
            let found = synthetic(line);
            assert!(found.starts_with("run.toml:13: ") && found.contains(message), "{line}: {found}");
        }
    }

    #[test]
    fn deep_nesting_is_rejected() {
        for deep in [
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{ a = ".repeat(100_000)),
            format!("{} = 1", ["a"; 100_000].join(".")),
            format!("[{}]", ["a"; 100_000].join(".")),
        ] {
            error(&format!("{GOOD}\n{deep}\n"));
        }
    }

    /// The job script uses `SLURM_ARRAY_TASK_ID` in shell arithmetic, which executes the command in `a[$(command)]`.
    #[test]
    fn variables_of_slurm_cannot_be_set() {
        let wrong = |line: &str| error(&format!("{GOOD}[slurm.environment]\n{line}\n"));
        let message = wrong("SLURM_ARRAY_TASK_ID = \"a[$(touch gone)]\"");
        assert!(message.contains("run.toml:12: slurm.environment.SLURM_ARRAY_TASK_ID: "), "{message}");
        for line in
            ["\"A=1; touch gone; B\" = \"\"", "\"\" = \"\"", "\"é\" = \"\"", "1A = \"\"", "\"A\\nB\" = \"\""]
        {
            assert!(wrong(line).contains("is not a valid name of an environment variable"), "{line}");
        }
        assert!(wrong("A = \"a\\u0000b\"").contains("NUL characters"));
    }

    #[test]
    fn errors_without_a_line_are_reported() {
        let message = error("seed = 1\n[task]\nkind = \"synthetic\"\n");
        assert!(message.contains("run.toml") && message.contains("search"), "{message}");
        assert!(error("seed = = 1").starts_with("run.toml:1: "));
    }
}

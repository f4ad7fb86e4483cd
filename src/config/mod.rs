//! The configuration of a run: typed, with every default in one place, refused when anything is wrong.

mod fault;
mod layers;
mod sections;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use fault::ConfigError;
pub use sections::{
    EpochsPerStep, Keep, LocalConfig, SearchConfig, SlurmConfig, SlurmStepConfig, StorageConfig, TaskConfig,
    TaskKind, TrainingConfig,
};

use layers::Layers;

use crate::search::{Algorithm, Explore, Genotype, OptionWeights, SearchSettings, Space, truncation_count};
use crate::tasks::Task;
use crate::tasks::command::{CommandConfig, CommandTask};
use crate::tasks::gan::{self, GanConfig, GanTask, SpaceKind};
use crate::tasks::rl::{RlConfig, RlTask};
use crate::tasks::synthetic::{SyntheticConfig, SyntheticTask};

/// A plan of so many members and 100 variables is no larger than a record may be.
const MAX_POPULATION: usize = 10_000;
/// More ways to change a number are no choice, but a mistake.
const MAX_FACTORS: usize = 16;
/// Seconds. A time that is added to a clock must not run out of it.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// A whole configuration, as in `configs/*.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the experiment is called where runs are compared; runs that differ in seed alone share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// What is searched for how long.
    pub search: SearchConfig,
    /// Which task is trained.
    pub task: TaskConfig,
    /// Settings of the task `gan`.
    #[serde(default)]
    pub gan: GanConfig,
    /// Settings of the task `rl`.
    #[serde(default)]
    pub rl: RlConfig,
    /// Settings of the task `synthetic`.
    #[serde(default)]
    pub synthetic: SyntheticConfig,
    /// Settings of the task `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandConfig>,
    /// How a member's training is guarded.
    #[serde(default)]
    pub training: TrainingConfig,
    /// What is kept on disk.
    #[serde(default)]
    pub storage: StorageConfig,
    /// `pbtnas run`.
    #[serde(default)]
    pub local: LocalConfig,
    /// `pbtnas step` on a SLURM cluster.
    #[serde(default)]
    pub slurm: SlurmConfig,
}

impl Config {
    /// Reads and checks a configuration, and those that it `extends`. Relative paths in a file are relative to
    /// its own folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let layers = Layers::read(path)?;
        let merged = layers.merged();
        let mut config: Self = toml::from_str(&merged).map_err(|error| layers.misread(&merged, &error))?;
        config.check().map_err(|(key, message)| layers.bad_value(&key, message))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.gan.data = layers::absolute(&folder.join(&config.gan.data));
        config.rl.models = layers::absolute(&folder.join(&config.rl.models));
        if let Some(command) = &mut config.command {
            command.directory = layers::absolute(&folder.join(&command.directory));
        }
        Ok(config)
    }

    /// Parses and checks the text of a configuration; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self =
            toml::from_str(text).map_err(|error| ConfigError::from_toml(path, text, &error))?;
        config.check().map_err(|(key, message)| ConfigError::bad_value(path, text, &key, message))?;
        Ok(config)
    }

    /// The first value that cannot be used: its key and why.
    fn check(&self) -> Result<(), (String, String)> {
        let fault = |key: &str, message: &str| Err((key.to_owned(), message.to_owned()));
        if let Some(name) = &self.name {
            let plain = !name.trim().is_empty() && !name.chars().any(char::is_control);
            if !plain || name.chars().count() > 80 {
                return fault("name", "must be a single line of at most 80 characters that is not empty");
            }
        }
        let search = &self.search;
        let too_large = |key: &str, most: u64| Err((key.to_owned(), format!("must be at most {most}")));
        // TOML's largest number: a run's configuration is written back.
        if i64::try_from(self.seed).is_err() {
            return too_large("seed", i64::MAX as u64);
        }
        if search.population == 0 || search.population > MAX_POPULATION {
            return Err(("search.population".into(), format!("must be between 1 and {MAX_POPULATION}")));
        }
        if !(search.tau >= 0.0 && search.tau <= 0.5) {
            return fault("search.tau", "must be between 0 and 0.5: the best and the worst must not overlap");
        }
        if search.perturb_survivors && search.algorithm != Algorithm::RandomSearch {
            return fault("search.perturb_survivors", "is for algorithm \"random-search\" only (Table 3)");
        }
        if matches!(search.algorithm, Algorithm::PbtNas | Algorithm::Mutation) {
            let count = truncation_count(search.population, search.tau);
            let mixing = search.mixing && search.algorithm == Algorithm::PbtNas;
            let needed = if mixing { 2 } else { 1 };
            if count < needed {
                return Err((
                    "search.population".into(),
                    format!(
                        "population {} with tau {} selects {count} parent(s), but {needed} are needed: \
                         use a population of at least {}",
                        search.population,
                        search.tau,
                        if search.tau > 0.0 { (needed as f64 / search.tau).ceil() as u64 } else { 8 },
                    ),
                ));
            }
        }
        for (key, probability) in [
            ("search.replace_probability", search.replace_probability),
            ("search.resample_probability", search.resample_probability),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                return fault(key, "must be between 0 and 1");
            }
        }
        let factors = &search.perturb_factors;
        let positive = factors.iter().all(|factor| factor.is_finite() && *factor > 0.0);
        if factors.is_empty() || factors.len() > MAX_FACTORS || !positive {
            return Err((
                "search.perturb_factors".into(),
                format!("must be a list of 1 to {MAX_FACTORS} numbers that are more than 0"),
            ));
        }
        for (key, value) in [("search.shrink", search.shrink), ("search.perturb", search.perturb)] {
            if !value.is_finite() || value < 0.0 {
                return fault(key, "must be a number that is not negative");
            }
        }
        if search.epochs == 0 {
            return fault("search.epochs", "must be at least 1");
        }
        search.schedule().map_err(|error| ("search.epochs_per_step".to_owned(), error.to_string()))?;
        if self.training.max_attempts == 0 {
            return fault("training.max_attempts", "must be at least 1");
        }
        if self.local.workers.is_some_and(|workers| workers == 0 || workers > MAX_POPULATION) {
            return Err(("local.workers".into(), format!("must be between 1 and {MAX_POPULATION}")));
        }
        for (key, seconds) in [
            ("training.snapshot_seconds", self.training.snapshot_seconds),
            ("storage.visibility_timeout", self.storage.visibility_timeout),
            ("storage.patience_seconds", self.storage.patience_seconds),
            ("slurm.patience_seconds", self.slurm.patience_seconds),
        ] {
            if seconds > YEAR {
                return too_large(key, YEAR);
            }
        }
        match &self.command {
            Some(command) => command.check().map_err(|(key, message)| (format!("command.{key}"), message))?,
            None if self.task.kind == TaskKind::Command => {
                return fault("task.kind", "\"command\" needs a section [command]: see docs/command-task.md");
            }
            None => {}
        }
        // A task that comes near to its time limit has so long to save.
        let warning = u64::from(self.slurm.warning_seconds);
        if self.slurm.time.is_some()
            && self.task.kind == TaskKind::Command
            && warning <= self.grace().as_secs()
        {
            let least = self.grace().as_secs() + 1;
            let message =
                format!("must be at least {least}: command.grace_seconds, and some to keep what was saved");
            return Err(("slurm.warning_seconds".into(), message));
        }
        if search.algorithm == Algorithm::AdversarialNas {
            self.check_supernet()?;
        }
        self.slurm.check().map_err(|(key, message)| (format!("slurm.{key}"), message))?;
        // All tasks': what is written here may not be nonsense only because it is not used yet.
        self.gan.check().map_err(|(key, message)| (format!("gan.{key}"), message))?;
        let supernet = self.gan.supernet.check();
        supernet.map_err(|(key, message)| (format!("gan.supernet.{key}"), message))?;
        self.rl.check().map_err(|(key, message)| (format!("rl.{key}"), message))?;
        self.synthetic.check().map_err(|(key, message)| (format!("synthetic.{key}"), message))
    }

    /// Whether there is a supernet, and time for it and for what comes out of it.
    fn check_supernet(&self) -> Result<(), (String, String)> {
        let fault = |key: &str, message: String| Err((key.to_owned(), message));
        let algorithm = format!("algorithm {:?}", self.search.algorithm.to_string());
        if self.task.kind != TaskKind::Gan {
            return fault(
                "search.algorithm",
                format!("{algorithm} is for the task \"gan\" in its space \"gan\" only"),
            );
        }
        if self.gan.space != SpaceKind::Gan {
            let why = "in \"gan-hard\" there are options whose outputs differ in shape (to downsample or not, say), which \
                       cannot be summed in a supernet; it searches the space \"gan\"";
            return fault("gan.space", format!("{algorithm} cannot search it: {why}"));
        }
        if let Some(variable) =
            self.gan.search_space().variables.iter().find(|variable| variable.as_range().is_some())
        {
            let key = format!("gan.{}", variable.name);
            return fault(
                &key,
                format!("{algorithm} searches architectures only: give a number instead of a range"),
            );
        }
        let (images, batch) = (self.gan.subset, self.gan.supernet.batch);
        if images != 0 && images < batch {
            return fault(
                "gan.supernet.batch",
                format!("is more than the images in use: gan.subset = {images}"),
            );
        }
        let epochs = self.gan.supernet.epochs;
        let schedule = self
            .search
            .schedule()
            .map_err(|error| ("search.epochs_per_step".to_owned(), error.to_string()))?;
        let mut ends = std::iter::successors(schedule.next_boundary(0), |&end| schedule.next_boundary(end));
        if epochs >= self.search.epochs || !ends.any(|end| end == epochs) {
            return fault(
                "gan.supernet.epochs",
                format!(
                    "a step must end after epoch {epochs}, and some must be left for the network that is derived then: see \
                 search.epochs ({}) and search.epochs_per_step",
                    self.search.epochs
                ),
            );
        }
        Ok(())
    }

    /// How long a member's process may take to leave after a signal.
    pub fn grace(&self) -> Duration {
        match (&self.command, self.task.kind) {
            // What the program has written is still to be kept.
            (Some(command), TaskKind::Command) => Duration::from_secs(command.grace_seconds + 4),
            _ => Duration::from_secs(4),
        }
    }

    /// Epochs that a supernet is trained before an architecture is derived.
    pub fn supernet_epochs(&self) -> u32 {
        self.gan.supernet.epochs
    }

    /// The architecture that a supernet comes to.
    pub fn derive(&self, weights: &OptionWeights) -> anyhow::Result<Genotype> {
        gan::derive(weights)
    }

    /// The parameters of the pure search.
    pub fn settings(&self) -> SearchSettings {
        SearchSettings {
            algorithm: self.search.algorithm,
            population: self.search.population,
            tau: self.search.tau,
            replace_probability: self.search.replace_probability,
            mixing: self.search.mixing,
            perturb_survivors: self.search.perturb_survivors,
            initial: self.search.initial,
            explore: Explore {
                resample_probability: self.search.resample_probability,
                perturb_factors: self.search.perturb_factors.clone(),
            },
        }
    }

    /// The search space. No data is looked for.
    pub fn space(&self) -> Space {
        match self.task.kind {
            TaskKind::Command => self.command.as_ref().map(CommandConfig::space).unwrap_or_default(),
            TaskKind::Gan => self.gan.search_space(),
            TaskKind::Rl => self.rl.search_space(),
            TaskKind::Synthetic => SyntheticTask::new(self.synthetic.clone()).space().clone(),
        }
    }

    /// The task; no data is looked for.
    pub fn task(&self) -> anyhow::Result<Box<dyn Task>> {
        Ok(match self.task.kind {
            TaskKind::Command => {
                let command = self.command.clone().context("the configuration has no section [command]")?;
                Box::new(CommandTask::new(command, self.training.snapshot_seconds))
            }
            TaskKind::Gan => Box::new(GanTask::new(self.gan.clone())),
            TaskKind::Rl => Box::new(RlTask::new(self.rl.clone())),
            TaskKind::Synthetic => Box::new(SyntheticTask::new(self.synthetic.clone())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
seed = 1

[search]
population = 8
epochs = 10
epochs_per_step = [{ epochs = 2, until = 5 }, { epochs = 1 }]

[task]
kind = "synthetic"
"#;

    fn error(text: &str) -> String {
        Config::parse(Path::new("run.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_the_paper_s() {
        let config = Config::parse(Path::new("run.toml"), GOOD).unwrap();
        assert_eq!(config.search.tau, 0.25);
        assert_eq!(config.search.replace_probability, 0.25);
        assert_eq!((config.search.shrink, config.search.perturb), (0.4, 0.1));
        // Those of Population Based Training: the paper searches no hyperparameters.
        assert_eq!(config.search.resample_probability, 0.25);
        assert_eq!(config.search.perturb_factors, [0.8, 1.2]);
        assert_eq!(config.storage.keep, Keep::Generations(2));
    }

    #[test]
    fn the_resolved_configuration_reads_back_the_same() {
        for extra in
            ["", "[storage]\nkeep = \"all\"\n", "[storage]\nkeep = 5\n[slurm]\nsetup = [\"a b\"]\n", RANGES]
        {
            let config = Config::parse(Path::new("run.toml"), &format!("{GOOD}{extra}")).unwrap();
            let text = toml::to_string_pretty(&config).unwrap();
            assert_eq!(Config::parse(Path::new("again.toml"), &text).unwrap(), config);
        }
    }

    const RANGES: &str = "[synthetic]\nrate = { low = 0.01, high = 1, scale = \"log\" }\n[gan]\nlearning_rate = \
                          { low = 1e-5, high = 1e-2, scale = \"log\" }\ndiscriminator_learning_rate = 4e-4\n";

    #[test]
    fn ranges_become_variables_behind_the_others() {
        let config = |extra: &str, kind: &str| {
            let text = format!("{GOOD}{extra}").replace("\"synthetic\"", kind);
            Config::parse(Path::new("run.toml"), &text).unwrap()
        };
        for (kind, name) in [("\"synthetic\"", "rate"), ("\"gan\"", "learning_rate")] {
            let (fixed, searched) = (config("", kind).space(), config(RANGES, kind).space());
            let (last, others) = searched.variables.split_last().unwrap();
            assert_eq!(others, fixed.variables);
            assert_eq!(last.name, name);
            assert_eq!(searched.size(), fixed.size());
        }
    }

    #[test]
    fn a_name_is_a_short_line_that_can_stand_in_a_table() {
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
    fn the_configurations_that_come_along_are_sound_and_the_full_one_holds_the_defaults() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        for entry in walkdir::WalkDir::new(&folder) {
            let path = entry.unwrap().into_path();
            if path.is_file() {
                Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        let full = Config::load(&folder.join("fashion-small.toml")).unwrap();
        let short =
            "seed = 1\n[search]\npopulation = 24\nepochs = 60\nepochs_per_step = 5\n[task]\nkind = \"gan\"\n";
        let mut short = Config::parse(Path::new("short.toml"), short).unwrap();
        short.gan.data = full.gan.data.clone();
        short.rl.models = full.rl.models.clone();
        assert_eq!(full, short);
    }

    #[test]
    fn the_paper_s_experiments_differ_in_what_they_are_about() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper");
        let load = |name: &str| Config::load(&folder.join(name)).unwrap();
        let hard = load("cifar10-gan-hard/pbt-nas.toml");
        let search = &hard.search;
        assert_eq!((search.population, search.epochs, search.tau), (24, 300, 0.25));
        assert_eq!((search.shrink, search.perturb, search.replace_probability), (0.4, 0.1, 0.25));
        assert_eq!(hard.gan.space, gan::SpaceKind::GanHard);
        assert_eq!((hard.gan.generator_width, hard.gan.discriminator_width), (256, 128));
        assert_eq!((hard.gan.batch, hard.gan.generator_batch), (40, 80));
        let stl = load("stl10-gan/random-search.toml");
        assert_eq!((stl.gan.generator_width, stl.gan.bottom_width, stl.gan.projections), (270, 6, 2));
        assert_eq!((stl.gan.batch, stl.gan.generator_batch), (128, 256));
        type Change<'a> = &'a dyn Fn(&mut SearchConfig);
        let with = |change: Change| {
            let mut config = hard.clone();
            change(&mut config.search);
            config
        };
        let experiments: [(&str, Change); 10] = [
            ("random-search", &|s| s.algorithm = Algorithm::RandomSearch),
            ("mutation", &|s| s.algorithm = Algorithm::Mutation),
            ("no-mixing", &|s| s.mixing = false),
            ("copy-exactly", &|s| (s.shrink, s.perturb) = (1.0, 0.0)),
            ("reinitialize", &|s| (s.shrink, s.perturb) = (0.0, 1.0)),
            ("random-search-shrink-perturb", &|s| {
                (s.algorithm, s.perturb_survivors) = (Algorithm::RandomSearch, true)
            }),
            ("population-12", &|s| s.population = 12),
            ("population-36", &|s| s.population = 36),
            ("random-search-population-12", &|s| (s.algorithm, s.population) = (Algorithm::RandomSearch, 12)),
            ("random-search-population-36", &|s| (s.algorithm, s.population) = (Algorithm::RandomSearch, 36)),
        ];
        for (name, change) in experiments {
            let mut config = load(&format!("cifar10-gan-hard/{name}.toml"));
            assert_ne!(config.name, hard.name);
            config.name = hard.name.clone();
            assert_eq!(config, with(change), "{name}");
        }
    }

    #[test]
    fn the_paper_s_experiments_on_control_have_its_numbers() {
        use crate::tasks::rl::environment::EnvironmentKind::{HumanoidRun, QuadrupedRun, WalkerRun};
        use crate::tasks::rl::replay::Share;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper");
        let load = |name: &str| Config::load(&folder.join(name)).unwrap();
        for (name, environment, epochs, steps, rate, batch, n_step, noise, capacity, share) in [
            ("quadruped", QuadrupedRun, 300, 23, 1e-4, 256, 3, 500_000, 100_000, Share::None),
            ("walker", WalkerRun, 300, 23, 1e-4, 512, 1, 500_000, 1_000_000, Share::Node),
            ("humanoid", HumanoidRun, 1500, 15, 8e-5, 256, 3, 2_000_000, 1_000_000, Share::Node),
        ] {
            for (experiment, algorithm) in [
                ("pbt-nas", Algorithm::PbtNas),
                ("mutation", Algorithm::Mutation),
                ("random-search", Algorithm::RandomSearch),
            ] {
                let config = load(&format!("{name}/{experiment}.toml"));
                assert_eq!(config.task.kind, TaskKind::Rl);
                assert_eq!(config.search.algorithm, algorithm);
                assert_eq!((config.search.population, config.search.epochs), (12, epochs));
                let schedule = config.search.schedule().unwrap();
                let ends = std::iter::successors(schedule.next_boundary(0), |&at| schedule.next_boundary(at));
                assert_eq!(ends.count(), steps, "{name}");
                let rl = &config.rl;
                assert_eq!(rl.environment, environment);
                assert_eq!(rl.learning_rate, crate::tasks::Hyperparameter::Fixed(rate));
                assert_eq!((rl.batch, rl.n_step, rl.hidden), (batch, n_step, 1024));
                assert_eq!((rl.exploration_steps, rl.replay_capacity, rl.share), (noise, capacity, share));
                assert_eq!((rl.seed_frames, rl.random_frames, rl.frames_per_epoch), (4000, 4000, 10_000));
            }
        }
        // Two parents and two offspring out of six; four out of eighteen.
        for (file, population, replaced) in [("population-6", 6, 2), ("population-18", 18, 4)] {
            let search = load(&format!("quadruped/{file}.toml")).search;
            assert_eq!(search.population, population);
            assert_eq!(truncation_count(population, search.tau), replaced);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let message = error(&GOOD.replace("population", "populaton"));
        assert!(message.starts_with("run.toml:5: unknown key `populaton`"), "{message}");
        assert!(message.contains("did you mean `population`?"), "{message}");
        let message = error(&format!("{GOOD}\n[slurm]\npartion = \"gpu\"\n"));
        assert!(message.contains("run.toml:13: ") && message.contains("`partition`"), "{message}");
    }

    #[test]
    fn a_bad_value_is_refused_at_its_line() {
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

    /// Before they did, a search of 4 billion epochs ended before it began, a wait ran out of the clock, and a
    /// large number could not be written back.
    #[test]
    fn numbers_have_bounds() {
        let huge = "9223372036854775807";
        let larger = "9223372036854775808";
        for (wrong, key) in [
            (GOOD.replace("seed = 1", &format!("seed = {larger}")), "seed"),
            (GOOD.replace("population = 8", "population = 10001"), "search.population"),
            (format!("{GOOD}[local]\nworkers = {larger}\n"), "local.workers"),
            (format!("{GOOD}[storage]\nvisibility_timeout = {huge}\n"), "storage.visibility_timeout"),
            (format!("{GOOD}[storage]\npatience_seconds = {huge}\n"), "storage.patience_seconds"),
            (format!("{GOOD}[training]\nsnapshot_seconds = {huge}\n"), "training.snapshot_seconds"),
            (format!("{GOOD}[slurm]\npatience_seconds = {huge}\n"), "slurm.patience_seconds"),
            (format!("{GOOD}[slurm]\nmembers_per_task = 4294967295\n"), "slurm.members_per_task"),
            (format!("{GOOD}[slurm]\nwarning_seconds = 65536\n"), "slurm.warning_seconds"),
            (format!("{GOOD}[synthetic]\nlayers = 101\n"), "synthetic.layers"),
            (format!("{GOOD}[synthetic]\nsteps_per_epoch = {larger}\n"), "synthetic.steps_per_epoch"),
            (format!("{GOOD}[synthetic]\ncrash_option = 4\n"), "synthetic.crash_option"),
            (format!("{GOOD}[gan]\nlatent = 1048575\n"), "gan.latent"),
            (format!("{GOOD}[gan]\nfinal_images = {larger}\n"), "gan.final_images"),
            (format!("{GOOD}[gan]\nthreads = 2147483647\n"), "gan.threads"),
            (
                GOOD.replace("epochs = 10", "epochs = 10\nresample_probability = 1.5"),
                "search.resample_probability",
            ),
            (GOOD.replace("epochs = 10", "epochs = 10\nperturb_factors = []"), "search.perturb_factors"),
            (
                GOOD.replace("epochs = 10", "epochs = 10\nperturb_factors = [0.8, 0.0]"),
                "search.perturb_factors",
            ),
            (GOOD.replace("epochs = 10", "epochs = 10\nperturb_factors = [inf]"), "search.perturb_factors"),
            // Of the other task, but it is written back too, and equals nothing.
            (format!("{GOOD}[gan]\nbeta1 = nan\n"), "gan.beta1"),
        ] {
            let message = error(&wrong);
            assert!(message.contains(&format!(": {key}: must be ")), "{key}: {message}");
        }
    }

    #[test]
    fn a_value_of_a_wrong_kind_is_told_in_the_words_of_the_file() {
        for (wrong, message) in [
            ("search = 3\n".to_owned(), "run.toml:1: search: must be a section, not 3"),
            (
                GOOD.replace("epochs = 10", "epochs = \"10\""),
                ": search.epochs: must be a whole number from 0 to ",
            ),
            (GOOD.replace("epochs = 10", "epochs = -1"), "not -1"),
            (GOOD.replace("epochs = 10", "epochs = 0"), ": search.epochs: must be at least 1"),
            (
                GOOD.replace("epochs = 10", "epochs = 10\nperturb_factors = 2"),
                ": search.perturb_factors: must be a list, as in [\"a\", \"b\"], not 2",
            ),
            (format!("{GOOD}[gan]\nbeta1 = \"x\"\n"), "run.toml:12: gan.beta1: must be a number, not \"x\""),
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
    fn a_range_that_is_none_is_refused_at_its_line() {
        let synthetic = |line: &str| error(&format!("{GOOD}[synthetic]\nlayers = 2\n{line}\n"));
        for (line, message) in [
            ("rate = { low = 1.0, high = 0.5 }", "low of a range must be less than its high"),
            ("rate = { low = 0.0, high = 0.5, scale = \"log\" }", "must be more than 0"),
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
        let found = error(&format!("{GOOD}[gan]\ndiscriminator_learning_rate = {{ low = -1, high = 1 }}\n"));
        assert!(found.starts_with("run.toml:12: gan.discriminator_learning_rate: must be"), "{found}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        for deep in [
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{ a = ".repeat(100_000)),
            format!("{} = 1", ["a"; 100_000].join(".")),
            format!("[{}]", ["a"; 100_000].join(".")),
        ] {
            error(&format!("{GOOD}\n{deep}\n"));
        }
    }

    /// A script calculates with `SLURM_ARRAY_TASK_ID`, and a shell runs the command in `a[$(command)]` then.
    #[test]
    fn slurm_s_own_variables_cannot_be_set() {
        let wrong = |line: &str| error(&format!("{GOOD}[slurm.environment]\n{line}\n"));
        let message = wrong("SLURM_ARRAY_TASK_ID = \"a[$(touch gone)]\"");
        assert!(message.contains("run.toml:12: slurm.environment.SLURM_ARRAY_TASK_ID: "), "{message}");
        for line in
            ["\"A=1; touch gone; B\" = \"\"", "\"\" = \"\"", "\"é\" = \"\"", "1A = \"\"", "\"A\\nB\" = \"\""]
        {
            assert!(wrong(line).contains("is no name of an environment variable"), "{line}");
        }
        assert!(wrong("A = \"a\\u0000b\"").contains("character of code 0"));
    }

    #[test]
    fn what_has_no_line_of_its_own_is_named_all_the_same() {
        let message = error("seed = 1\n[task]\nkind = \"gan\"\n");
        assert!(message.contains("run.toml") && message.contains("search"), "{message}");
        assert!(error("seed = = 1").starts_with("run.toml:1: "));
    }
}

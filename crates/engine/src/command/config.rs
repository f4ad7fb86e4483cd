//! `[command]`: the user's program and its search space.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::CommandTask;
use crate::config::{BadValue, SearchConfig, TrainingConfig, YEAR, absolute};
use crate::device::{Compute, DeviceChoice};
use crate::task::{Task, TaskConfig, TaskKind, section_table};
use pbtnas_core::search::{Rule, Space, Variable};

/// Settings of the task `command`. docs/command-task.md specifies the contract with the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments, run in `directory`.
    pub command: Vec<String>,
    /// The working directory of the program, relative to the folder of the configuration file.
    #[serde(default = "default_directory")]
    pub directory: PathBuf,
    /// The device that the program trains on: `auto`, `cpu` or `cuda`.
    #[serde(default = "default_device")]
    pub device: DeviceChoice,
    /// Threads of the program's libraries (`OMP_NUM_THREADS`, `MKL_NUM_THREADS`, `OPENBLAS_NUM_THREADS`).
    #[serde(default = "default_threads")]
    pub threads: u32,
    /// Seconds without output or progress after which the program is killed.
    #[serde(default = "default_hang_seconds")]
    pub hang_seconds: u64,
    /// Seconds that the program has to save and exit after SIGTERM.
    #[serde(default = "default_grace_seconds")]
    pub grace_seconds: u64,
    /// Limit of the program's output in MB. A program that prints more is killed.
    #[serde(default = "default_output_megabytes")]
    pub output_megabytes: u64,
    /// Samples of a final evaluation (`pbtnas evaluate`). The program decides what a sample is.
    #[serde(default = "default_final_samples")]
    pub final_samples: u64,
    /// Networks whose averages are target networks, which training reads: what perturbs or mutates a whole network acts
    /// on them, too. Other averages are moving averages for evaluation.
    #[serde(default)]
    pub target_networks: Vec<String>,
    /// Additional environment variables of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The variables of the search space.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Forbidden combinations of options: a genotype is excluded if it matches every entry of one of these rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<Rule>,
}

fn default_directory() -> PathBuf {
    ".".into()
}
fn default_device() -> DeviceChoice {
    DeviceChoice::Auto
}
fn default_threads() -> u32 {
    1
}
fn default_hang_seconds() -> u64 {
    3600
}
fn default_grace_seconds() -> u64 {
    20
}
fn default_output_megabytes() -> u64 {
    64
}
fn default_final_samples() -> u64 {
    10_000
}

impl CommandConfig {
    /// Returns the key and the fault of the first invalid value. Accesses no files.
    pub(super) fn first_bad_value(&self) -> Result<(), (String, String)> {
        let fault = |key: &str, message: &str| Err((key.to_owned(), message.to_owned()));
        if self.command.first().is_none_or(|program| program.is_empty()) {
            return fault("command", "must name a program, e.g. [\"python3\", \"train.py\"]");
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return fault("command", "must not contain NUL characters");
        }
        if !(1..=1024).contains(&self.threads) {
            return fault("threads", "must be between 1 and 1024");
        }
        for (key, value, most) in [
            ("hang_seconds", self.hang_seconds, YEAR),
            ("grace_seconds", self.grace_seconds, YEAR),
            ("output_megabytes", self.output_megabytes, 1 << 20),
            ("final_samples", self.final_samples, 1 << 40),
        ] {
            if value == 0 || value > most {
                return Err((key.to_owned(), format!("must be between 1 and {most}")));
            }
        }
        for (name, value) in &self.environment {
            let key = format!("environment.{name}");
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return fault(&key, "is not a valid name or value of an environment variable");
            }
            if name.starts_with("PBTNAS_") {
                return fault(&key, "is reserved for pbtnas");
            }
        }
        self.search_space().check().map_err(|error| ("variables".to_owned(), error.to_string()))
    }

    pub(super) fn search_space(&self) -> Space {
        Space { variables: self.variables.clone(), rules: self.forbid.clone() }
    }

    /// Checks that the working directory, the program and its script exist. Returns the key and the fault of the first
    /// one that is missing.
    pub fn missing(&self) -> Option<(&'static str, String)> {
        if !self.directory.is_dir() {
            return Some(("directory", format!("{} is not a directory", self.directory.display())));
        }
        let (program, arguments) = self.command.split_first()?;
        // An interpreter's script is its first argument unless that is an option (`-c`, `-m`, `-u`).
        let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let interprets = name.starts_with("python") || matches!(name, "bash" | "sh" | "julia" | "Rscript");
        let script = arguments.first().filter(|argument| interprets && !argument.starts_with('-'));
        // A name without a slash is resolved through PATH when the job runs.
        let program = Some(program).filter(|program| program.contains('/'));
        let files = program.into_iter().chain(script);
        let gone = files.map(|file| self.directory.join(file)).find(|file| !file.is_file());
        gone.map(|file| ("command", format!("file not found: {}", file.display())))
    }
}

pub struct CommandKind;

impl TaskKind for CommandKind {
    fn name(&self) -> &'static str {
        "command"
    }

    fn read(
        &self,
        section: Option<ValueDeserializer>,
    ) -> Result<Option<Arc<dyn TaskConfig>>, toml::de::Error> {
        let config = section.map(CommandConfig::deserialize).transpose()?;
        Ok(config.map(|config| Arc::new(config) as Arc<dyn TaskConfig>))
    }

    fn paths(&self) -> &'static [&'static str] {
        &["directory"]
    }
}

impl TaskConfig for CommandConfig {
    fn check(&self, _: &SearchConfig) -> Result<(), BadValue> {
        self.first_bad_value().map_err(|(key, message)| BadValue::new(format!("command.{key}"), message))
    }

    fn space(&self) -> Space {
        self.search_space()
    }

    fn task(self: Arc<Self>, training: &TrainingConfig) -> Box<dyn Task> {
        Box::new(CommandTask::new(Self::clone(&self), training.snapshot_seconds))
    }

    fn to_table(&self) -> Result<toml::Table, toml::ser::Error> {
        section_table(self)
    }

    fn resolve(&self, folder: &Path) -> Arc<dyn TaskConfig> {
        Arc::new(Self { directory: absolute(&folder.join(&self.directory)), ..self.clone() })
    }

    fn compute(&self) -> Option<Compute> {
        Some(Compute { device: self.device, threads: u64::from(self.threads), precision: None })
    }

    /// After a signal, the program has `grace_seconds` to save before it is killed.
    fn grace(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.grace_seconds))
    }
}

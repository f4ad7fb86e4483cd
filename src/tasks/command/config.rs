//! `[command]`: the user's program, and what is searched in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::gpu::DeviceChoice;
use crate::search::{Rule, Space, Variable};

/// Seconds. A time that is added to a clock must not run out of it.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// Settings of the task `command`. What the program is asked for is written down in docs/command-task.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments, run in `directory`.
    pub command: Vec<String>,
    /// Relative to the folder of the configuration that it stands in.
    #[serde(default = "here")]
    pub directory: PathBuf,
    /// `auto`, `cpu` or `cuda`: what the program is told to train on.
    #[serde(default = "auto")]
    pub device: DeviceChoice,
    /// Threads that libraries of the program may use (`OMP_NUM_THREADS` and its kin).
    #[serde(default = "one")]
    pub threads: u32,
    /// Seconds without output or progress after which the program is ended.
    #[serde(default = "hour")]
    pub hang_seconds: u64,
    /// Seconds that the program has to save and leave when it is asked to.
    #[serde(default = "twenty")]
    pub grace_seconds: u64,
    /// A program that prints more than so many MB is ended.
    #[serde(default = "sixty_four")]
    pub output_megabytes: u64,
    /// Samples of a final evaluation (`pbtnas evaluate`), whatever the program takes for one.
    #[serde(default = "ten_thousand")]
    pub final_samples: u64,
    /// Further environment variables of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What is searched.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Combinations of options that are never made: those that match every entry of one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<Rule>,
}

fn here() -> PathBuf {
    ".".into()
}
fn auto() -> DeviceChoice {
    DeviceChoice::Auto
}
fn one() -> u32 {
    1
}
fn hour() -> u64 {
    3600
}
fn twenty() -> u64 {
    20
}
fn sixty_four() -> u64 {
    64
}
fn ten_thousand() -> u64 {
    10_000
}

impl CommandConfig {
    /// The first value that cannot be used: its key and why. No file is looked for.
    pub fn check(&self) -> Result<(), (String, String)> {
        let fault = |key: &str, message: &str| Err((key.to_owned(), message.to_owned()));
        if self.command.first().is_none_or(|program| program.is_empty()) {
            return fault("command", "must name a program, e.g. [\"python3\", \"train.py\"]");
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return fault("command", "must not hold a character of code 0");
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
                return fault(&key, "is no name, or no value, of an environment variable");
            }
            if name.starts_with("PBTNAS_") {
                return fault(&key, "is set by pbtnas");
            }
        }
        self.space().check().map_err(|error| ("variables".to_owned(), error.to_string()))
    }

    /// The search space that is declared.
    pub fn space(&self) -> Space {
        Space { variables: self.variables.clone(), rules: self.forbid.clone() }
    }

    /// What is missing of what the program needs: the folder, the program, the script that it runs; the key and why.
    pub fn missing(&self) -> Option<(&'static str, String)> {
        if !self.directory.is_dir() {
            return Some(("directory", format!("{} is no folder", self.directory.display())));
        }
        let (program, arguments) = self.command.split_first()?;
        // The script of an interpreter is its first argument, unless that is an option (`-c`, `-m`, `-u`).
        let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let interprets = name.starts_with("python") || matches!(name, "bash" | "sh" | "julia" | "Rscript");
        let script = arguments.first().filter(|argument| interprets && !argument.starts_with('-'));
        // A name without a folder is looked for when it runs, in the environment of that job.
        let program = Some(program).filter(|program| program.contains('/'));
        let files = program.into_iter().chain(script);
        let gone = files.map(|file| self.directory.join(file)).find(|file| !file.is_file());
        gone.map(|file| ("command", format!("there is no file {}", file.display())))
    }
}

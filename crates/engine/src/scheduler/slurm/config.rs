//! `[slurm]` and `[slurm.controller]`: what the jobs request.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::options::{OPTIONS, OptionScope, OptionValue, SbatchOption};
use crate::config::bad_value::BadValue;

/// Upper bound of all counts.
const MOST: u32 = 1_000_000;

/// The values of sbatch's options, by key. Options without a value are left to the cluster's defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionValues(BTreeMap<&'static str, String>);

impl OptionValues {
    /// The value of a key of [`OPTIONS`].
    pub fn get(&self, key: &str) -> Option<&str> {
        debug_assert!(OPTIONS.iter().any(|option| option.key == key), "{key} is not an option");
        self.0.get(key).map(String::as_str)
    }

    /// Sets a value that was not read from a configuration.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        if let Some(option) = OPTIONS.iter().find(|option| option.key == key) {
            self.0.insert(option.key, value.into());
        }
    }

    fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        for option in &OPTIONS {
            let Some(value) = self.get(option.key) else { continue };
            match (option.value, value.parse::<u32>()) {
                (OptionValue::Count, Ok(count)) => map.serialize_entry(option.key, &count)?,
                _ => map.serialize_entry(option.key, value)?,
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), (String, String)> {
        for option in &OPTIONS {
            let Some(value) = self.get(option.key) else { continue };
            match option.value {
                OptionValue::Text => check_line(option.key, value)?,
                OptionValue::Count => check_count(option.key, value.parse().unwrap_or(0))?,
            }
        }
        Ok(())
    }
}

/// `[slurm]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlurmConfig {
    /// The options of sbatch for the jobs that train.
    pub options: OptionValues,
    /// Array tasks that run at a time (`%K` of the array).
    pub max_running: Option<u32>,
    /// Members that one task trains side by side, to share a GPU.
    pub members_per_task: u32,
    /// Seconds for which `pbtnas step`, called by hand, retries while SLURM does not answer or the queue is full. A
    /// controller job retries without limit.
    pub retry_seconds: u64,
    /// Seconds before the time limit at which a task saves a snapshot and requeues itself.
    pub warning_seconds: u32,
    /// Further arguments of sbatch for the jobs that train, one each.
    pub extra: Vec<String>,
    /// Shell lines that every job runs first, e.g. `module load cuda`.
    pub setup: Vec<String>,
    /// Environment variables of every job.
    pub environment: BTreeMap<String, String>,
    /// The command that a training job runs instead of this program, word by word, e.g. a container runtime with an
    /// image that contains pbtnas. Empty: this program.
    pub program: Vec<String>,
    /// `[slurm.controller]`.
    pub controller: ControllerConfig,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        Self {
            options: OptionValues::default(),
            max_running: None,
            members_per_task: 1,
            retry_seconds: 120,
            warning_seconds: 120,
            extra: Vec::new(),
            setup: Vec::new(),
            environment: BTreeMap::new(),
            program: Vec::new(),
            controller: ControllerConfig::default(),
        }
    }
}

/// `[slurm.controller]`: what the short jobs that run `pbtnas step` request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControllerConfig {
    /// The options of sbatch. A partition without GPUs suffices; it should not be preemptible.
    pub options: OptionValues,
    /// Further arguments of sbatch.
    pub extra: Vec<String>,
    /// The command that a controller job runs instead of this program; it must be able to run SLURM's commands.
    pub program: Vec<String>,
}

impl SlurmConfig {
    /// The value of an option for the jobs that train.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.options.get(key)
    }

    /// Returns the first value that cannot be passed to sbatch or into a job script.
    pub(crate) fn check(&self) -> Result<(), BadValue> {
        let below = |section: &'static str| {
            move |(key, message): (String, String)| BadValue::new(format!("{section}.{key}"), message)
        };
        self.options.check().map_err(below("slurm"))?;
        self.controller.options.check().map_err(below("slurm.controller"))?;
        self.check_words().map_err(below("slurm"))?;
        self.check_environment().map_err(below("slurm"))?;
        check_count("members_per_task", self.members_per_task).map_err(below("slurm"))?;
        check_count("max_running", self.max_running.unwrap_or(1)).map_err(below("slurm"))?;
        // sbatch's own limit.
        if self.warning_seconds > 65535 {
            return Err(BadValue::new("slurm.warning_seconds", "must be at most 65535"));
        }
        Ok(())
    }

    fn check_words(&self) -> Result<(), (String, String)> {
        for (key, values, are_options) in [
            ("extra", &self.extra, true),
            ("setup", &self.setup, false),
            ("program", &self.program, false),
            ("controller.extra", &self.controller.extra, true),
            ("controller.program", &self.controller.program, false),
        ] {
            for value in values {
                check_line(key, value)?;
                if are_options && !value.starts_with('-') {
                    return Err((
                        key.into(),
                        format!("{value:?} is not an option of sbatch: it must start with `-`"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_environment(&self) -> Result<(), (String, String)> {
        for (name, value) in &self.environment {
            let bad = |message: &str| Err((format!("environment.{name}"), message.to_owned()));
            let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
            if !identifier {
                return bad("is not a valid name of an environment variable");
            }
            if value.contains('\0') {
                return bad("must not contain NUL characters");
            }
            // Job scripts use SLURM's variables in arithmetic, and a shell executes command substitutions in the
            // values.
            if name.starts_with("SLURM_") && name != "SLURM_CONF" {
                return bad("is set by SLURM in every job");
            }
        }
        Ok(())
    }
}

fn check_line(key: &str, value: &str) -> Result<(), (String, String)> {
    match value.trim().is_empty() || value.chars().any(char::is_control) {
        true => Err((key.into(), "must be a single line of text that is not empty".into())),
        false => Ok(()),
    }
}

fn check_count(key: &str, count: u32) -> Result<(), (String, String)> {
    match (1..=MOST).contains(&count) {
        true => Ok(()),
        false => Err((key.into(), format!("must be between 1 and {MOST}"))),
    }
}

/// Keys of `[slurm]` that are not options of sbatch.
const FIELDS: [&str; 9] = [
    "max_running",
    "members_per_task",
    "retry_seconds",
    "warning_seconds",
    "extra",
    "setup",
    "environment",
    "program",
    "controller",
];
/// Keys of `[slurm.controller]` that are not options of sbatch.
const CONTROLLER_FIELDS: [&str; 2] = ["extra", "program"];

static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| keys(&FIELDS, |_| true));
static CONTROLLER_KEYS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| keys(&CONTROLLER_FIELDS, |option| option.scope == OptionScope::Both));

fn keys(fields: &[&'static str], wanted: fn(&SbatchOption) -> bool) -> Vec<&'static str> {
    let options = OPTIONS.iter().filter(|option| wanted(option)).map(|option| option.key);
    options.chain(fields.iter().copied()).collect()
}

/// Reads a key of a section; an unknown key is an error with its line.
struct Key(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = self.0.iter().find(|known| **known == name);
        known.copied().ok_or_else(|| D::Error::unknown_field(&name, self.0))
    }
}

/// The value of an option of sbatch.
struct OptionSeed(OptionValue);

impl<'de> DeserializeSeed<'de> for OptionSeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        match self.0 {
            OptionValue::Text => String::deserialize(deserializer),
            OptionValue::Count => {
                let count = i64::deserialize(deserializer)?;
                let fits = u32::try_from(count).map(|count| count.to_string());
                fits.map_err(|_| D::Error::invalid_value(Unexpected::Signed(count), &"u32"))
            }
        }
    }
}

/// Reads a section: options of sbatch into `options`, the rest by `field`.
fn read_section<'de, A: MapAccess<'de>>(
    mut map: A,
    keys: &'static [&'static str],
    options: &mut OptionValues,
    mut field: impl FnMut(&'static str, &mut A) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    while let Some(key) = map.next_key_seed(Key(keys))? {
        match OPTIONS.iter().find(|option| option.key == key) {
            Some(option) => {
                options.0.insert(option.key, map.next_value_seed(OptionSeed(option.value))?);
            }
            None => field(key, &mut map)?,
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for SlurmConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SlurmVisitor;
        impl<'de> Visitor<'de> for SlurmVisitor {
            type Value = SlurmConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SlurmConfig, A::Error> {
                let mut config = SlurmConfig::default();
                let mut options = OptionValues::default();
                read_section(map, &KEYS, &mut options, |key, map| {
                    match key {
                        "max_running" => config.max_running = Some(map.next_value()?),
                        "members_per_task" => config.members_per_task = map.next_value()?,
                        "retry_seconds" => config.retry_seconds = map.next_value()?,
                        "warning_seconds" => config.warning_seconds = map.next_value()?,
                        "extra" => config.extra = map.next_value()?,
                        "setup" => config.setup = map.next_value()?,
                        "environment" => config.environment = map.next_value()?,
                        "program" => config.program = map.next_value()?,
                        _ => config.controller = map.next_value()?,
                    }
                    Ok(())
                })?;
                Ok(SlurmConfig { options, ..config })
            }
        }
        deserializer.deserialize_map(SlurmVisitor)
    }
}

impl<'de> Deserialize<'de> for ControllerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ControllerVisitor;
        impl<'de> Visitor<'de> for ControllerVisitor {
            type Value = ControllerConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ControllerConfig, A::Error> {
                let mut config = ControllerConfig::default();
                let mut options = OptionValues::default();
                read_section(map, &CONTROLLER_KEYS, &mut options, |key, map| {
                    match key {
                        "extra" => config.extra = map.next_value()?,
                        _ => config.program = map.next_value()?,
                    }
                    Ok(())
                })?;
                Ok(ControllerConfig { options, ..config })
            }
        }
        deserializer.deserialize_map(ControllerVisitor)
    }
}

impl Serialize for SlurmConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.options.serialize_into(&mut map)?;
        if let Some(count) = self.max_running {
            map.serialize_entry("max_running", &count)?;
        }
        map.serialize_entry("members_per_task", &self.members_per_task)?;
        map.serialize_entry("retry_seconds", &self.retry_seconds)?;
        map.serialize_entry("warning_seconds", &self.warning_seconds)?;
        map.serialize_entry("extra", &self.extra)?;
        map.serialize_entry("setup", &self.setup)?;
        map.serialize_entry("program", &self.program)?;
        map.serialize_entry("environment", &self.environment)?;
        map.serialize_entry("controller", &self.controller)?;
        map.end()
    }
}

impl Serialize for ControllerConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.options.serialize_into(&mut map)?;
        map.serialize_entry("extra", &self.extra)?;
        map.serialize_entry("program", &self.program)?;
        map.end()
    }
}

//! The contract between pbtnas and a program of the user's (docs/command-task.md): a JSON document each way.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::search::{Genotype, Space};
use crate::tasks::Evaluation;

/// Version of the contract.
pub const CONTRACT: u64 = 1;

/// What the program is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Write a checkpoint of a freshly initialised network.
    Init,
    /// Go on from a checkpoint, up to an epoch.
    Train,
    /// Tell how good a checkpoint is.
    Evaluate,
}

impl Action {
    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

/// The document that the program is given. All keys are always there, null where they mean nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Request<'a> {
    /// [`CONTRACT`].
    pub contract: u64,
    /// What is to be done.
    pub action: Action,
    /// Options as text, numbers of ranges as numbers.
    pub genotype: BTreeMap<String, Value>,
    /// 32 bits: another one for each member, generation and purpose.
    pub seed: u32,
    /// `cpu` or `cuda`.
    pub device: &'a str,
    /// Threads to compute with.
    pub threads: u32,
    /// What to start from: train and evaluate.
    pub checkpoint: Option<&'a Path>,
    /// The checkpoint to write: init and train.
    pub output: Option<&'a Path>,
    /// Where checkpoints on the way are taken from: train.
    pub snapshot: Option<&'a Path>,
    /// The document to write: evaluate.
    pub result: Option<&'a Path>,
    /// Where lines about the progress are appended.
    pub progress: &'a Path,
    /// Epochs complete in the checkpoint.
    pub epoch: u32,
    /// Steps done in the next one.
    pub step: u64,
    /// Epochs that are to be complete: train.
    pub until: Option<u32>,
    /// Seconds after which a snapshot is wanted.
    pub snapshot_seconds: u64,
    /// Samples of a final evaluation: evaluate, after the search.
    pub samples: Option<usize>,
    /// What the metadata of every checkpoint must hold, beside `epoch` and `step`.
    pub metadata: BTreeMap<&'a str, String>,
    /// Who this is.
    pub member: Identity<'a>,
}

/// Who a request is about.
#[derive(Debug, Clone, Serialize)]
pub struct Identity<'a> {
    /// Id of the run.
    pub run: &'a str,
    /// Generation.
    pub generation: u32,
    /// Place in it.
    pub id: u32,
}

/// A genotype as the program reads it.
pub fn values(space: &Space, genotype: &Genotype) -> BTreeMap<String, Value> {
    let number = |name: &str| {
        let range = space.variables.iter().find(|variable| variable.name == name)?.as_range()?;
        let number = genotype.number(name)?;
        Some(if range.is_integer() { Value::from(number as i64) } else { Value::from(number) })
    };
    genotype
        .iter()
        .map(|(name, value)| (name.to_owned(), number(name).unwrap_or_else(|| value.into())))
        .collect()
}

/// What the program writes when it evaluates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultDocument {
    #[serde(deserialize_with = "number_or_null")]
    fitness: Option<f64>,
    #[serde(default)]
    metrics: BTreeMap<String, Option<f64>>,
}

/// With a function of its own the key must be there, although it may be null.
fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(deserializer)
}

/// Reads a result. A fitness that is null, or no finite number, is that of a network that diverged.
pub fn read_result(path: &Path) -> Result<Evaluation> {
    const MOST: u64 = 1 << 20;
    let text = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("it wrote no result to {}", path.display())
        }
        Ok(found) if found.len() > MOST => bail!("its result has {} bytes, more than {MOST}", found.len()),
        // An error that is no I/O error: that would be taken for the filesystem's.
        _ => std::fs::read(path).map_err(|error| anyhow!("failed to read its result: {error}"))?,
    };
    let text = String::from_utf8_lossy(&text);
    let document: ResultDocument =
        parse(&text).map_err(|error| anyhow!("its result cannot be read: {error}"))?;
    Ok(Evaluation {
        fitness: document.fitness.unwrap_or(f64::NAN),
        metrics: document.metrics.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    })
}

/// JSON, in which a number may be none: many languages write NaN then, although JSON has no word for it.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| {
        let plain = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
        serde_json::from_str(&plain).map_err(|_| error)
    })
}

/// A line of the program's about its progress.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Epochs complete.
    pub epoch: Option<u32>,
    /// Steps done in the next one.
    pub step: Option<u64>,
    /// Steps of an epoch.
    pub steps: Option<u64>,
    /// Numbers to tell.
    pub metrics: BTreeMap<String, Option<f64>>,
}

impl Progress {
    /// What a line says; nothing if it is none of the contract's.
    pub fn parse(line: &str) -> Self {
        parse(line).unwrap_or_default()
    }

    /// What a later line does not say stays.
    pub fn update(&mut self, later: Self) {
        self.epoch = later.epoch.or(self.epoch);
        self.step = later.step.or(self.step);
        self.steps = later.steps.or(self.steps);
        self.metrics.extend(later.metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Result<Evaluation> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        std::fs::write(&path, text).unwrap();
        read_result(&path)
    }

    #[test]
    fn a_result_is_read_and_what_is_no_number_is_divergence() {
        let good = result(r#"{"fitness": 0.5, "metrics": {"loss": 0.25, "accuracy": null}}"#).unwrap();
        assert_eq!(good, Evaluation { fitness: 0.5, metrics: vec![("loss".into(), 0.25)] });
        for diverged in
            [r#"{"fitness": null}"#, r#"{"fitness": NaN}"#, r#"{"fitness": -Infinity, "metrics": {}}"#]
        {
            assert!(result(diverged).unwrap().fitness.is_nan(), "{diverged}");
        }
        for (wrong, said) in [
            ("", "EOF"),
            ("0.5", "invalid type"),
            (r#"{"fitness": "good"}"#, "invalid type"),
            (r#"{"metrics": {}}"#, "missing field `fitness`"),
            (r#"{"fitness": 1, "metric": {}}"#, "unknown field `metric`"),
        ] {
            let error = result(wrong).unwrap_err().to_string();
            assert!(error.contains("its result cannot be read") && error.contains(said), "{error}");
        }
        let error = read_result(Path::new("/nowhere/result.json")).unwrap_err().to_string();
        assert!(error.contains("wrote no result to /nowhere/result.json"), "{error}");
    }

    #[test]
    fn later_progress_adds_to_earlier() {
        let mut progress = Progress::default();
        for line in [
            r#"{"epoch": 2, "steps": 10, "metrics": {"loss": 1.0}}"#,
            "hello",
            r#"{"step": 5, "other": [], "metrics": {"loss": NaN, "accuracy": 0.5}}"#,
        ] {
            progress.update(Progress::parse(line));
        }
        assert_eq!((progress.epoch, progress.step, progress.steps), (Some(2), Some(5), Some(10)));
        assert_eq!((progress.metrics["loss"], progress.metrics["accuracy"]), (None, Some(0.5)));
    }
}

//! The contract between pbtnas and the user's program (docs/command-task.md): a JSON document in each direction.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::task::Evaluation;
use pbtnas_core::search::{Genotype, Space};

/// The version of the contract.
pub const CONTRACT: u64 = 1;

/// The action that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Write the checkpoint of a freshly initialised network.
    Init,
    /// Train from a checkpoint up to an epoch.
    Train,
    /// Measure the fitness of a checkpoint.
    Evaluate,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

/// The document that the program reads. Every key is present; keys that do not apply to the action are null.
#[derive(Debug, Clone, Serialize)]
pub struct ScriptRequest<'a> {
    /// [`CONTRACT`].
    pub contract: u64,
    pub action: Action,
    /// Options are strings, values of ranges are numbers.
    pub genotype: BTreeMap<String, Value>,
    /// 32 bits; differs between members, generations and purposes.
    pub seed: u32,
    /// `cpu` or `cuda`.
    pub device: &'a str,
    pub threads: u32,
    /// `train` and `evaluate`: the checkpoint to load.
    pub checkpoint: Option<&'a Path>,
    /// `init` and `train`: the checkpoint to write.
    pub output: Option<&'a Path>,
    /// `train`: the path from which pbtnas collects snapshots.
    pub snapshot: Option<&'a Path>,
    /// `evaluate`: the result document to write.
    pub result: Option<&'a Path>,
    /// The file to which the program appends progress lines.
    pub progress: &'a Path,
    /// Completed epochs of the checkpoint.
    pub epoch: u32,
    /// Completed steps of the epoch in progress.
    pub step: u64,
    /// `train`: the number of completed epochs to reach.
    pub until: Option<u32>,
    /// The interval between snapshots in seconds.
    pub snapshot_seconds: u64,
    /// `evaluate`: samples of a final evaluation, null during the search.
    pub samples: Option<usize>,
    /// Required metadata of every checkpoint, in addition to `epoch` and `step`.
    pub metadata: BTreeMap<&'a str, String>,
    pub member: MemberOfRequest<'a>,
}

/// The member of a request.
#[derive(Debug, Clone, Serialize)]
pub struct MemberOfRequest<'a> {
    pub run: &'a str,
    pub generation: u32,
    pub id: u32,
}

/// Converts a genotype to the JSON values of a request.
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

/// The result document of `evaluate`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultDocument {
    #[serde(deserialize_with = "number_or_null")]
    fitness: Option<f64>,
    #[serde(default)]
    metrics: BTreeMap<String, Option<f64>>,
}

/// Requires the key, whose value may be null: without `deserialize_with`, serde accepts an `Option` that is missing.
fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(deserializer)
}

/// Reads a result document. A fitness that is null or not finite means that the network diverged.
pub fn read_result(path: &Path) -> Result<Evaluation> {
    const MOST: u64 = 1 << 20;
    let text = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("it wrote no result to {}", path.display())
        }
        Ok(found) if found.len() > MOST => bail!("its result has {} bytes; the limit is {MOST}", found.len()),
        // Not an `io::Error`, which would count as a failure of the storage.
        _ => std::fs::read(path).map_err(|error| anyhow!("failed to read its result: {error}"))?,
    };
    let text = String::from_utf8_lossy(&text);
    let document: ResultDocument = parse(&text).map_err(|error| anyhow!("its result is invalid: {error}"))?;
    Ok(Evaluation {
        fitness: document.fitness.unwrap_or(f64::NAN),
        metrics: document.metrics.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
    })
}

/// Parses JSON and accepts NaN and Infinity as null: many languages write them although JSON does not define them.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| {
        let plain = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
        serde_json::from_str(&plain).map_err(|_| error)
    })
}

/// A progress line of the program.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ScriptProgress {
    /// Completed epochs.
    pub epoch: Option<u32>,
    /// Completed steps of the epoch in progress.
    pub step: Option<u64>,
    /// Steps per epoch.
    pub steps: Option<u64>,
    pub metrics: BTreeMap<String, Option<f64>>,
}

impl ScriptProgress {
    /// Parses a line; one that does not match the contract is empty progress.
    pub fn parse(line: &str) -> Self {
        parse(line).unwrap_or_default()
    }

    /// Applies a later line; values that it does not contain are kept.
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
    fn results_are_read_and_non_finite_fitness_means_divergence() {
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
            assert!(error.contains("its result is invalid") && error.contains(said), "{error}");
        }
        let error = read_result(Path::new("/missing/result.json")).unwrap_err().to_string();
        assert!(error.contains("wrote no result to /missing/result.json"), "{error}");
    }

    #[test]
    fn later_progress_updates_earlier_progress() {
        let mut progress = ScriptProgress::default();
        for line in [
            r#"{"epoch": 2, "steps": 10, "metrics": {"loss": 1.0}}"#,
            "hello",
            r#"{"step": 5, "other": [], "metrics": {"loss": NaN, "accuracy": 0.5}}"#,
        ] {
            progress.update(ScriptProgress::parse(line));
        }
        assert_eq!((progress.epoch, progress.step, progress.steps), (Some(2), Some(5), Some(10)));
        assert_eq!((progress.metrics["loss"], progress.metrics["accuracy"]), (None, Some(0.5)));
    }
}

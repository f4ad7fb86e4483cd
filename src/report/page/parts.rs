//! Soups, final evaluations and the configuration.

use std::fs;

use anyhow::{Context, Result};

use pbtnas_core::run::{EvaluationRecord, Layout, SoupRecord, find_json};
use pbtnas_engine::run::Run;

/// A soup with its final evaluations.
pub struct SoupSummary {
    /// The part of the networks; none for all networks.
    pub part: Option<String>,
    pub record: SoupRecord,
    pub evaluations: Vec<EvaluationRecord>,
}

/// The complete soups of a run.
pub fn soups(run: &Run) -> Result<Vec<SoupSummary>> {
    let root = run.layout.root();
    let mut parts = vec![None];
    for entry in fs::read_dir(root).with_context(|| format!("failed to read {}", root.display()))? {
        let name = entry?.file_name();
        parts.extend(name.to_str().and_then(Layout::part_of).map(|part| Some(part.to_owned())));
    }
    parts.sort();
    let mut soups = Vec::new();
    for part in parts {
        let layout = run.layout.soup(part.as_deref());
        if let Some(record) = find_json::<SoupRecord>(&layout.record())? {
            let evaluations = evaluations(layout.dir())?;
            soups.push(SoupSummary { part, record, evaluations });
        }
    }
    Ok(soups)
}

/// The final evaluations in a directory, by number of samples.
pub fn evaluations(folder: &std::path::Path) -> Result<Vec<EvaluationRecord>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("evaluation-") && name.ends_with(".json")) {
            found.extend(find_json::<EvaluationRecord>(&entry.path())?);
        }
    }
    found.sort_by_key(|record: &EvaluationRecord| record.samples);
    Ok(found)
}

/// The text of config.toml without the values of environment variables, which may be secrets.
pub fn config(run: &Run) -> Result<String> {
    let path = run.layout.config();
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let table = text.parse().with_context(|| format!("{} is not valid TOML", path.display()))?;
    Ok(toml::to_string(&without_secrets(table))?)
}

const HIDDEN: &str = "(hidden)";

fn without_secrets(mut table: toml::Table) -> toml::Table {
    for section in ["command", "slurm"] {
        let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) else { continue };
        if let Some(environment) = section.get_mut("environment").and_then(toml::Value::as_table_mut) {
            environment.iter_mut().for_each(|(_, value)| *value = HIDDEN.into());
        }
        let setup = section.get_mut("setup").and_then(toml::Value::as_array_mut);
        for line in setup.into_iter().flatten() {
            let assignment = line.as_str().and_then(|line| line.split_once('='));
            if let Some((name, _)) = assignment.filter(|(name, _)| name.starts_with("export ")) {
                *line = format!("{name}={HIDDEN}").into();
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_environment_variables_are_hidden() {
        let text = "[command.environment]\nWANDB_API_KEY = \"k1\"\n[slurm]\npartition = \"gpu\"\n\
                    setup = [\"export TOKEN=k2\", \"module load x\"]\n[slurm.environment]\nHF_TOKEN = \"k3\"\n";
        let shown = toml::to_string(&without_secrets(text.parse().unwrap())).unwrap();
        assert!(["k1", "k2", "k3"].iter().all(|secret| !shown.contains(secret)), "{shown}");
        assert!(
            ["WANDB_API_KEY", "TOKEN=", "module load x", "HF_TOKEN", "gpu"].iter().all(|s| shown.contains(s))
        );
    }
}

//! configs/all-keys.toml has every key of the configuration, with its default, and no other.

use std::collections::BTreeMap;
use std::path::Path;

use pbtnas_engine::config::Config;
use toml::{Table, Value};

const KINDS: [&str; 4] = ["gan", "rl", "command", "synthetic"];
/// Tables whose keys the user chooses.
const OPEN: [&str; 3] = ["command.environment", "command.forbid", "slurm.environment"];
/// Required keys, whose values are examples.
const REQUIRED: [&str; 7] = [
    "seed",
    "search.population",
    "search.epochs",
    "search.epochs_per_generation",
    "task.kind",
    "command.command",
    "command.variables",
];

/// configs/all-keys.toml, and the same with the keys that are behind a `#` because they have no default.
fn all_keys() -> [String; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/all-keys.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let uncomment = |line: &str| match line.strip_prefix("# ").and_then(|line| line.split_once(" = ")) {
        // Resolved before the other keys are read.
        Some(("extends", _)) => "\n".to_owned(),
        Some((key, value)) if key.chars().all(|c| c.is_ascii_alphabetic() || c == '_') => {
            format!("{key} = {value}\n")
        }
        _ => format!("{line}\n"),
    };
    let all = text.lines().map(uncomment).collect();
    [text, all]
}

/// Values by their keys from the root, such as `slurm.controller.time`.
fn flatten(prefix: &str, value: &Value, values: &mut BTreeMap<String, Value>) {
    match value {
        Value::Table(table) if !OPEN.contains(&prefix) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, values);
            }
        }
        Value::Array(items) if !OPEN.contains(&prefix) && items.first().is_some_and(Value::is_table) => {
            items.iter().for_each(|item| flatten(prefix, item, values));
        }
        value => {
            values.insert(prefix.to_owned(), value.clone());
        }
    }
}

fn values(text: &str) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    flatten("", &Value::Table(text.parse::<Table>().unwrap()), &mut values);
    values
}

/// The values of the configuration that `pbtnas init` writes.
fn resolved(config: &str) -> BTreeMap<String, Value> {
    pbtnas::register_tasks();
    let config = Config::parse(Path::new("c.toml"), config).unwrap_or_else(|error| panic!("{error}"));
    values(&toml::to_string_pretty(&config).unwrap())
}

#[test]
fn every_key_is_shown() {
    for text in all_keys() {
        let shown = values(&text);
        let mut known = BTreeMap::new();
        for kind in KINDS {
            known.extend(resolved(&text.replace("kind = \"synthetic\"", &format!("kind = {kind:?}"))));
        }
        let keys = |values: &BTreeMap<String, Value>| {
            // An empty table or list may be left out.
            let open = |key: &&String| !OPEN.contains(&key.as_str());
            values.keys().filter(open).cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&shown), keys(&known));
    }
}

#[test]
fn every_value_is_the_default() {
    let shown = values(&all_keys()[0]);
    let head = "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_generation = 1\n[task]\nkind = ";
    let command = "[command]\ncommand = [\"true\"]\nvariables = [{ name = \"a\", options = [\"b\"] }]\n";
    for kind in KINDS {
        let section = if kind == "command" { command } else { "" };
        for (key, value) in resolved(&format!("{head}{kind:?}\n{section}")) {
            if !REQUIRED.iter().any(|required| key.starts_with(required)) {
                assert_eq!(shown.get(&key), Some(&value), "{key}");
            }
        }
    }
}

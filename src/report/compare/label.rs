//! Which runs belong together, and what their experiments are called.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use toml::{Table, Value};

use super::{Setting, Variant};
use crate::config::{Config, EpochsPerStep, SearchConfig, TaskKind};
use crate::search::Algorithm;

/// Keys of a task's section that say where or how fast something is computed, not what.
const TECHNICAL: [&str; 7] = [
    "device",
    "threads",
    "replay_threads",
    "step_milliseconds",
    "hang_seconds",
    "grace_seconds",
    "output_megabytes",
];

const SUPERNET: &str = "supernet";

/// The setting that a configuration belongs to, without a label yet.
pub(super) fn setting(config: &Config) -> Result<Setting> {
    let kind = config.task.kind;
    let mut section = match kind {
        TaskKind::Gan => table(&config.gan)?,
        TaskKind::Rl => table(&config.rl)?,
        TaskKind::Synthetic => table(&config.synthetic)?,
        TaskKind::Command => table(&config.command)?,
    };
    section.retain(|key, _| !TECHNICAL.contains(&key));
    // How it is searched is the variant's.
    section.remove(SUPERNET);
    // A data set is known by its folder's name, a network by its file's; where they lie is a matter of the machine.
    for key in ["data", "inception", "models", "directory"] {
        if let Some(Value::String(path)) = section.get_mut(key)
            && let Some(name) = Path::new(path.as_str()).file_name()
        {
            *path = name.to_string_lossy().into_owned();
        }
    }
    Ok(Setting { label: String::new(), kind, section })
}

/// The variant that a configuration belongs to, without a label yet.
pub(super) fn variant(config: &Config) -> Variant {
    let supernet =
        (config.search.algorithm == Algorithm::AdversarialNas).then(|| config.gan.supernet.clone());
    Variant { label: String::new(), name: config.name.clone(), search: config.search.clone(), supernet }
}

/// A section as it stands in a file: numbers as they are written, not widened.
fn table<T: Serialize>(section: &T) -> Result<Table> {
    let text = toml::to_string(section).context("failed to write a section of the configuration")?;
    toml::from_str(&text).context("failed to read a section of the configuration")
}

/// All keys of a variant.
fn keys_of(variant: &Variant) -> Result<Table> {
    let mut keys = table(&variant.search)?;
    if let Some(supernet) = &variant.supernet {
        let named = table(supernet)?.into_iter().map(|(key, value)| (format!("{SUPERNET}.{key}"), value));
        keys.extend(named);
    }
    Ok(keys)
}

/// Keys in which variants differ; a supernet's only among those that have one.
fn differing_of_variants<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Vec<String> {
    let is_supernet_s = |key: &String| key.starts_with(SUPERNET);
    let tables: Vec<&Table> = tables.into_iter().collect();
    let supernets = tables.iter().copied().filter(|table| table.keys().any(is_supernet_s));
    let of_supernets = differing(supernets).into_iter().filter(is_supernet_s);
    let of_all = differing(tables.iter().copied()).into_iter().filter(|key| !is_supernet_s(key));
    of_all.chain(of_supernets).collect()
}

/// Names settings by their tasks, if there are several, and by the keys in which those of a task differ. A single
/// one has the task's name.
pub(super) fn label_settings(settings: &mut [Setting]) {
    let several_kinds = settings.iter().any(|setting| setting.kind != settings[0].kind);
    let labels: Vec<String> = settings
        .iter()
        .map(|setting| {
            let of_kind = settings.iter().filter(|other| other.kind == setting.kind);
            let keys = differing(of_kind.map(|other| &other.section));
            let kind = (several_kinds || keys.is_empty()).then(|| match setting.kind {
                TaskKind::Gan => "gan".to_owned(),
                TaskKind::Rl => "rl".to_owned(),
                TaskKind::Synthetic => "synthetic".to_owned(),
                TaskKind::Command => "command".to_owned(),
            });
            let words = keys.iter().map(|key| word(key, &setting.section));
            kind.into_iter().chain(words).collect::<Vec<_>>().join(" ")
        })
        .collect();
    for (setting, label) in settings.iter_mut().zip(labels) {
        setting.label = label;
    }
}

/// Names variants by their names, or by their algorithms and the keys in which they differ from other variants
/// and from the defaults. Labels that are the same all the same get every key in which their variants differ,
/// and a number if there is none.
pub(super) fn label_variants(variants: &mut [Variant]) -> Result<()> {
    let tables = variants.iter().map(keys_of).collect::<Result<Vec<_>>>()?;
    // A population of 0 is nobody's: a key that has no default always differs from it.
    let defaults = table(&SearchConfig::new(0, 0, EpochsPerStep::Constant(0)))?;
    let keys = differing_of_variants(&tables);
    let labels: Vec<String> = variants
        .iter()
        .zip(&tables)
        .map(|(variant, table)| {
            variant.name.clone().unwrap_or_else(|| {
                let shown = |key: &&String| *key != "algorithm" && table.get(*key) != defaults.get(*key);
                let words = keys.iter().filter(shown).map(|key| word(key, table));
                let algorithm = text(table.get("algorithm"));
                [algorithm].into_iter().chain(words).collect::<Vec<_>>().join(" ")
            })
        })
        .collect();
    let mut taken = BTreeSet::new();
    for (index, label) in labels.iter().enumerate() {
        let alike = labels.iter().zip(&tables).filter(|(other, _)| *other == label);
        let keys = differing_of_variants(alike.map(|(_, table)| table));
        let words = keys.iter().map(|key| word(key, &tables[index]));
        let label = [label.clone()].into_iter().chain(words).collect::<Vec<_>>().join(" ");
        let numbered = (2..).map(|number| format!("{label} ({number})"));
        let free = [label.clone()].into_iter().chain(numbered).find(|label| !taken.contains(label));
        variants[index].label = free.unwrap_or(label);
        taken.insert(variants[index].label.clone());
    }
    Ok(())
}

/// Keys that do not have the same value in all tables, in alphabetical order.
fn differing<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Vec<String> {
    let tables: Vec<&Table> = tables.into_iter().collect();
    let keys: BTreeSet<&String> = tables.iter().flat_map(|table| table.keys()).collect();
    let differs = |key: &&String| tables.iter().any(|table| table.get(*key) != tables[0].get(*key));
    keys.into_iter().filter(differs).cloned().collect()
}

fn word(key: &str, table: &Table) -> String {
    format!("{key}={}", text(table.get(key)))
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = text.replace("[search]", "[search]\npopulation = 8\nepochs = 6\nepochs_per_step = 2");
        Config::parse(Path::new("run.toml"), &format!("{text}\n[task]\nkind = \"synthetic\"\n")).unwrap()
    }

    fn variant_labels(texts: &[&str]) -> Vec<String> {
        let mut variants: Vec<Variant> = texts.iter().map(|text| variant(&config(text))).collect();
        label_variants(&mut variants).unwrap();
        variants.into_iter().map(|variant| variant.label).collect()
    }

    fn setting_labels(texts: &[&str]) -> Vec<String> {
        let mut settings: Vec<Setting> = texts
            .iter()
            .map(|text| setting(&Config::parse(Path::new("run.toml"), text).unwrap()).unwrap())
            .collect();
        label_settings(&mut settings);
        settings.into_iter().map(|setting| setting.label).collect()
    }

    #[test]
    fn variants_are_called_by_what_makes_them_different() {
        let labels = variant_labels(&[
            "seed = 1\n[search]",
            "seed = 1\n[search]\nmixing = false",
            "seed = 1\n[search]\nshrink = 0.8\ninitial = \"uniform\"",
            "seed = 1\n[search]\nalgorithm = \"random-search\"",
            "seed = 1\nname = \"ours\"\n[search]\ntau = 0.5",
        ]);
        assert_eq!(
            labels,
            [
                "pbt-nas",
                "pbt-nas mixing=false",
                "pbt-nas initial=uniform shrink=0.8",
                "random-search",
                "ours"
            ]
        );
    }

    #[test]
    fn a_supernet_s_settings_are_its_variant_s() {
        let config = |text: &str| {
            let text = text.replace("[search]", "[search]\npopulation = 8\nepochs = 6\nepochs_per_step = 1");
            let text = format!("seed = 1\n{text}\n[task]\nkind = \"gan\"\n");
            Config::parse(Path::new("run.toml"), &text).unwrap()
        };
        let adversarial =
            "[search]\nalgorithm = \"adversarial-nas\"\n[gan.supernet]\nlearning_rate = 1e-3\nepochs = ";
        let configs =
            [config("[search]"), config(&format!("{adversarial}2")), config(&format!("{adversarial}3"))];
        let mut variants = configs.each_ref().map(variant);
        label_variants(&mut variants[..2]).unwrap();
        assert_eq!(variants.each_ref().map(|variant| &*variant.label)[..2], ["pbt-nas", "adversarial-nas"]);
        label_variants(&mut variants).unwrap();
        assert_eq!(
            variants.map(|variant| variant.label),
            ["pbt-nas", "adversarial-nas supernet.epochs=2", "adversarial-nas supernet.epochs=3"]
        );
        assert_eq!(setting(&configs[0]).unwrap(), setting(&configs[2]).unwrap());
    }

    #[test]
    fn what_has_no_default_is_always_told() {
        let pieces = "seed = 1\n[search]".to_owned();
        let longer = config(&pieces);
        let mut shorter = longer.clone();
        shorter.search = SearchConfig::new(8, 4, EpochsPerStep::Constant(2));
        let mut variants = [variant(&longer), variant(&shorter)];
        label_variants(&mut variants).unwrap();
        assert_eq!(variants.map(|variant| variant.label), ["pbt-nas epochs=6", "pbt-nas epochs=4"]);
    }

    #[test]
    fn no_two_variants_are_called_the_same() {
        let labels = variant_labels(&[
            "seed = 1\nname = \"a\"\n[search]",
            "seed = 1\nname = \"a\"\n[search]\nmixing = false",
            "seed = 1\nname = \"pbt-nas\"\n[search]",
            "seed = 1\n[search]",
        ]);
        assert_eq!(labels, ["a mixing=true", "a mixing=false", "pbt-nas", "pbt-nas (2)"]);
    }

    #[test]
    fn settings_are_told_apart_by_task_and_section_and_not_by_the_machine() {
        let gan = |lines: &str| {
            let search = "[search]\npopulation = 8\nepochs = 6\nepochs_per_step = 2";
            format!("seed = 1\n{search}\n[task]\nkind = \"gan\"\n[gan]\n{lines}\n")
        };
        let synthetic = toml::to_string(&config("seed = 1\n[search]")).unwrap();
        let (here, there) = (gan("data = \"/here/fashion\"\nthreads = 2"), gan("data = \"/there/fashion\""));
        let parsed = |text: &str| setting(&Config::parse(Path::new("run.toml"), text).unwrap()).unwrap();
        assert_eq!(parsed(&here), parsed(&there));
        assert_eq!(setting_labels(&[&here]), ["gan"]);
        let other = gan("data = \"/there/digits\"\nlatent = 60");
        assert_eq!(setting_labels(&[&here, &other]), ["data=fashion latent=120", "data=digits latent=60"]);
        assert_eq!(
            setting_labels(&[&here, &other, &synthetic]),
            ["gan data=fashion latent=120", "gan data=digits latent=60", "synthetic"]
        );
        let searched = gan("data = \"/here/fashion\"\nlearning_rate = { low = 0.5, high = 1.0 }");
        assert_eq!(
            setting_labels(&[&here, &searched]),
            ["learning_rate=0.0002", "learning_rate={ high = 1.0, low = 0.5 }"]
        );
    }
}

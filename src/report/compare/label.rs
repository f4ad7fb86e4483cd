//! Settings and variants of configurations, and their labels.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use toml::{Table, Value};

use super::{Setting, Variant};
use pbtnas_engine::config::{Config, EpochsPerGeneration, SearchConfig};
use pbtnas_engine::task::kinds;

/// Keys of task sections that do not affect the result.
const TECHNICAL: [&str; 7] = [
    "device",
    "threads",
    "replay_threads",
    "step_milliseconds",
    "hang_seconds",
    "grace_seconds",
    "output_megabytes",
];

/// The setting of a configuration, without a label.
pub(super) fn setting(config: &Config) -> Result<Setting> {
    let kind = config.task.kind;
    let mut section = table(&config.task.settings.to_table()?)?;
    section.retain(|key, _| !TECHNICAL.contains(&key));
    if let Some((_, key)) = config.task.settings.algorithm_section() {
        section.remove(key);
    }
    // Data sets and networks are identified by file name: their directories differ between machines.
    for key in kinds().find(|known| known.name() == kind).map_or(&[][..], |kind| kind.paths()) {
        if let Some(Value::String(path)) = section.get_mut(*key)
            && let Some(name) = Path::new(path.as_str()).file_name()
        {
            *path = name.to_string_lossy().into_owned();
        }
    }
    Ok(Setting { label: String::new(), kind: kind.into(), section })
}

/// The variant of a configuration, without a label.
pub(super) fn variant(config: &Config) -> Result<Variant> {
    let of_algorithm = match config.task.settings.algorithm_section() {
        Some((algorithm, key)) if algorithm == config.search.algorithm => {
            let section = table(&config.task.settings.to_table()?)?;
            let own = section.get(key).and_then(Value::as_table).cloned().unwrap_or_default();
            own.into_iter().map(|(own, value)| (format!("{key}.{own}"), value)).collect()
        }
        _ => Table::new(),
    };
    Ok(Variant {
        label: String::new(),
        name: config.name.clone(),
        search: config.search.clone(),
        of_algorithm,
    })
}

/// A section as in a file, with numbers as written there.
fn table<T: Serialize>(section: &T) -> Result<Table> {
    let text = toml::to_string(section).context("failed to write a section of the configuration")?;
    toml::from_str(&text).context("failed to read a section of the configuration")
}

/// All keys of a variant.
fn keys_of(variant: &Variant) -> Result<Table> {
    let mut keys = search_keys(&variant.search)?;
    keys.extend(variant.of_algorithm.clone());
    Ok(keys)
}

/// The keys of `[search]`; those of tables in it have dots: `shrink_perturb.lambda`.
fn search_keys(search: &SearchConfig) -> Result<Table> {
    let mut keys = Table::new();
    for (key, value) in table(search)? {
        match value {
            Value::Table(inner) => {
                keys.extend(inner.into_iter().map(|(of, value)| (format!("{key}.{of}"), value)))
            }
            _ => _ = keys.insert(key, value),
        }
    }
    Ok(keys)
}

/// Keys in which variants differ; keys of an algorithm's own settings are compared only among variants that have them.
fn differing_of_variants<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Vec<String> {
    let tables: Vec<&Table> = tables.into_iter().collect();
    let own = |key: &String| key.contains('.') && !tables.iter().all(|table| table.contains_key(key));
    let with_own = tables.iter().copied().filter(|table| table.keys().any(own));
    let of_own = differing(with_own).into_iter().filter(own);
    let of_all = differing(tables.iter().copied()).into_iter().filter(|key| !own(key));
    of_all.chain(of_own).collect()
}

/// Labels settings by the task, if there are several tasks, and by the keys in which settings of a task differ. A
/// single setting is labelled by its task.
pub(super) fn label_settings(settings: &mut [Setting]) {
    let several_kinds = settings.iter().any(|setting| setting.kind != settings[0].kind);
    let labels: Vec<String> = settings
        .iter()
        .map(|setting| {
            let of_kind = settings.iter().filter(|other| other.kind == setting.kind);
            let keys = differing(of_kind.map(|other| &other.section));
            let kind = (several_kinds || keys.is_empty()).then(|| setting.kind.clone());
            let words = keys.iter().map(|key| word(key, &setting.section));
            kind.into_iter().chain(words).collect::<Vec<_>>().join(" ")
        })
        .collect();
    for (setting, label) in settings.iter_mut().zip(labels) {
        setting.label = label;
    }
}

/// Labels variants by `name`, or by the algorithm and the keys in which they differ from other variants and from the
/// defaults. Equal labels are extended by all keys in which their variants differ, or else by a number.
pub(super) fn label_variants(variants: &mut [Variant]) -> Result<()> {
    let tables = variants.iter().map(keys_of).collect::<Result<Vec<_>>>()?;
    // Keys without a default always differ from 0, which is invalid.
    let defaults = search_keys(&SearchConfig::new(0, 0, EpochsPerGeneration::Constant(0)))?;
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

/// Keys whose values differ between tables, in alphabetical order.
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

    fn parse(name: &str, text: &str) -> Result<Config, pbtnas_engine::config::ConfigError> {
        crate::register_tasks();
        Config::parse(Path::new(name), text)
    }

    fn config(text: &str) -> Config {
        let text =
            text.replace("[search]", "[search]\npopulation = 8\nepochs = 6\nepochs_per_generation = 2");
        parse("run.toml", &format!("{text}\n[task]\nkind = \"synthetic\"\n")).unwrap()
    }

    fn variant_labels(texts: &[&str]) -> Vec<String> {
        let mut variants: Vec<Variant> = texts.iter().map(|text| variant(&config(text)).unwrap()).collect();
        label_variants(&mut variants).unwrap();
        variants.into_iter().map(|variant| variant.label).collect()
    }

    fn setting_labels(texts: &[&str]) -> Vec<String> {
        let mut settings: Vec<Setting> =
            texts.iter().map(|text| setting(&parse("run.toml", text).unwrap()).unwrap()).collect();
        label_settings(&mut settings);
        settings.into_iter().map(|setting| setting.label).collect()
    }

    #[test]
    fn variants_are_labelled_by_their_differences() {
        let labels = variant_labels(&[
            "seed = 1\n[search]",
            "seed = 1\n[search]\nmixing = false",
            "seed = 1\n[search]\nshrink_perturb = { lambda = 0.8 }\ninitial = \"uniform\"",
            "seed = 1\n[search]\nalgorithm = \"random-search\"",
            "seed = 1\nname = \"ours\"\n[search]\ntau = 0.5",
        ]);
        assert_eq!(
            labels,
            [
                "pbt-nas",
                "pbt-nas mixing=false",
                "pbt-nas initial=uniform shrink_perturb.lambda=0.8",
                "random-search",
                "ours"
            ]
        );
    }

    #[test]
    fn supernet_keys_belong_to_the_variant() {
        let config = |text: &str| {
            let text =
                text.replace("[search]", "[search]\npopulation = 8\nepochs = 6\nepochs_per_generation = 1");
            let text = format!("seed = 1\n{text}\n[task]\nkind = \"gan\"\n");
            parse("run.toml", &text).unwrap()
        };
        let adversarial =
            "[search]\nalgorithm = \"adversarial-nas\"\n[gan.supernet]\nlearning_rate = 1e-3\nepochs = ";
        let configs =
            [config("[search]"), config(&format!("{adversarial}2")), config(&format!("{adversarial}3"))];
        let mut variants = configs.each_ref().map(|config| variant(config).unwrap());
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
    fn keys_without_default_are_in_the_label() {
        let pieces = "seed = 1\n[search]".to_owned();
        let longer = config(&pieces);
        let mut shorter = longer.clone();
        shorter.search = SearchConfig::new(8, 4, EpochsPerGeneration::Constant(2));
        let mut variants = [&longer, &shorter].map(|config| variant(config).unwrap());
        label_variants(&mut variants).unwrap();
        assert_eq!(variants.map(|variant| variant.label), ["pbt-nas epochs=6", "pbt-nas epochs=4"]);
    }

    #[test]
    fn labels_of_variants_are_unique() {
        let labels = variant_labels(&[
            "seed = 1\nname = \"a\"\n[search]",
            "seed = 1\nname = \"a\"\n[search]\nmixing = false",
            "seed = 1\nname = \"pbt-nas\"\n[search]",
            "seed = 1\n[search]",
        ]);
        assert_eq!(labels, ["a mixing=true", "a mixing=false", "pbt-nas", "pbt-nas (2)"]);
    }

    #[test]
    fn settings_differ_by_task_and_section_not_by_machine() {
        let gan = |lines: &str| {
            let search = "[search]\npopulation = 8\nepochs = 6\nepochs_per_generation = 2";
            format!("seed = 1\n{search}\n[task]\nkind = \"gan\"\n[gan]\n{lines}\n")
        };
        let synthetic = toml::to_string(&config("seed = 1\n[search]")).unwrap();
        let (here, there) = (gan("data = \"/here/fashion\"\nthreads = 2"), gan("data = \"/there/fashion\""));
        let parsed = |text: &str| setting(&parse("run.toml", text).unwrap()).unwrap();
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

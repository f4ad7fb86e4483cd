//! Configurations: one file, or several that extend each other (`a.toml`, `b.toml`, ... with lines of `----`
//! between them).

use std::path::Path;

use super::{file, folder};
use pbtnas_core::checkpoint::TensorSpec;
use pbtnas_core::durable_fs::Published;
use pbtnas_core::search::first_generation;
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::command::CommandConfig;
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::run::Run;
use pbtnas_engine::task::register;
use pbtnas_torch::gan::{GanConfig, GanTask};
use pbtnas_torch::rl::{RlConfig, RlTask};

pub fn fuzz(input: &[u8]) {
    register(&pbtnas_torch::KINDS);
    let Ok(input) = std::str::from_utf8(input) else { return };
    let mut parts = 0;
    for (name, text) in ["a", "b", "c"].iter().zip(input.split("\n----\n")) {
        file(&format!("{name}.toml"), text.as_bytes());
        parts += 1;
    }
    if let Ok(config) = Config::load(&folder().join("a.toml")) {
        again(&config);
    }
    if parts == 1
        && let Ok(config) = Config::parse(Path::new("run.toml"), input)
    {
        again(&config);
        use_up(config);
    }
}

/// A resolved configuration is read back unchanged.
fn again(config: &Config) {
    let text = toml::to_string_pretty(config).expect("a configuration can be written");
    let read = Config::parse(Path::new("again.toml"), &text).expect("and read");
    assert_eq!(&read, config);
}

/// The number of parameters of a network can be computed.
fn weigh(tensors: &[TensorSpec]) {
    let sizes =
        tensors.iter().map(|tensor| tensor.shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size)));
    let bytes = sizes.flatten().try_fold(0u64, |sum, size| sum.checked_add(4 * size as u64));
    assert!(bytes.is_some_and(|bytes| bytes < 1 << 50), "networks of {bytes:?} bytes");
}

/// All steps from a configuration to the first network.
fn use_up(mut config: Config) {
    let schedule = config.search.schedule().expect("it was checked");
    let ends = std::iter::successors(schedule.next_boundary(0), |&epoch| schedule.next_boundary(epoch));
    let mut before = 0;
    for end in ends.take(1000) {
        assert!(end > before && end <= config.search.epochs);
        before = end;
    }
    let total = config.search.epochs;
    for from in [total / 2, total - total.min(7), total - 1] {
        assert!(schedule.next_boundary(from).is_some_and(|end| end > from && end <= total));
    }
    assert_eq!(schedule.next_boundary(total), None);
    let space = config.space();
    space.check().expect("a built-in space is sound");
    if config.search.population * space.variables.len() > 10_000 {
        return;
    }
    let population = first_generation(&space, &config.settings(), config.seed);
    assert_eq!(population.len(), config.search.population);
    let genotype = &population[0].genotype;
    if let Some(config) = config.task.settings::<GanConfig>() {
        weigh(&GanTask::new(config.clone()).tensors(genotype).expect("a genotype of the space has tensors"));
    } else if let Some(config) = config.task.settings::<RlConfig>() {
        weigh(&RlTask::new(config.clone()).tensors(genotype).expect("a genotype of the space has tensors"));
    } else {
        if let Some(command) = config.task.settings::<CommandConfig>() {
            // Every named file exists.
            let (directory, command) =
                (folder().to_owned(), CommandConfig { command: vec!["true".to_owned()], ..command.clone() });
            config.task.settings = std::sync::Arc::new(CommandConfig { directory, ..command });
        }
        // A run up to its first plan.
        let root = folder().join("run");
        let _ = std::fs::remove_dir_all(&root);
        let task = config.task();
        let (run, published) = create(&root, &config, task.as_ref()).expect("a run can be made");
        assert_eq!(published, Published::Created);
        let next = advance(&run, task.as_ref(), false).expect("it begins");
        assert!(
            matches!(next, NextAction::Train { generation: 0, members } if members.len() == population.len())
        );
        let run = Run::open(&root).expect("it can be opened");
        assert_eq!(run.config, config);
        assert_eq!(run.plan(0).expect("a plan").members.len(), population.len());
    }
}

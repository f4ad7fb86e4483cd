//! Tests of the configuration of these tasks, and of the shipped configuration files.

use std::path::{Path, PathBuf};

use pbtnas_core::checkpoint::ShrinkPerturb;
use pbtnas_core::run::BestOf;
use pbtnas_core::search::{Algorithm, Origin, TrainedMember, first_generation, next_generation};
use pbtnas_engine::config::{Config, ConfigError, SearchConfig};
use pbtnas_engine::task::{Hyperparameter, register};

use crate::gan::{GanConfig, SpaceKind};
use crate::rl::RlConfig;

const GOOD: &str = "seed = 1\n\n[search]\npopulation = 8\nepochs = 10\nepochs_per_generation = 1\n\n[task]\n\
                    kind = \"gan\"\n\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    register(&crate::KINDS);
    Config::parse(Path::new("run.toml"), text)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn gan(config: &Config) -> &GanConfig {
    config.task.settings().unwrap()
}

fn configs() -> PathBuf {
    register(&crate::KINDS);
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

#[test]
fn shipped_configurations_are_valid_and_the_full_one_has_the_defaults() {
    let folder = configs();
    for entry in walkdir::WalkDir::new(&folder) {
        let path = entry.unwrap().into_path();
        if path.is_file() {
            Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let full = Config::load(&folder.join("fashion-small.toml")).unwrap();
    let short = "seed = 1\n[search]\npopulation = 24\nepochs = 60\nepochs_per_generation = 5\n[task]\nkind = \"gan\"\n";
    let short = parse(short).unwrap();
    let short = GanConfig { data: gan(&full).data.clone(), ..gan(&short).clone() };
    assert_eq!(*gan(&full), short);
}

#[test]
fn experiments_of_the_paper_differ_only_in_their_subject() {
    let folder = configs().join("paper");
    let load = |name: &str| Config::load(&folder.join(name)).unwrap();
    let hard = load("cifar10-gan-hard/pbt-nas.toml");
    let search = &hard.search;
    assert_eq!((search.population, search.epochs, search.tau), (24, 300, 0.25));
    assert_eq!((search.shrink_perturb, search.replace_probability), (ShrinkPerturb::default(), 0.25));
    assert_eq!(gan(&hard).space, SpaceKind::GanHard);
    assert_eq!((gan(&hard).generator_width, gan(&hard).discriminator_width), (256, 128));
    assert_eq!((gan(&hard).batch, gan(&hard).generator_batch), (40, 80));
    let stl = load("stl10-gan/random-search.toml");
    assert_eq!((gan(&stl).generator_width, gan(&stl).bottom_width, gan(&stl).projections), (270, 6, 2));
    assert_eq!((gan(&stl).batch, gan(&stl).generator_batch), (128, 256));
    type Change<'a> = &'a dyn Fn(&mut SearchConfig);
    let with = |change: Change| {
        let mut config = hard.clone();
        change(&mut config.search);
        config
    };
    let experiments: [(&str, Change); 10] = [
        ("random-search", &|s| s.algorithm = Algorithm::RandomSearch),
        ("mutation", &|s| s.algorithm = Algorithm::Mutation),
        ("no-mixing", &|s| s.mixing = false),
        ("copy-exactly", &|s| s.shrink_perturb = ShrinkPerturb { lambda: 1.0, gamma: 0.0 }),
        ("reinitialize", &|s| s.shrink_perturb = ShrinkPerturb { lambda: 0.0, gamma: 1.0 }),
        ("random-search-shrink-perturb", &|s| {
            (s.algorithm, s.shrink_perturb_survivors) = (Algorithm::RandomSearch, true)
        }),
        ("population-12", &|s| s.population = 12),
        ("population-36", &|s| s.population = 36),
        ("random-search-population-12", &|s| (s.algorithm, s.population) = (Algorithm::RandomSearch, 12)),
        ("random-search-population-36", &|s| (s.algorithm, s.population) = (Algorithm::RandomSearch, 36)),
    ];
    for (name, change) in experiments {
        let mut config = load(&format!("cifar10-gan-hard/{name}.toml"));
        assert_ne!(config.name, hard.name);
        config.name = hard.name.clone();
        assert_eq!(config, with(change), "{name}");
    }
}

#[test]
fn control_experiments_have_the_values_of_the_paper() {
    use crate::rl::Share;
    use crate::rl::environment::EnvironmentKind::{HumanoidRun, QuadrupedRun, WalkerRun};
    let folder = configs().join("paper");
    let load = |name: &str| Config::load(&folder.join(name)).unwrap();
    for (name, environment, epochs, steps, rate, batch, n_step, noise, capacity, share) in [
        ("quadruped", QuadrupedRun, 300, 23, 1e-4, 256, 3, 500_000, 100_000, Share::None),
        ("walker", WalkerRun, 300, 23, 1e-4, 512, 1, 500_000, 1_000_000, Share::Node),
        ("humanoid", HumanoidRun, 1500, 15, 8e-5, 256, 3, 2_000_000, 1_000_000, Share::Node),
    ] {
        for (experiment, algorithm) in [
            ("pbt-nas", Algorithm::PbtNas),
            ("mutation", Algorithm::Mutation),
            ("random-search", Algorithm::RandomSearch),
        ] {
            let config = load(&format!("{name}/{experiment}.toml"));
            assert_eq!(config.task.kind, "rl");
            assert_eq!(config.search.algorithm, algorithm);
            assert_eq!((config.search.population, config.search.epochs), (12, epochs));
            let schedule = config.search.schedule().unwrap();
            let ends = std::iter::successors(schedule.next_boundary(0), |&at| schedule.next_boundary(at));
            assert_eq!(ends.count(), steps, "{name}");
            let rl = config.task.settings::<RlConfig>().unwrap();
            assert_eq!(rl.environment, environment);
            assert_eq!(rl.learning_rate, Hyperparameter::Fixed(rate));
            assert_eq!((rl.batch, rl.n_step, rl.hidden), (batch, n_step, 1024));
            assert_eq!((rl.exploration_steps, rl.replay_capacity, rl.share), (noise, capacity, share));
            assert_eq!((rl.seed_frames, rl.random_frames, rl.frames_per_epoch), (4000, 4000, 10_000));
        }
    }
    // The best of the last generation counts, that of all generations in GAN training.
    let best_of = |name: &str| load(name).terms().unwrap().best_of;
    assert_eq!(best_of("walker/random-search.toml"), BestOf::LastGeneration);
    assert_eq!(best_of("stl10-gan/random-search.toml"), BestOf::AllGenerations);
    // Two parents and two offspring out of six; four out of eighteen.
    for (file, population, replaced) in [("population-6", 6, 2), ("population-18", 18, 4)] {
        let search = load(&format!("quadruped/{file}.toml")).search;
        assert_eq!(search.population, population);
        assert_eq!(search.selection().count(population), replaced);
    }
}

/// The whole schedule of Table 3's random search (facts: Search loop): 30 generations of 10 epochs, and every member is
/// perturbed at the start of each but the first.
#[test]
fn random_search_with_shrink_perturb_perturbs_every_member_29_times() {
    let config = Config::load(&configs().join("paper/quadruped/random-search-shrink-perturb.toml")).unwrap();
    let (space, settings, schedule) = (config.space(), config.settings(), config.search.schedule().unwrap());
    let mut members = first_generation(&space, &settings, 1);
    let mut perturbed = vec![0; members.len()];
    let mut epoch = schedule.next_boundary(0).unwrap();
    for generation in 1.. {
        let Some(next) = schedule.next_boundary(epoch) else { break };
        assert_eq!(next - epoch, 10);
        let trained = members.iter().map(|member| TrainedMember {
            id: member.id,
            genotype: member.genotype.clone(),
            fitness: Some(f64::from(member.id.0)),
            has_network: true,
            derived: None,
        });
        members = next_generation(&space, &settings, 1, generation, &trained.collect::<Vec<_>>()).unwrap();
        for (count, member) in perturbed.iter_mut().zip(&members) {
            *count += usize::from(member.origin == Origin::Perturbed);
        }
        epoch = next;
    }
    assert_eq!((epoch, perturbed), (300, vec![29; 12]));
}

#[test]
fn a_range_becomes_the_last_variable() {
    let range = "[gan]\nlearning_rate = { low = 1e-5, high = 1e-2, scale = \"log\" }\n\
                 discriminator_learning_rate = 4e-4\n";
    let (fixed, searched) = (parse(GOOD).unwrap().space(), parse(&format!("{GOOD}{range}")).unwrap().space());
    let (last, others) = searched.variables.split_last().unwrap();
    assert_eq!(others, fixed.variables);
    assert_eq!(last.name, "learning_rate");
    assert_eq!(searched.size(), fixed.size());
}

#[test]
fn values_of_the_tasks_have_bounds() {
    for (line, message) in [
        ("latent = 1048575", "gan.latent: must be "),
        ("final_images = 9223372036854775808", "gan.final_images: must be "),
        ("threads = 2147483647", "gan.threads: must be "),
        ("beta1 = nan", "gan.beta1: must be "),
        ("beta1 = \"x\"", "gan.beta1: must be a number, not \"x\""),
        ("discriminator_learning_rate = { low = -1, high = 1 }", "gan.discriminator_learning_rate: must be "),
    ] {
        // The section of a task is checked whether the task is chosen or not.
        for kind in ["gan", "synthetic"] {
            let found = error(&format!("{}[gan]\n{line}\n", GOOD.replace("\"gan\"", &format!("{kind:?}"))));
            assert!(found.starts_with("run.toml:12: ") && found.contains(message), "{found}");
        }
    }
}

#[test]
fn unknown_tasks_and_sections_are_refused_with_the_nearest_name() {
    let found = error(&GOOD.replace("\"gan\"", "\"gam\""));
    assert!(found.starts_with("run.toml:9: task.kind: ") && found.contains("did you mean `gan`?"), "{found}");
    let found = error(&format!("{GOOD}[gam]\n"));
    assert!(found.starts_with("run.toml:11: ") && found.contains("did you mean `gan`?"), "{found}");
}

//! Tests of sessions with the real environment.

use std::collections::BTreeSet;
use std::path::Path;

use crate::rl::Share;
use crate::rl::{RlConfig, RlTask};
use pbtnas_core::checkpoint::{Reader, write};
use pbtnas_core::search::{Genotype, Initial, MemberId, initial_population};
use pbtnas_engine::signal::Signal;
use pbtnas_engine::task::{Interrupted, Measure, MemberContext, Seeds, Session, Start, Task};

const SEEDS: Seeds = Seeds { run: 1, generation: 2, member: MemberId(3) };

/// Episodes of 10 steps, two to an epoch; learning from the second episode on.
fn task(change: impl FnOnce(&mut RlConfig)) -> RlTask {
    let mut config = RlConfig {
        environment: crate::rl::environment::EnvironmentKind::WalkerRun,
        models: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/data/dm-control"),
        episode_frames: 20,
        frames_per_epoch: 40,
        seed_frames: 20,
        random_frames: 30,
        hidden: 8,
        batch: 4,
        exploration_steps: 40,
        replay_capacity: 30,
        evaluation_episodes: 2,
        ..RlConfig::default()
    };
    change(&mut config);
    config.first_bad_value().unwrap();
    RlTask::new(config)
}

fn genotype(task: &RlTask) -> Genotype {
    let mut genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
    // With spectral norms, whose vectors must be restored too.
    genotype.set("critic/q1/spectral_norm", "yes");
    genotype.set("encoder/spectral_norm", "yes");
    genotype
}

fn place(folder: &Path) -> MemberContext {
    MemberContext::outside(SEEDS, folder)
}

fn saved(session: &dyn Session) -> Vec<u8> {
    let (meta, entries) = session.describe().unwrap();
    let mut bytes = Vec::new();
    write(&mut bytes, &meta, entries, |entry, out| out.write_all(&session.tensor(entry).unwrap())).unwrap();
    bytes
}

fn reader(folder: &Path, session: &dyn Session) -> Reader {
    let path = folder.join("snapshot");
    std::fs::write(&path, saved(session)).unwrap();
    Reader::open(&path).unwrap()
}

fn advance(session: &mut dyn Session, steps: usize) {
    (0..steps).for_each(|_| session.advance(99).unwrap());
}

#[test]
fn session_restored_within_an_episode_continues_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|_| ());
    let genotype = genotype(&task);
    let snapshot;
    let mut whole = task.session(Start::Fresh(&genotype, 0), place(dir.path())).unwrap();
    advance(whole.as_mut(), 27);
    assert_eq!(whole.position(), (1, 7));
    snapshot = reader(dir.path(), whole.as_ref());
    assert_eq!(snapshot.meta().files.len(), 2);
    let restore = || task.session(Start::Checkpoint(&snapshot), place(dir.path())).unwrap();
    let mut restored = restore();
    assert!(saved(restored.as_ref()) == saved(whole.as_ref()));
    for session in [whole.as_mut(), restored.as_mut()] {
        advance(session, 16);
        assert_eq!(session.position(), (2, 3));
    }
    assert!(saved(whole.as_ref()) == saved(restored.as_ref()));
    assert_eq!(whole.describe().unwrap().0.files.len(), 3);
    // A third session ignores the later episodes that are on disk already.
    let mut third = restore();
    advance(third.as_mut(), 16);
    assert!(saved(whole.as_ref()) == saved(third.as_ref()));
    assert_eq!(
        whole.evaluate(Measure::Search).unwrap(),
        third.evaluate(Measure::Search).unwrap(),
        "the fitness of the same agent"
    );
    assert_ne!(
        whole.evaluate(Measure::Search).unwrap().fitness,
        whole.evaluate(Measure::Final { samples: 2 }).unwrap().fitness
    );
}

#[test]
fn each_soup_is_evaluated_in_episodes_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|_| ());
    let genotype = initial_population(task.space(), 1, Initial::Uniform, 7).remove(0);
    let mut session = task.session(Start::Fresh(&genotype, 0), place(dir.path())).unwrap();
    let soup = |part, generation, member| Measure::Soup { part, generation, member: MemberId(member) };
    let measures = [
        Measure::Search,
        soup(None, 3, 1),
        soup(None, 3, 2),
        soup(None, 2, 1),
        soup(Some("encoder"), 3, 1),
        soup(Some("actor"), 3, 1),
    ];
    let mut fitness = |measure| session.evaluate(measure).unwrap().fitness;
    let found: BTreeSet<String> = measures.iter().map(|&measure| fitness(measure).to_string()).collect();
    assert_eq!(found.len(), measures.len(), "{found:?}");
    assert_eq!(fitness(measures[1]), fitness(measures[1]));
}

#[test]
fn agent_learns_after_the_seed_phase_and_drops_the_oldest_episodes() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|_| ());
    let genotype = genotype(&task);
    let mut session = task.session(Start::Fresh(&genotype, 0), place(dir.path())).unwrap();
    let weights = |session: &dyn Session| {
        let (_, entries) = session.describe().unwrap();
        let networks = entries.iter().filter(|entry| !entry.name.starts_with("episode/"));
        networks.map(|entry| session.tensor(entry).unwrap()).collect::<Vec<_>>()
    };
    let fresh = weights(session.as_ref());
    advance(session.as_mut(), 10);
    assert!(weights(session.as_ref()) == fresh);
    advance(session.as_mut(), 1);
    let once = weights(session.as_ref());
    assert!(once != fresh);
    // Every second step has an update.
    advance(session.as_mut(), 1);
    assert!(weights(session.as_ref()) == once);
    advance(session.as_mut(), 1);
    assert!(weights(session.as_ref()) != once);
    let news: Vec<String> = session.metrics().into_iter().map(|(name, _)| name).collect();
    assert_eq!(news, ["return", "critic_loss", "actor_loss", "q", "frames_per_second"]);
    advance(session.as_mut(), 37);
    let files = session.describe().unwrap().0.files;
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|name| name.starts_with("0002/03/")), "{files:?}");
}

#[test]
fn members_learn_from_a_shared_replay_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|config| (config.share, config.seed_frames) = (Share::Run, 0));
    let genotype = genotype(&task);
    let mut one = task.session(Start::Fresh(&genotype, 0), place(dir.path())).unwrap();
    advance(one.as_mut(), 10);
    assert!(one.metrics().iter().all(|(name, _)| name != "critic_loss"));
    let other = Seeds { member: MemberId(4), ..SEEDS };
    let mut other =
        task.session(Start::Fresh(&genotype, 0), MemberContext::outside(other, dir.path())).unwrap();
    advance(other.as_mut(), 1);
    assert!(other.metrics().iter().any(|(name, _)| name == "critic_loss"));
    assert!(other.describe().unwrap().0.files.is_empty());
}

#[test]
fn fitness_of_a_diverged_agent_is_nan() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|config| config.learning_rate = pbtnas_engine::task::Hyperparameter::Fixed(1e30));
    let genotype = genotype(&task);
    let mut session = task.session(Start::Fresh(&genotype, 0), place(dir.path())).unwrap();
    advance(session.as_mut(), 40);
    assert!(session.evaluate(Measure::Search).unwrap().fitness.is_nan());
}

#[test]
fn signal_interrupts_an_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|_| ());
    let genotype = genotype(&task);
    let place = place(dir.path());
    place.stop.raise(Signal::Terminate);
    let mut session = task.session(Start::Fresh(&genotype, 0), place).unwrap();
    assert!(session.evaluate(Measure::Search).unwrap_err().is::<Interrupted>());
}

#[test]
fn film_shows_every_step_of_an_episode() {
    let dir = tempfile::tempdir().unwrap();
    let task = task(|_| ());
    let genotype = genotype(&task);
    let mut session = task.session(Start::Fresh(&genotype, 0), place(dir.path())).unwrap();
    assert_eq!(session.export(dir.path()).unwrap(), ["episode.png"]);
    let file = std::io::BufReader::new(std::fs::File::open(dir.path().join("episode.png")).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    assert_eq!(reader.info().animation_control().unwrap().num_frames, 10);
}

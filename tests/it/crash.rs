//! A command is killed at every write, fsync, link, rename, removal and submission in turn. After each kill the run is sound,
//! and the search ends as the undisturbed one. The same with errors in place of kills.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use pbtnas_core::run::{SoupRecord, read_json, verify};
use pbtnas_core::search::{MemberId, Offspring};
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::attempt::{Claim, Identity};
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;
use pbtnas_engine::run::Run;
use pbtnas_engine::soup::Soup;

use crate::support::{essence, text};
use crate::tiny::{CONFIG, assert_sound, copy, finished_copy, folder, init, ok, pbtnas, train_all, trainer};

/// Runs the search for a soup in this process.
fn make_soup(state: &Path) {
    let run = Run::open(state).unwrap();
    let task = run.config.task();
    let identity = Identity { job: None, host: "test".into() };
    let soup = Soup::new(&run, task.as_ref(), None).unwrap();
    while let NextAction::Train { generation: round, members } = soup.advance(true).unwrap() {
        soup.evaluate_candidate(round, members[0], &identity, &Claim::default()).unwrap();
    }
}

/// Trains a member of the latest generation.
fn train(state: &Path, member: MemberId) {
    let run = Run::open(state).unwrap();
    let task = run.config.task();
    let plan = run.plan(run.latest_generation().unwrap().unwrap()).unwrap();
    trainer(&run, task.as_ref()).train(&plan, member).unwrap();
}

/// Asserts that killed processes left no temporary files.
pub fn assert_tidy(state: &Path, when: &str) {
    for entry in walkdir::WalkDir::new(state) {
        let path = entry.unwrap().into_path();
        assert!(
            !path.file_name().unwrap().to_string_lossy().starts_with(".tmp"),
            "{when}: {}",
            path.display()
        );
    }
}

/// The names of the failpoints that a command reaches.
pub fn points(command: &mut Command, dir: &Path) -> Vec<String> {
    let log = dir.join("points");
    let output = command.env("PBTNAS_FAILPOINT_LOG", &log).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    std::fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

pub fn count(points: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for point in points {
        *counts.entry(point).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

pub fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

/// Asserts that plans and checkpoints are those of another run.
pub fn assert_same(state: &Path, expected: &BTreeMap<String, Vec<u8>>) {
    let found = essence(state);
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<_> =
        names.into_iter().filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(differing.is_empty(), "{}: another population: {differing:?}", state.display());
}

/// Kills a command at every failpoint in turn, then makes each failpoint fail. The run must be sound, and `after` must
/// bring it to the same end as `calm`.
fn sweep(name: &str, before: &Path, arguments: &[&str], calm: &Path, after: impl Fn(&Path)) {
    let expected = essence(calm);
    assert!(expected.len() > 4, "{:?}", expected.keys());
    let dir = folder();
    let place = dir.path().join("run");
    let fresh = || {
        let _ = std::fs::remove_dir_all(&place);
        if before.exists() {
            copy(before, &place);
        }
    };
    fresh();
    let points = points(&mut pbtnas(&place, arguments), dir.path());
    let mut reported = 0;
    for number in 1..=points.len() {
        // A full disk and a broken one in turn: the program treats them alike.
        let (error, why) = if number % 2 == 0 { (28, "No space left") } else { (5, "Input/output error") };
        for what in ["kill".to_owned(), error.to_string()] {
            let when = format!("{name}: {what} at {number}, before {}", points[number - 1]);
            fresh();
            let mut command = pbtnas(&place, arguments);
            let output = command.env("PBTNAS_FAILPOINT", format!("{number}:{what}")).output().unwrap();
            if what == "kill" {
                assert!(was_killed(&output), "{when}: {}", text(&output));
            } else if !output.status.success() {
                // The message names the operation, the file and the reason.
                assert_eq!(output.status.code(), Some(74), "{when}: {}", text(&output));
                let said = text(&output);
                assert!(said.contains(why) && said.contains(dir.path().to_str().unwrap()), "{when}: {said}");
                reported += 1;
            }
            if place.join("run.json").exists() {
                assert_sound(&place, &when);
            }
            after(&place);
            assert_sound(&place, &when);
            assert_tidy(&place, &when);
            assert_same(&place, &expected);
        }
    }
    println!(
        "{name}: {} points swept ({}), each with a kill and with a full or a broken disk; {reported} of the errors \
         ended the command",
        points.len(),
        count(&points)
    );
}

#[test]
fn init_killed_at_any_point() {
    let dir = folder();
    let calm = init(dir.path(), CONFIG);
    train_all(&calm, u32::MAX);
    let file = dir.path().join("config.toml");
    let arguments = ["init", "--config", file.to_str().unwrap()];
    let config = Config::load(&file).unwrap();
    sweep("init", &dir.path().join("nothing"), &arguments, &calm, |state| {
        create(state, &config, config.task().as_ref()).unwrap();
        train_all(state, u32::MAX);
    });
}

#[test]
fn init_refuses_a_filesystem_without_hard_links() {
    const NOT_SUPPORTED: i32 = 95;
    let dir = folder();
    init(dir.path(), CONFIG);
    let file = dir.path().join("config.toml");
    let arguments = ["init", "--config", file.to_str().unwrap()];
    let points = points(&mut pbtnas(&dir.path().join("counted"), &arguments), dir.path());
    let link = 1 + points.iter().position(|point| point == "link").unwrap();
    let mut command = pbtnas(&dir.path().join("other"), &arguments);
    let output = command.env("PBTNAS_FAILPOINT", format!("{link}+:{NOT_SUPPORTED}")).output().unwrap();
    assert_eq!(output.status.code(), Some(74));
    assert!(text(&output).contains("put --state on a filesystem that has hard links"), "{}", text(&output));
}

#[test]
fn train_killed_at_any_point() {
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    let calm = finished_copy(&before);
    // A member of the first generation is still to be trained.
    let run = Run::open(&before).unwrap();
    advance(&run, run.config.task().as_ref(), true).unwrap();
    for member in 0..3 {
        ok(pbtnas(&before, &["train", "--member", &member.to_string()]));
    }
    sweep("train", &before, &["train", "--member", "3"], &calm, |state| {
        train(state, MemberId(3));
        train_all(state, u32::MAX);
    });
}

#[test]
fn rebuilding_checkpoints_killed_at_any_point() {
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    train_all(&before, 2);
    let calm = dir.path().join("calm");
    copy(&before, &calm);
    // A child of the second generation is to be trained, but its first checkpoint and a parent's are damaged.
    let run = Run::open(&before).unwrap();
    let plan = run.plan(1).unwrap();
    let child = plan.members.iter().find(|member| member.origin.is_made()).unwrap();
    let parent = pbtnas_engine::offspring::parents(&Offspring {
        id: child.id,
        genotype: child.genotype.clone(),
        origin: child.origin.clone(),
    })[0];
    for path in [
        run.layout.result(1, child.id),
        run.layout.final_checkpoint(1, child.id),
        run.layout.start(1, child.id),
        run.layout.final_checkpoint(0, parent),
    ] {
        std::fs::remove_file(path).unwrap();
    }
    for folder in [run.layout.progress(1, child.id), run.layout.progress(0, parent)] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    assert!(!verify(&run).unwrap().is_empty());
    let member = child.id.to_string();
    let arguments = ["train", "--member", &member];
    // The missing files stay missing until the command has run to its end.
    let expected = essence(&calm);
    let points = {
        let state = dir.path().join("run-1");
        copy(&before, &state);
        points(&mut pbtnas(&state, &arguments), dir.path())
    };
    for number in 1..=points.len() {
        let state = dir.path().join("disturbed");
        let _ = std::fs::remove_dir_all(&state);
        copy(&before, &state);
        let mut command = pbtnas(&state, &arguments);
        let output = command.env("PBTNAS_FAILPOINT", format!("{number}:kill")).output().unwrap();
        assert!(was_killed(&output), "rebuild, {number}: {}", text(&output));
        train(&state, child.id);
        assert_sound(&state, "rebuilt");
        assert!(essence(&state) == expected, "rebuild, killed at {number}");
    }
    println!("train with two checkpoints to rebuild: {} points swept ({})", points.len(), count(&points));
}

#[test]
fn run_killed_at_any_point() {
    // The process that plans, builds children, and removes old generations.
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    train_all(&before, 2);
    let calm = finished_copy(&before);
    assert!(calm.join("generations/0000/archive.json").exists(), "old generations are collected");
    sweep("run", &before, &["run", "--workers", "2"], &calm, |state| train_all(state, u32::MAX));
}

#[test]
fn soup_killed_at_any_point() {
    let dir = folder();
    // The population converges to equal architectures, which can be averaged.
    let converging = CONFIG
        .replace("seed = 7", "seed = 4")
        .replace("tau = 0.5", "tau = 0.5\nmixing = false")
        .replace("steps_per_epoch = 2", "steps_per_epoch = 100")
        .replace("snapshot_seconds = 0", "snapshot_seconds = 600");
    let before = init(dir.path(), &converging);
    train_all(&before, u32::MAX);
    let calm = dir.path().join("calm");
    copy(&before, &calm);
    ok(pbtnas(&calm, &["soup"]));
    let result = |state: &Path| std::fs::read(state.join("soup/soup.json")).unwrap();
    let expected = result(&calm);
    let mixed: SoupRecord = read_json(&calm.join("soup/soup.json")).unwrap();
    assert!(mixed.rounds > 1 && mixed.ingredients.len() > 1, "{mixed:?}");
    let after = |state: &Path| {
        make_soup(state);
        assert_eq!(result(state), expected);
    };
    sweep("soup", &before, &["soup", "--workers", "2"], &calm, after);
    let prepared = dir.path().join("prepared");
    copy(&before, &prepared);
    let run = Run::open(&prepared).unwrap();
    Soup::new(&run, run.config.task().as_ref(), None).unwrap().advance(true).unwrap();
    sweep("soup candidate", &prepared, &["soup", "--round", "1", "--candidate", "0"], &calm, after);
}

/// A kill between the new best.json and the removal of the old best member's files leaves them behind.
#[test]
fn files_that_a_kill_left_in_old_generations_are_removed_at_the_end() {
    let dir = folder();
    let state = init(dir.path(), &CONFIG.replace("epochs = 6", "epochs = 20"));
    train_all(&state, 8);
    let left = state.join("generations/0000/members/00/final.safetensors");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, "left behind").unwrap();
    train_all(&state, 9);
    assert!(left.exists(), "a step visits a few generations only");
    train_all(&state, u32::MAX);
    assert!(!left.exists() && !state.join("generations/0000/members").exists());
    assert_sound(&state, "at the end");
}

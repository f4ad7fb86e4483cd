//! A process dies at every write, fsync, link, rename, removal and submission in turn. After each death the run
//! is sound, and what follows ends as if nothing had happened. The same with errors in place of deaths.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pbtnas::advance::{Next, advance};
use pbtnas::config::Config;
use pbtnas::create::create;
use pbtnas::search::{MemberId, Offspring};
use pbtnas::soup::Soup;
use pbtnas::state::{Run, RunRecord, SoupRecord, read_json, replace_json, verify};
use pbtnas::trainer::Identity;

use crate::slurm::Cluster;
use crate::support::{essence, text, wait_for, wait_for_the_end};
use crate::tiny::{CONFIG, assert_sound, copy, finished_copy, folder, init, ok, pbtnas, trainer, work_off};

/// Works the search for a soup off in this process.
fn make_soup(state: &Path) {
    let run = Run::open(state).unwrap();
    let task = run.config.task().unwrap();
    let identity = Identity { job: None, host: "test".into() };
    let soup = Soup::new(&run, task.as_ref(), None).unwrap();
    while let Next::Train { generation: round, members } = soup.advance(true).unwrap() {
        soup.evaluate_candidate(round, members[0], &identity).unwrap();
    }
}

/// Trains a member of the latest generation.
fn train(state: &Path, member: MemberId) {
    let run = Run::open(state).unwrap();
    let task = run.config.task().unwrap();
    let plan = run.plan(run.latest_generation().unwrap().unwrap()).unwrap();
    trainer(&run, task.as_ref()).train(&plan, member).unwrap();
}

/// No file that a dead process left half written.
fn assert_tidy(state: &Path, when: &str) {
    for entry in walkdir::WalkDir::new(state) {
        let path = entry.unwrap().into_path();
        assert!(
            !path.file_name().unwrap().to_string_lossy().starts_with(".tmp"),
            "{when}: {}",
            path.display()
        );
    }
}

/// The names of the failpoints that a command comes to.
fn points(command: &mut Command, dir: &Path) -> Vec<String> {
    let log = dir.join("points");
    let output = command.env("PBTNAS_FAILPOINT_LOG", &log).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    std::fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

fn count(points: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for point in points {
        *counts.entry(point).or_default() += 1;
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9)
}

/// Plans and checkpoints are those of another run.
fn assert_same(state: &Path, expected: &BTreeMap<String, Vec<u8>>) {
    let found = essence(state);
    let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differing: Vec<_> =
        names.into_iter().filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(differing.is_empty(), "{}: another population: {differing:?}", state.display());
}

/// Kills a command at every failpoint in turn, then lets every failpoint fail; `after` must get the run, sound
/// as it is, to the end `calm`.
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
    let mut told = 0;
    for number in 1..=points.len() {
        // A full disk and a broken one in turn: the program makes no difference between them.
        let (error, why) = if number % 2 == 0 { (28, "No space left") } else { (5, "Input/output error") };
        for what in ["kill".to_owned(), error.to_string()] {
            let when = format!("{name}: {what} at {number}, before {}", points[number - 1]);
            fresh();
            let mut command = pbtnas(&place, arguments);
            let output = command.env("PBTNAS_FAILPOINT", format!("{number}:{what}")).output().unwrap();
            if what == "kill" {
                assert!(was_killed(&output), "{when}: {}", text(&output));
            } else if !output.status.success() {
                // It says what, where and why.
                assert_eq!(output.status.code(), Some(74), "{when}: {}", text(&output));
                let said = text(&output);
                assert!(said.contains(why) && said.contains(dir.path().to_str().unwrap()), "{when}: {said}");
                told += 1;
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
        "{name}: {} points swept ({}), each with a kill and with a full or a broken disk; {told} of the errors \
         ended the command",
        points.len(),
        count(&points)
    );
}

#[test]
fn init_dies_anywhere() {
    let dir = folder();
    let calm = init(dir.path(), CONFIG);
    work_off(&calm, u32::MAX);
    let file = dir.path().join("config.toml");
    let arguments = ["init", "--config", file.to_str().unwrap()];
    let config = Config::load(&file).unwrap();
    sweep("init", &dir.path().join("nothing"), &arguments, &calm, |state| {
        create(state, &config, config.task().unwrap().as_ref()).unwrap();
        work_off(state, u32::MAX);
    });
}

#[test]
fn a_filesystem_without_hard_links_is_told_at_once() {
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
fn train_dies_anywhere() {
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    let calm = finished_copy(&before);
    // A member of the first generation is still to be trained.
    let run = Run::open(&before).unwrap();
    advance(&run, run.config.task().unwrap().as_ref(), true).unwrap();
    for member in 0..3 {
        ok(pbtnas(&before, &["train", "--member", &member.to_string()]));
    }
    sweep("train", &before, &["train", "--member", "3"], &calm, |state| {
        train(state, MemberId(3));
        work_off(state, u32::MAX);
    });
}

#[test]
fn mending_dies_anywhere() {
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    work_off(&before, 2);
    let calm = dir.path().join("calm");
    copy(&before, &calm);
    // A child of the second generation is to be trained, but its first checkpoint and a parent's are damaged.
    let run = Run::open(&before).unwrap();
    let plan = run.plan(1).unwrap();
    let child = plan.members.iter().find(|member| member.origin.is_made()).unwrap();
    let parent = pbtnas::children::parents(&Offspring {
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
    // What is missing is missing until the command has run to its end.
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
        assert!(was_killed(&output), "mend, {number}: {}", text(&output));
        train(&state, child.id);
        assert_sound(&state, "mended");
        assert!(essence(&state) == expected, "mend, killed at {number}");
    }
    println!("train with two checkpoints to mend: {} points swept ({})", points.len(), count(&points));
}

#[test]
fn run_dies_anywhere() {
    // The process that decides, mixes, and collects old generations.
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    work_off(&before, 2);
    let calm = finished_copy(&before);
    assert!(calm.join("generations/0000/archive.json").exists(), "old generations are collected");
    sweep("run", &before, &["run", "--workers", "2"], &calm, |state| work_off(state, u32::MAX));
}

#[test]
fn soup_dies_anywhere() {
    let dir = folder();
    // The population converges, so that there is something to average.
    let converging = CONFIG
        .replace("tau = 0.5", "tau = 0.5\nmixing = false")
        .replace("steps_per_epoch = 2", "steps_per_epoch = 100")
        .replace("snapshot_seconds = 0", "snapshot_seconds = 600");
    let before = init(dir.path(), &converging);
    work_off(&before, u32::MAX);
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
    Soup::new(&run, run.config.task().unwrap().as_ref(), None).unwrap().advance(true).unwrap();
    sweep("soup candidate", &prepared, &["soup", "--round", "1", "--candidate", "0"], &calm, after);
}

#[test]
fn step_dies_anywhere_on_a_cluster_alone_and_beside_another() {
    let cluster = Cluster::get();
    let dir = folder();
    let before = init(dir.path(), CONFIG);
    work_off(&before, 2);
    let calm = finished_copy(&before);
    let expected = essence(&calm);
    let step = |state: &Path| {
        let mut command = pbtnas(state, &["step"]);
        command.env("SLURM_CONF", cluster.conf());
        command
    };
    let place = |name: String| {
        let state = dir.path().join(name);
        copy(&before, &state);
        // A run of its own: jobs are known by the run's id.
        let path = state.join("run.json");
        let mut record: RunRecord = read_json(&path).unwrap();
        record.run_id = format!("{:08x}", rand::random::<u32>());
        replace_json(&path, &record).unwrap();
        state
    };
    let points = points(&mut step(&place("count".into())), dir.path());
    let mut runs = vec![];
    for beside in [false, true] {
        // Beside another one it is a matter of chance where the two meet: a third of the points are enough tries.
        for number in (1..=points.len()).step_by(if beside { 3 } else { 1 }) {
            let state = place(format!("{number}-{beside}"));
            let other =
                beside.then(|| step(&state).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
            let output = step(&state).env("PBTNAS_FAILPOINT", format!("{number}:kill")).output().unwrap();
            // Beside another one there may be less left to do.
            assert!(was_killed(&output) || beside && output.status.success(), "{number}: {}", text(&output));
            if let Some(other) = other {
                let output = other.wait_with_output().unwrap();
                assert!(output.status.success(), "beside {number}: {}", text(&output));
            }
            assert_sound(&state, &format!("step killed at {number}, before {}", points[number - 1]));
            ok(step(&state));
            runs.push((state, was_killed(&output)));
        }
    }
    let killed = runs.iter().filter(|(_, killed)| *killed).count();
    for (state, _) in &runs {
        let run = Run::open(state).unwrap();
        wait_for_the_end(state);
        for member in 0..4 {
            let attempts = std::fs::read_dir(run.layout.attempts(2, MemberId(member))).unwrap().count();
            assert!(attempts <= 2, "{}: member {member} was trained more than once", state.display());
        }
    }
    wait_for("an empty queue", 120, || {
        cluster.command("squeue", &["--noheader"]).trim().is_empty().then_some(())
    });
    for (state, _) in &runs {
        assert_sound(state, "at the end");
        assert_tidy(state, "at the end");
        assert_same(state, &expected);
    }
    println!(
        "step: {} points swept ({}), alone and beside a second step: {killed} of {} died",
        points.len(),
        count(&points),
        runs.len()
    );
}

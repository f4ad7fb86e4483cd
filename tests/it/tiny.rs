//! Runs small enough to be disturbed hundreds of times, trained in the test's own process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use pbtnas_core::run::verify;
use pbtnas_engine::advance::{NextAction, advance};
use pbtnas_engine::attempt::{Claim, Identity, Trainer};
use pbtnas_engine::run::Run;
use pbtnas_engine::signal::StopSignal;
use pbtnas_engine::task::Task;

use crate::support::{PBTNAS, text};

/// Three generations of four members; one generation keeps its files, and every optimizer step is followed by a snapshot.
pub const CONFIG: &str = "seed = 7\n[search]\npopulation = 4\ntau = 0.5\nepochs = 6\nepochs_per_generation = 2\n\
                          [task]\nkind = \"synthetic\"\n[synthetic]\nsteps_per_epoch = 2\nlayers = 3\n\
                          [training]\nsnapshot_seconds = 0\n\
                          [storage]\nkeep = 1\nvisibility_timeout = 0\nretry_seconds = 0\n";

/// A folder in memory if there is one: fsync takes no time there.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A command on a run, not started yet.
pub fn pbtnas(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PBTNAS);
    command.args(arguments).arg("--state").arg(state).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; returns its output.
pub fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

/// A run named `run` in a folder.
pub fn init(dir: &Path, config: &str) -> PathBuf {
    let (file, state) = (dir.join("config.toml"), dir.join("run"));
    std::fs::write(&file, config).unwrap();
    ok(pbtnas(&state, &["init", "--config", file.to_str().unwrap()]));
    state
}

/// Copies a file or a whole folder.
pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Trains a run to its end, or until the members of so many generations are trained.
pub fn train_all(state: &Path, generations: u32) {
    try_train_all(state, generations).unwrap_or_else(|error| panic!("{}: {error:#}", state.display()));
}

/// As [`train_all`]; returns an error that occurs five times.
pub fn try_train_all(state: &Path, generations: u32) -> Result<()> {
    let run = Run::open(state)?;
    let task = run.config.task();
    let trainer = trainer(&run, task.as_ref());
    let mut errors = 0;
    while let NextAction::Train { generation, members } = advance(&run, task.as_ref(), true)? {
        let plan = run.plan(generation)?;
        for member in members {
            if let Err(error) = trainer.train(&plan, member) {
                errors += 1;
                if errors == 5 {
                    return Err(error.context(format!("member {member} cannot be trained")));
                }
            }
        }
        if generation + 1 == generations {
            return Ok(());
        }
    }
    Ok(())
}

/// A copy of a run, beside it, trained undisturbed to its end.
pub fn finished_copy(state: &Path) -> PathBuf {
    let calm = state.with_file_name("calm");
    copy(state, &calm);
    train_all(&calm, u32::MAX);
    calm
}

/// Trains members in this process.
pub fn trainer<'a>(run: &'a Run, task: &'a dyn Task) -> Trainer<'a> {
    let identity = Identity { job: None, host: "test".into() };
    Trainer { run, task, identity, stop: StopSignal::default(), claim: Claim::default() }
}

pub fn assert_sound(state: &Path, when: &str) {
    let faults = verify(&Run::open(state).unwrap()).unwrap();
    assert!(faults.is_empty(), "{when}: {faults:?}");
}

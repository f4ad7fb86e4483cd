//! Running pbtnas, and looking at what it left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pbtnas::report::status;
use pbtnas::state::Run;
use serde_json::Value;

/// The program under test.
pub const PBTNAS: &str = env!("CARGO_BIN_EXE_pbtnas");

/// A configuration of the synthetic task: 8 members, 3 generations; `extra` holds more TOML.
pub fn synthetic(step_milliseconds: u64, extra: &str) -> String {
    format!(
        "seed = 7\n[search]\npopulation = 8\nepochs = 6\nepochs_per_step = 2\n[task]\nkind = \"synthetic\"\n\
         [storage]\nkeep = \"all\"\nvisibility_timeout = 2\n\
         [synthetic]\nsteps_per_epoch = 5\nstep_milliseconds = {step_milliseconds}\n{extra}\n"
    )
}

/// A run's directory in a temporary one.
pub struct Search {
    dir: tempfile::TempDir,
    pub state: PathBuf,
}

impl Search {
    /// Made by `pbtnas init` from a configuration.
    pub fn init(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("run");
        let search = Self { dir, state };
        search.init_again(config);
        search
    }

    /// The same, where the run was removed.
    pub fn init_again(&self, config: &str) {
        let file = self.folder().join("config.toml");
        std::fs::write(&file, config).unwrap();
        self.ok(&["init", "--config", file.to_str().unwrap()]);
    }

    /// The temporary directory.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A command on this run, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PBTNAS);
        command.args(arguments).arg("--state").arg(&self.state).stdin(Stdio::null());
        command
    }

    /// Runs a command on this run.
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "pbtnas {arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a command on this run.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.state.join(relative)
    }

    pub fn json(&self, relative: &str) -> Value {
        let path = self.path(relative);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// See [`essence`].
    pub fn essence(&self) -> BTreeMap<String, Vec<u8>> {
        essence(&self.state)
    }

    /// Asserts that this run and another one came to the same population, and that both are sound.
    pub fn assert_same(&self, other: &Search) {
        for search in [self, other] {
            assert!(search.ok(&["verify"]).starts_with("sound"));
        }
        let (ours, theirs) = (self.essence(), other.essence());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, bytes) in &ours {
            assert!(*bytes == theirs[name], "{name} differs");
        }
        assert!(ours.len() > 10, "{:?}", ours.keys());
    }

    /// Endings of all attempts of a generation, e.g. `stopped SIGTERM`; `lost` where there is none.
    pub fn endings(&self, generation: u32) -> Vec<String> {
        let mut endings = Vec::new();
        for entry in walkdir::WalkDir::new(self.path(&format!("generations/{generation:04}/members"))) {
            // A generation that is not there yet has none, and temporary files come and go.
            let Ok(entry) = entry else { continue };
            let path = entry.into_path();
            if !path.to_string_lossy().ends_with(".start.json") {
                continue;
            }
            let end = path.to_string_lossy().replace(".start.json", ".end.json");
            endings.push(match std::fs::read_to_string(end) {
                Err(_) => "lost".to_owned(),
                Ok(text) => {
                    let end: Value = serde_json::from_str(&text).unwrap();
                    let kind = end["ending"]["kind"].as_str().unwrap().to_owned();
                    match end["ending"]["signal"].as_str() {
                        Some(signal) => format!("{kind} {signal}"),
                        None => kind,
                    }
                }
            });
        }
        endings
    }
}

/// Everything that must be the same whenever the same search is run again: plans and checkpoints.
pub fn essence(state: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(state.join("generations")) {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if matches!(name.as_str(), "plan.json" | "start.safetensors" | "final.safetensors") {
            let relative = entry.path().strip_prefix(state).unwrap();
            files.insert(relative.display().to_string(), std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// All that a command printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until something is there.
pub fn wait_for<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until a search is finished, however many other tests use the cluster. Looks from here: a program that looked
/// would take the processors away from those that train.
pub fn wait_for_the_end(state: &Path) {
    let finished = || Some(status(&Run::open(state).ok()?).ok()?.finished);
    wait_for("the end of the search", 900, || (finished() == Some(true)).then_some(()));
}

/// Sends a signal (by its name without SIG) to a process.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

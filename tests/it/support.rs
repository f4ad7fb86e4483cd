//! Runs pbtnas and reads its run directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use pbtnas::report::status;
use pbtnas_engine::run::Run;
use serde_json::Value;

/// The program under test: that of this build, or the one that the environment variable `PBTNAS_PROGRAM` names.
pub const PBTNAS: Program = Program;

#[derive(Clone, Copy)]
pub struct Program;

impl Program {
    pub fn path(self) -> &'static str {
        static PATH: LazyLock<String> = LazyLock::new(|| {
            std::env::var("PBTNAS_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_pbtnas").to_owned())
        });
        &PATH
    }
}

impl AsRef<OsStr> for Program {
    fn as_ref(&self) -> &OsStr {
        OsStr::new(self.path())
    }
}

/// A configuration of the synthetic task: 8 members, 3 generations; `extra` holds more TOML.
pub fn synthetic(step_milliseconds: u64, extra: &str) -> String {
    format!(
        "seed = 7\n[search]\npopulation = 8\nepochs = 6\nepochs_per_generation = 2\n[task]\nkind = \"synthetic\"\n\
         [storage]\nkeep = \"all\"\nvisibility_timeout = 2\n\
         [synthetic]\nsteps_per_epoch = 5\nstep_milliseconds = {step_milliseconds}\n{extra}\n"
    )
}

/// Plans and checkpoints by their paths in the run directory.
pub type Essence = BTreeMap<String, Vec<u8>>;

/// A run in a temporary folder.
pub struct Search {
    dir: tempfile::TempDir,
    pub state: PathBuf,
}

impl Search {
    /// Runs `pbtnas init` with this configuration.
    pub fn init(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("run");
        let search = Self { dir, state };
        search.init_again(config);
        search
    }

    /// Runs `pbtnas init` after the run was removed.
    pub fn init_again(&self, config: &str) {
        let file = self.folder().join("config.toml");
        std::fs::write(&file, config).unwrap();
        self.ok(&["init", "--config", file.to_str().unwrap()]);
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A command on this run, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PBTNAS);
        command.args(arguments).arg("--state").arg(&self.state).stdin(Stdio::null());
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; returns its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "pbtnas {arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

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
    pub fn essence(&self) -> Essence {
        essence(&self.state)
    }

    /// Asserts that both runs have the same plans and checkpoints and are sound.
    pub fn assert_same(&self, other: &Search) {
        assert!(other.ok(&["verify"]).starts_with("valid"));
        self.assert_files(&other.essence());
    }

    /// Asserts that this run has these plans and checkpoints and is sound.
    pub fn assert_files(&self, theirs: &Essence) {
        assert!(self.ok(&["verify"]).starts_with("valid"));
        let ours = self.essence();
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, bytes) in &ours {
            assert!(*bytes == theirs[name], "{name} differs");
        }
        assert!(ours.len() > 10, "{:?}", ours.keys());
    }

    /// How each attempt of a generation ended, e.g. `stopped SIGTERM`; `lost` without a record of its end.
    pub fn endings(&self, generation: u32) -> Vec<String> {
        let mut endings = Vec::new();
        for entry in walkdir::WalkDir::new(self.path(&format!("generations/{generation:04}/members"))) {
            // The generation may not exist yet, and temporary files vanish.
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

/// The files that are equal in all runs of the same search: plans and checkpoints.
pub fn essence(state: &Path) -> Essence {
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

/// Standard output and standard error of a command.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until a condition holds; panics after so many seconds.
pub fn wait_until(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    wait_for(what, seconds, || holds().then_some(()));
}

/// Waits for a value, as [`wait_until`] for a condition.
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

/// Waits until a search is finished. Reads the run in this process: calls of the program would take the processors from the
/// members.
pub fn wait_for_the_end(state: &Path) {
    pbtnas::register_tasks();
    let finished = || Some(status(&Run::open(state).ok()?).ok()?.finished);
    wait_until("the end of the search", 900, || finished() == Some(true));
}

/// Sends a signal (by its name without SIG) to a process.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The help text of a command, 100 columns wide.
pub fn help(command: &[&str]) -> String {
    let output = Command::new(PBTNAS).args(command).arg("--help").env_remove("COLUMNS").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all commands in the help text.
pub fn commands() -> Vec<String> {
    let help = help(&[]);
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let commands = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let names = commands.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    let names: Vec<String> = names.filter(|name| name != "help").collect();
    assert!(names.len() > 15, "{help}");
    names
}

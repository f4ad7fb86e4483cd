//! A fresh folder with the files of a clone, and a shell in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::likeness::missing;
use super::page::Call;
use crate::command::python;
use crate::support::PBTNAS;

/// The folder in which the pages' reader works.
const SHOWN: &str = "/home/me/pbtnas";
/// How long a command that only reads is repeated until it prints what is shown.
const REPEAT_FOR: Duration = Duration::from_secs(180);

/// The folder for one page.
pub struct Checkout {
    dir: tempfile::TempDir,
    /// The `cd` and `export` commands so far.
    before: Vec<String>,
}

impl Checkout {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, here) = (Path::new(env!("CARGO_MANIFEST_DIR")), dir.path());
        for copied in ["configs", "examples", "slurm"] {
            let status = Command::new("cp").arg("-r").arg(root.join(copied)).arg(here).status().unwrap();
            assert!(status.success());
        }
        // Not copied: dependencies, the cluster, and the scripts for both.
        for linked in [".deps", ".slurm", "scripts"] {
            std::os::unix::fs::symlink(root.join(linked), here.join(linked)).unwrap();
        }
        std::fs::create_dir_all(here.join("target/release")).unwrap();
        std::os::unix::fs::symlink(PBTNAS.path(), here.join("target/release/pbtnas")).unwrap();
        Self { dir, before: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Cancels all jobs and waits for their end, before the folder is removed. The caller must have the cluster to itself.
    pub fn cancel_jobs(self) {
        self.run("scancel --me; until [[ ! $(squeue --me --noheader) ]]; do sleep 0.2; done");
    }

    /// Writes a file that a page shows.
    pub fn write(&self, name: &str, lines: &[String]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    /// Runs a command; the error describes how it differs from the page.
    pub fn call(&mut self, call: &Call) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let (success, printed) = self.run(&call.command);
            let wrong = if !success {
                Some("it failed".to_owned())
            } else if call.output.is_empty() {
                None
            } else {
                missing(&call.output, &printed).map(|line| format!("it did not print, here: {line}"))
            };
            let Some(wrong) = wrong else { break };
            if !only_reads(&call.command) || began.elapsed() > REPEAT_FOR {
                return Err(format!(
                    "line {}: $ {}\n{wrong}\nit printed:\n{printed}",
                    call.line, call.command
                ));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        if ["cd ", "export "].iter().any(|word| call.command.starts_with(word)) {
            self.before.push(call.command.clone());
        }
        Ok(())
    }

    /// Whether a command succeeds, and its output with the names of the folders replaced by the reader's.
    fn run(&self, command: &str) -> (bool, String) {
        let root = env!("CARGO_MANIFEST_DIR");
        let bin: [PathBuf; 2] =
            [Path::new(PBTNAS.path()).parent().unwrap().to_owned(), python().parent().unwrap().to_owned()];
        let path = format!("{}:{}:{}", bin[0].display(), bin[1].display(), std::env::var("PATH").unwrap());
        let script = format!("{}\n{command}", self.before.join("\n"));
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{script}")])
            .current_dir(self.path())
            .env("PATH", path)
            .env("SLURM_CONF", Path::new(root).join(".slurm/slurm.conf"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let printed = printed.replace(&self.path().display().to_string(), SHOWN).replace(root, SHOWN);
        (output.status.success(), printed)
    }
}

/// Whether a command changes nothing, and may be repeated.
fn only_reads(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["squeue" | "sinfo" | "ls" | "cat" | "tail" | "grep" | "head" | "du", ..] => true,
        [program, "status" | "verify", ..] => program.ends_with("pbtnas"),
        _ => false,
    }
}

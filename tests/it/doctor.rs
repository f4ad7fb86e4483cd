//! `pbtnas doctor` without a cluster and on filesystems that lack something. With a cluster: `cluster/doctor.rs`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{PBTNAS, synthetic, text};

pub const TIMES: &str = "[slurm]\ntime = \"01:00:00\"\n";

/// A folder with a configuration, `c.toml`.
pub struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    pub fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.toml"), config).unwrap();
        Self { dir }
    }

    pub fn command(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(PBTNAS);
        command.args(["doctor", "--config"]).arg(self.dir.path().join("c.toml")).arg("--state").arg(state);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// For a run in a folder that does not exist.
    pub fn new_run(&self, arguments: &[&str]) -> Command {
        self.command(&self.dir.path().join("runs/first"), arguments)
    }

    /// Asserts that only the configuration is left.
    pub fn assert_clean(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["c.toml"]);
    }
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// Returns the findings with a verdict: area, title.
pub fn of<'a>(report: &'a Value, verdict: &str) -> Vec<(&'a str, &'a str)> {
    let findings = report["findings"].as_array().unwrap().iter();
    let these = findings.filter(|finding| finding["verdict"] == verdict);
    these.map(|finding| (finding["area"].as_str().unwrap(), finding["title"].as_str().unwrap())).collect()
}

#[test]
fn without_a_cluster_or_a_configuration_the_rest_is_checked() {
    let fixture = Fixture::new(&synthetic(0, ""));
    let without = |mut command: Command| {
        let output = command.env("PATH", "/nowhere").output().unwrap();
        (output.status.code(), json(&output))
    };
    let (code, report) = without(fixture.new_run(&["--json"]));
    assert_eq!(code, Some(0));
    assert!(of(&report, "warning").contains(&("slurm", "commands")), "{report:#}");
    assert_eq!(of(&report, "skipped"), [("nodes", "a job")]);
    fixture.assert_clean();

    let jobs = Fixture::new(&synthetic(0, TIMES));
    assert_eq!(without(jobs.new_run(&["--json"])).0, Some(5), "[slurm] is set");

    let wrong = Fixture::new(&synthetic(0, "[slurm]\npartitoin = \"main\""));
    let (code, report) = without(wrong.new_run(&["--json"]));
    assert_eq!((code, of(&report, "problem")), (Some(3), vec![("configuration", "file")]));
    assert!(report.to_string().contains("did you mean `partition`?"), "{report:#}");
    assert!(of(&report, "ok").contains(&("filesystem", "publishing")), "checks without a configuration run");
}

/// A real filesystem without hard links: exFAT by FUSE, on a loop device.
struct Exfat {
    dir: tempfile::TempDir,
    device: String,
}

impl Exfat {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (image, place) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::create_dir(&place).unwrap();
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let (image, place) = (image.to_str().unwrap(), place.to_str().unwrap());
        sbin("mkfs.exfat", &[image]).unwrap();
        let device = sbin("losetup", &["--find", "--show", image]).unwrap().trim().to_owned();
        let exfat = Self { dir, device };
        sbin("mount.exfat-fuse", &[&exfat.device, place]).unwrap();
        exfat
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Exfat {
    fn drop(&mut self) {
        let _ = sbin("umount", &[self.path().to_str().unwrap()]);
        let _ = sbin("losetup", &["--detach", &self.device]);
    }
}

/// Runs a program of an administrator; returns what it printed.
fn sbin(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let words = [&[program], arguments].concat();
    let output = Command::new("env").arg(format!("PATH={path}")).args(&words).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(format!("{words:?}: {}", text(&output)))
    }
}

#[test]
#[ignore = "needs root, a loop device, exfat-fuse and exfatprogs"]
fn exfat_has_no_hard_links_and_is_a_problem() {
    let exfat = Exfat::mount();
    let fixture = Fixture::new(&synthetic(0, ""));
    let output = fixture.command(&exfat.path().join("run"), &["--no-jobs"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("✗ publishing: ") && said.contains("FAT, exFAT"), "{said}");
    assert!(said.contains("✓ replacing: ") && said.contains("1 problem"), "{said}");
    assert_eq!(std::fs::read_dir(exfat.path()).unwrap().count(), 0);
}

/// The same with injected failures of the system calls.
#[cfg(feature = "failpoints")]
#[test]
fn each_failure_of_the_filesystem_is_reported() {
    let fixture = Fixture::new(&synthetic(0, ""));
    let log = fixture.dir.path().join("log");
    let mut command = fixture.new_run(&["--no-jobs"]);
    let counted = command.env("PATH", "/nowhere").env("PBTNAS_FAILPOINT_LOG", &log).output().unwrap();
    assert!(counted.status.success(), "{}", text(&counted));
    let points = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let (no_permission, broken) = (1, 5);
    // The second fsync of a directory is that of a published file.
    for (operation, which, error, words) in [
        ("mkdir", 0, broken, "✗ folder: failed to create the directory"),
        ("fsync directory", 0, broken, "✗ folder: failed to sync"),
        ("link", 0, no_permission, "put --state on a filesystem that has hard links"),
        ("fsync", 0, broken, "✗ publishing: failed to write"),
        ("fsync directory", 1, broken, "✗ publishing: failed to sync"),
        ("rename", 0, broken, "✗ replacing: failed to replace"),
    ] {
        let number =
            1 + points.lines().enumerate().filter(|(_, point)| *point == operation).nth(which).unwrap().0;
        let mut command = fixture.new_run(&["--no-jobs"]);
        // Only one call fails: the checks after it run.
        command.env("PATH", "/nowhere").env("PBTNAS_FAILPOINT", format!("{number}:{error}"));
        let output = command.output().unwrap();
        let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(output.status.code() == Some(74) && said.contains(words), "{operation}: {said}");
        fixture.assert_clean();
    }
}

//! `pbtnas doctor`: on a healthy cluster, with wrong wishes, without a cluster, on filesystems that lack something.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::slurm::Cluster;
use crate::support::{PBTNAS, signal, synthetic, text, wait_for};

const TIMES: &str = "[slurm]\ntime = \"01:00:00\"\n";

struct Patient {
    dir: tempfile::TempDir,
}

impl Patient {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.toml"), config).unwrap();
        Self { dir }
    }

    fn command(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(PBTNAS);
        command.args(["doctor", "--config"]).arg(self.dir.path().join("c.toml")).arg("--state").arg(state);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// For a run in a folder that is not there yet.
    fn new_run(&self, arguments: &[&str]) -> Command {
        self.command(&self.dir.path().join("runs/first"), arguments)
    }

    /// Whatever was made is gone.
    fn assert_clean(&self) {
        let names: Vec<_> =
            std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["c.toml"]);
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// The findings of a verdict: area, title.
fn of<'a>(report: &'a Value, verdict: &str) -> Vec<(&'a str, &'a str)> {
    let findings = report["findings"].as_array().unwrap().iter();
    let these = findings.filter(|finding| finding["verdict"] == verdict);
    these.map(|finding| (finding["area"].as_str().unwrap(), finding["title"].as_str().unwrap())).collect()
}

#[test]
fn a_healthy_cluster_is_well_and_nothing_stays() {
    let cluster = Cluster::get();
    let patient = Patient::new(&synthetic(0, TIMES));
    let output = patient.new_run(&["--json"]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&output);
    assert!(["problem", "warning", "skipped"].iter().all(|v| of(&report, v).is_empty()), "{report:#}");
    assert_eq!(report["exit_code"], 0);
    let fine = of(&report, "ok");
    for expected in [
        ("program", "libtorch"),
        ("configuration", "task"),
        ("filesystem", "publishing"),
        ("slurm", "controller"),
        ("limits", "partition of members"),
        ("submission", "array of members"),
        ("nodes", "visibility"),
        ("nodes", "first writer wins"),
    ] {
        assert!(fine.contains(&expected), "{expected:?}: {fine:?}");
    }
    patient.assert_clean();
    wait_for("the end of its job", 20, || {
        let queue = cluster.command("squeue", &["--noheader", "--format=%j"]);
        (!queue.contains("pbtnas-doctor")).then_some(())
    });

    // What is set up in vain is heard of, and what prevents jobs from beginning is a problem.
    let patient =
        Patient::new(&synthetic(0, "[slurm]\ntime = \"30\"\nsetup = [\"echo no module >&2; exit 3\"]"));
    let output = patient.new_run(&[]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("(FAILED), but no file of it appeared here") && said.contains("no module"),
        "{said}"
    );
    patient.assert_clean();
}

#[test]
fn what_the_cluster_does_not_have_is_told_with_the_way_out() {
    let cluster = Cluster::get();
    for (slurm, problem, advice) in [
        ("partition = \"mian\"", "partition of members", "Did you mean \"main\"?"),
        ("memory = \"900T\"", "resources of members", "Set memory in [slurm] to"),
        ("gres = \"gpu:9\"", "resources of members", "Nodes have gpu:1 in main, low, high."),
        ("warning_seconds = 60000", "time limit of members", "lower warning_seconds"),
    ] {
        let patient = Patient::new(&synthetic(0, &format!("{TIMES}{slurm}")));
        let mut command = patient.new_run(&["--json", "--no-jobs"]);
        let output = command.env("SLURM_CONF", cluster.conf()).output().unwrap();
        let report = json(&output);
        assert_eq!(output.status.code(), Some(3), "{report:#}");
        assert_eq!(of(&report, "problem")[0], ("limits", problem), "{report:#}");
        assert!(report.to_string().contains(&advice.replace('"', "\\\"")), "{report:#}");
        // Of all but the warning, sbatch knows too.
        assert_eq!(of(&report, "problem").len() > 1, !slurm.contains("warning"), "{report:#}");
        assert_eq!(of(&report, "skipped"), [("nodes", "a job")]);
    }
    cluster.command("scontrol", &["update", "partition=main", "maxtime=30"]);
    let patient = Patient::new(&synthetic(0, TIMES));
    let output = patient.new_run(&["--no-jobs"]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    cluster.command("scontrol", &["update", "partition=main", "maxtime=unlimited"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("✗ time limit of members: 01:00:00 is asked for, the partition allows 00:30:00"),
        "{said}"
    );
}

#[test]
fn a_job_that_a_cluster_does_not_start_is_no_problem_and_a_signal_cleans_up() {
    let cluster = Cluster::get();
    let patient = Patient::new(&synthetic(0, &format!("{TIMES}[slurm.step]\npartition = \"low\"")));
    // All nodes are taken.
    let busy = [
        "--parsable",
        "--partition=high",
        "--exclusive",
        "--nodes=4",
        "--output=/dev/null",
        "--wrap=sleep 60",
    ];
    let job = cluster.command("sbatch", &busy).trim().to_owned();
    let queue = || cluster.command("squeue", &["--noheader", "--format=%j %T"]);
    wait_for("the job that takes all nodes", 30, || queue().contains("wrap RUNNING").then_some(()));
    let output = patient.new_run(&["--wait", "1"]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("– a job: still queued after 1 s ("), "{}", text(&output));

    for name in ["INT", "HUP"] {
        let plain = patient.new_run(&[]);
        // Tests may be called by nohup; what that ignores, doctor would, too.
        let mut command = Command::new("env");
        command.arg(format!("--default-signal={name}")).arg(plain.get_program()).args(plain.get_args());
        command.env("SLURM_CONF", cluster.conf()).stdin(Stdio::null());
        let doctor = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("its job", 30, || queue().contains("pbtnas-doctor").then_some(()));
        signal(doctor.id(), name);
        let output = doctor.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", text(&output));
        assert!(text(&output).contains(&format!("stopped by SIG{name}; so far, ")), "{}", text(&output));
        patient.assert_clean();
        assert!(!queue().contains("pbtnas-doctor"), "{}", queue());
    }
    cluster.command("scancel", &[&job]);
}

#[test]
fn without_a_cluster_or_a_configuration_the_rest_is_looked_at() {
    let patient = Patient::new(&synthetic(0, ""));
    let without = |mut command: Command| {
        let output = command.env("PATH", "/nowhere").output().unwrap();
        (output.status.code(), json(&output))
    };
    let (code, report) = without(patient.new_run(&["--json"]));
    assert_eq!(code, Some(0));
    assert!(of(&report, "warning").contains(&("slurm", "commands")), "{report:#}");
    assert_eq!(of(&report, "skipped"), [("nodes", "a job")]);
    patient.assert_clean();

    let jobs = Patient::new(&synthetic(0, TIMES));
    assert_eq!(without(jobs.new_run(&["--json"])).0, Some(5), "jobs are meant");

    let wrong = Patient::new(&synthetic(0, "[slurm]\npartitoin = \"main\""));
    let (code, report) = without(wrong.new_run(&["--json"]));
    assert_eq!((code, of(&report, "problem")), (Some(3), vec![("configuration", "file")]));
    assert!(report.to_string().contains("did you mean `partition`?"), "{report:#}");
    assert!(
        of(&report, "ok").contains(&("filesystem", "publishing")),
        "what needs no configuration is looked at"
    );
}

/// A real filesystem without hard links: exFAT by FUSE, on a loop device; none if that cannot be had here.
struct Exfat {
    dir: tempfile::TempDir,
    device: String,
}

impl Exfat {
    fn get() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, place) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::create_dir(&place).unwrap();
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let (image, place) = (image.to_str().unwrap(), place.to_str().unwrap());
        sbin("mkfs.exfat", &[image])?;
        let device = sbin("losetup", &["--find", "--show", image])?.trim().to_owned();
        let exfat = Self { dir, device };
        sbin("mount.exfat-fuse", &[&exfat.device, place])?;
        Some(exfat)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Exfat {
    fn drop(&mut self) {
        sbin("umount", &[self.path().to_str().unwrap()]);
        sbin("losetup", &["--detach", &self.device]);
    }
}

/// What an administrator's program printed, if it is there and succeeded.
fn sbin(program: &str, arguments: &[&str]) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let words = [&[program], arguments].concat();
    let output = Command::new("env").arg(format!("PATH={path}")).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_filesystem_without_hard_links_is_a_problem() {
    let Some(exfat) = Exfat::get() else {
        let why = "\nNOT TESTED ON EXFAT: this needs root, a loop device, exfat-fuse and exfatprogs\n";
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        return;
    };
    let patient = Patient::new(&synthetic(0, ""));
    let output = patient.command(&exfat.path().join("run"), &["--no-jobs"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("✗ publishing: ") && said.contains("FAT, exFAT"), "{said}");
    assert!(said.contains("✓ replacing: ") && said.contains("1 problem"), "{said}");
    assert_eq!(std::fs::read_dir(exfat.path()).unwrap().count(), 0);
}

/// The same where no such filesystem can be had: the system call fails as it would there.
#[cfg(feature = "failpoints")]
#[test]
fn each_failure_of_the_filesystem_is_told() {
    let patient = Patient::new(&synthetic(0, ""));
    let log = patient.dir.path().join("log");
    let mut command = patient.new_run(&["--no-jobs"]);
    let counted = command.env("PATH", "/nowhere").env("PBTNAS_FAILPOINT_LOG", &log).output().unwrap();
    assert!(counted.status.success(), "{}", text(&counted));
    let points = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let (no_permission, broken) = (1, 5);
    // Of directories the second is that of a file which is published.
    for (operation, which, error, words) in [
        ("mkdir", 0, broken, "✗ folder: failed to make"),
        ("fsync directory", 0, broken, "✗ folder: failed to sync"),
        ("link", 0, no_permission, "put --state on a filesystem that has hard links"),
        ("fsync", 0, broken, "✗ publishing: failed to write"),
        ("fsync directory", 1, broken, "✗ publishing: failed to sync"),
        ("rename", 0, broken, "✗ replacing: failed to replace"),
    ] {
        let number =
            1 + points.lines().enumerate().filter(|(_, point)| *point == operation).nth(which).unwrap().0;
        let mut command = patient.new_run(&["--no-jobs"]);
        // It fails once: what follows is looked at all the same.
        command.env("PATH", "/nowhere").env("PBTNAS_FAILPOINT", format!("{number}:{error}"));
        let output = command.output().unwrap();
        let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(output.status.code() == Some(74) && said.contains(words), "{operation}: {said}");
        patient.assert_clean();
    }
}

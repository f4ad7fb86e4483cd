//! `pbtnas doctor` with a SLURM cluster: a healthy one, wrong requests, a full one.

use std::process::{Command, Stdio};

use super::Cluster;
use crate::doctor::{Fixture, TIMES, json, of};
use crate::support::{signal, synthetic, text, wait_until};

#[test]
fn a_healthy_cluster_passes_and_no_file_is_left() {
    let cluster = Cluster::get();
    let fixture = Fixture::new(&synthetic(0, TIMES));
    let output = fixture.new_run(&["--json"]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&output);
    assert!(["problem", "warning", "skipped"].iter().all(|v| of(&report, v).is_empty()), "{report:#}");
    assert_eq!(report["exit_code"], 0);
    let fine = of(&report, "ok");
    for expected in [
        ("program", "pbtnas"),
        ("configuration", "task"),
        ("filesystem", "publishing"),
        ("slurm", "controller"),
        ("limits", "partition of members"),
        ("submission", "array of members"),
        ("nodes", "a job"),
        ("nodes", "program"),
        ("nodes", "locks"),
        ("nodes", "visibility"),
        ("nodes", "first writer wins"),
    ] {
        assert!(fine.contains(&expected), "{expected:?}: {fine:?}");
    }
    fixture.assert_clean();
    wait_until("the end of its job", 20, || {
        let queue = cluster.command("squeue", &["--noheader", "--format=%j"]);
        !queue.contains("pbtnas-doctor")
    });

    // A `setup` that fails prevents jobs from starting: its output is shown, and it is a problem.
    let fixture =
        Fixture::new(&synthetic(0, "[slurm]\ntime = \"30\"\nsetup = [\"echo no module >&2; exit 3\"]"));
    let output = fixture.new_run(&[]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("(FAILED), but its report did not appear here") && said.contains("no module"),
        "{said}"
    );
    fixture.assert_clean();
}

#[test]
fn unavailable_resources_are_reported_with_a_hint() {
    let cluster = Cluster::get();
    for (slurm, problem, advice) in [
        ("partition = \"mian\"", "partition of members", "Did you mean \"main\"?"),
        ("memory = \"900T\"", "resources of members", "Set memory in [slurm] to"),
        ("gres = \"gpu:9\"", "resources of members", "Nodes have gpu:1 in main, low, high."),
        ("warning_seconds = 60000", "time limit of members", "lower warning_seconds"),
    ] {
        let fixture = Fixture::new(&synthetic(0, &format!("{TIMES}{slurm}")));
        let mut command = fixture.new_run(&["--json", "--no-jobs"]);
        let output = command.env("SLURM_CONF", cluster.conf()).output().unwrap();
        let report = json(&output);
        assert_eq!(output.status.code(), Some(3), "{report:#}");
        assert_eq!(of(&report, "problem")[0], ("limits", problem), "{report:#}");
        assert!(report.to_string().contains(&advice.replace('"', "\\\"")), "{report:#}");
        // sbatch rejects all of them except the warning time.
        assert_eq!(of(&report, "problem").len() > 1, !slurm.contains("warning"), "{report:#}");
        assert_eq!(of(&report, "skipped"), [("nodes", "a job")]);
    }
    cluster.command("scontrol", &["update", "partition=main", "maxtime=30"]);
    let fixture = Fixture::new(&synthetic(0, TIMES));
    let output = fixture.new_run(&["--no-jobs"]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    cluster.command("scontrol", &["update", "partition=main", "maxtime=unlimited"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let said = text(&output);
    assert!(
        said.contains("✗ time limit of members: 01:00:00 is requested, the partition allows 00:30:00"),
        "{said}"
    );
}

#[test]
fn a_queued_job_is_not_a_problem_and_a_signal_cleans_up() {
    let cluster = Cluster::get();
    let fixture = Fixture::new(&synthetic(0, &format!("{TIMES}[slurm.controller]\npartition = \"low\"")));
    // Occupy all nodes.
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
    wait_until("the job that takes all nodes", 30, || queue().contains("wrap RUNNING"));
    let output = fixture.new_run(&["--wait", "1"]).env("SLURM_CONF", cluster.conf()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("– a job: still queued after 1 s ("), "{}", text(&output));

    for name in ["INT", "HUP"] {
        let plain = fixture.new_run(&[]);
        // Under nohup the tests, and so doctor, would ignore SIGHUP.
        let mut command = Command::new("env");
        command.arg(format!("--default-signal={name}")).arg(plain.get_program()).args(plain.get_args());
        command.env("SLURM_CONF", cluster.conf()).stdin(Stdio::null());
        let doctor = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("its job", 30, || queue().contains("pbtnas-doctor"));
        signal(doctor.id(), name);
        let output = doctor.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", text(&output));
        assert!(text(&output).contains(&format!("stopped by SIG{name}; so far, ")), "{}", text(&output));
        fixture.assert_clean();
        assert!(!queue().contains("pbtnas-doctor"), "{}", queue());
    }
    cluster.command("scancel", &[&job]);
}

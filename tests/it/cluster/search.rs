//! The loop of jobs: submission, requeues, time limits, cancelled and killed jobs.

use std::path::Path;
use std::process::Command;

use super::{Cluster, local};
use crate::soup::{CONVERGING, check_greedy};
use crate::support::{PBTNAS, Search, signal, synthetic, text, wait_for, wait_for_the_end, wait_until};

#[test]
fn a_search_by_jobs_equals_the_local_one() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(10, ""));
    let printed = cluster.step(&search);
    assert!(printed.contains("generation 0: submitted 8 member(s)"), "{printed}");
    cluster.wait(&search);
    search.assert_same(&local());
    assert!(cluster.step(&search).contains("finished: generation 2 was the last"));
    assert!(cluster.jobs(&search).is_empty(), "a finished search submits nothing");
}

#[test]
fn sbatch_starts_and_continues_a_search() {
    let cluster = Cluster::get();
    let dir = tempfile::tempdir().unwrap();
    let (config, state) = (dir.path().join("c.toml"), dir.path().join("run"));
    std::fs::write(
        &config,
        synthetic(10, "[slurm]\nmax_running = 4\nsetup = [\"export PBTNAS_SEEN='a b'\"]"),
    )
    .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/pbtnas.sbatch");
    let sbatch = || {
        let output = Command::new("sbatch")
            .args(["--wait", "--chdir"])
            .arg(dir.path())
            .arg(&script)
            .args([&config, &state])
            .env("SLURM_CONF", cluster.conf())
            .env("PBTNAS", PBTNAS)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    sbatch();
    sbatch();
    wait_for_the_end(&state);
    let submissions = std::fs::read_dir(state.join("generations/0000")).unwrap();
    let submissions =
        submissions.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("submission"));
    assert_eq!(submissions.count(), 2, "an intent and a submission: the second sbatch doubled nothing");
}

#[test]
fn twenty_concurrent_steps_make_one_submission() {
    let cluster = Cluster::get();
    for with_lock in [true, false] {
        let search = Search::init(&synthetic(10, ""));
        if !with_lock {
            // A lock that cannot be opened is not used, as on a filesystem without locks.
            std::fs::create_dir(search.path(".step.lock")).unwrap();
        }
        // No task ends before the last of the twenty steps has read the state.
        cluster.command("scontrol", &["update", "partition=main", "state=down"]);
        let steps: Vec<_> = (0..20)
            .map(|_| {
                search
                    .command(&["step"])
                    .env("SLURM_CONF", cluster.conf())
                    .stderr(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let outputs: Vec<_> = steps.into_iter().map(|step| step.wait_with_output().unwrap()).collect();
        let jobs = cluster.jobs(&search);
        cluster.command("scontrol", &["update", "partition=main", "state=up"]);
        assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
        let printed: Vec<String> = outputs.iter().map(text).collect();
        assert_eq!(printed.iter().filter(|p| p.contains("submitted 8 member(s)")).count(), 1, "{printed:?}");
        assert_eq!(
            printed.iter().filter(|p| p.contains("the controller job waits")).count(),
            19,
            "{printed:?}"
        );
        assert_eq!(jobs.len(), 9, "eight tasks and a step: {jobs:?}");
        let files: Vec<String> = std::fs::read_dir(search.path("generations/0000"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("submission"))
            .collect();
        assert_eq!(files.len(), 2, "{files:?}");
        cluster.wait(&search);
        search.assert_same(&local());
    }
}

#[test]
fn a_step_killed_while_submitting_neither_loses_nor_repeats_work() {
    let cluster = Cluster::get();
    // Between the array and the controller job: the array is held, not recorded, and must never run.
    let search = Search::init(&synthetic(10, ""));
    assert_eq!(cluster.step_with(&search, "sbatch", "$real \"$@\"; kill -9 $PPID"), None);
    let jobs = cluster.jobs(&search);
    assert_eq!(jobs.len(), 8, "{jobs:?}");
    assert!(!search.path("generations/0000/submission.json").exists());
    assert!(cluster.step(&search).contains("submitted 8 member(s)"));
    cluster.wait(&search);
    assert!(search.endings(0).iter().all(|ending| ending == "done") && search.endings(0).len() == 8);
    search.assert_same(&local());

    // Between the record and the release: the array is held, and must be released.
    let search = Search::init(&synthetic(10, ""));
    // Only once: the jobs that it submits have this scontrol on their PATH, too.
    let script = "[[ $1 == release ]] && mkdir \"$0.done\" && kill -9 $PPID && exit 1\nexec $real \"$@\"";
    assert_eq!(cluster.step_with(&search, "scontrol", script), None);
    assert!(search.path("generations/0000/submission.json").exists());
    let said = cluster.step(&search);
    assert!(said.contains("the controller job waits"), "{said}");
    cluster.wait(&search);
    assert_eq!(search.endings(0).len(), 8);
    search.assert_same(&local());
}

#[test]
fn preempted_members_are_requeued_and_resume_from_their_snapshots() {
    let cluster = Cluster::get();
    let slurm = "[slurm]\npartition = \"low\"\n[slurm.controller]\npartition = \"main\"";
    let search = Search::init(&synthetic(600, slurm));
    cluster.step(&search);
    cluster.pid(&search, 0, 0, 1);
    std::thread::sleep(std::time::Duration::from_secs(1));
    cluster.preempt();
    cluster.wait(&search);
    let endings: Vec<String> = (0..3).flat_map(|generation| search.endings(generation)).collect();
    let stopped = endings.iter().filter(|ending| *ending == "stopped SIGTERM").count();
    assert!(stopped >= 4, "{endings:?}");
    search.assert_same(&local());
}

#[test]
fn near_its_time_limit_a_task_saves_and_requeues_itself() {
    let cluster = Cluster::get();
    // SLURM checks the time limits every 30 seconds: the warning of second 5 arrives by second 35.
    let slurm = "[slurm]\ntime = \"00:01:00\"\nwarning_seconds = 55";
    let short = |milliseconds, slurm| synthetic(milliseconds, slurm).replace("epochs = 6", "epochs = 2");
    let search = Search::init(&short(4000, slurm));
    cluster.step(&search);
    cluster.wait(&search);
    let endings = search.endings(0);
    assert!(endings.iter().any(|ending| ending == "stopped SIGUSR1"), "{endings:?}");
    assert!(!search.path("generations/0000/submission-2.json").exists(), "the tasks requeued themselves");
    let calm = Search::init(&short(0, ""));
    calm.ok(&["run"]);
    assert_eq!(search.essence(), calm.essence());
}

#[test]
fn a_killed_task_is_resubmitted_and_a_member_that_keeps_failing_is_given_up() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(300, ""));
    cluster.step(&search);
    signal(cluster.pid(&search, 0, 2, 1), "KILL");
    cluster.wait(&search);
    assert_eq!(search.json("generations/0000/submission-2.json")["members"], serde_json::json!([2]));
    assert!(search.endings(0).contains(&"lost".to_owned()));
    search.assert_same(&local());

    let search = Search::init(&synthetic(0, "crash_option = 0"));
    cluster.step(&search);
    cluster.wait(&search);
    assert_eq!(search.endings(0).iter().filter(|ending| *ending == "failed").count(), 6);
    let calm = Search::init(&synthetic(0, "crash_option = 0"));
    calm.ok(&["run"]);
    search.assert_same(&calm);
}

#[test]
fn step_resubmits_cancelled_jobs() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(200, ""));
    cluster.step(&search);
    cluster.pid(&search, 0, 0, 1);
    // The controller job first, then the array: no job is left.
    let submission = search.json("generations/0000/submission.json");
    cluster.command("scancel", &[submission["step"].as_str().unwrap()]);
    assert!(cluster.step(&search).contains("the controller job waits"), "a new step follows the array");
    let submission = search.json("generations/0000/submission-2.json");
    cluster.command("scancel", &[submission["step"].as_str().unwrap()]);
    cluster.command(
        "scancel",
        &[search.json("generations/0000/submission.json")["arrays"][0].as_str().unwrap()],
    );
    wait_until("an empty queue", 30, || cluster.jobs(&search).is_empty());
    assert!(cluster.step(&search).contains("submitted"));
    cluster.wait(&search);
    search.assert_same(&local());
}

#[test]
fn several_members_share_a_task() {
    let cluster = Cluster::get();
    let slurm = "[slurm]\nmembers_per_task = 3\ngres = \"gpu:1\"";
    let search = Search::init(&synthetic(10, slurm));
    cluster.step(&search);
    let tasks = cluster.jobs(&search).iter().filter(|job| !job.contains("-step")).count();
    assert!(tasks <= 3, "eight members in groups of three make three tasks, not {tasks}");
    cluster.wait(&search);
    search.assert_same(&local());
}

#[test]
fn a_population_larger_than_the_array_limit_is_split() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(10, ""));
    // The real limit is 1001; this scontrol reports a smaller one.
    let script =
        "if [[ $* == 'show config' ]]; then echo 'MaxArraySize            = 3'; else exec $real \"$@\"; fi";
    assert_eq!(cluster.step_with(&search, "scontrol", script), Some(0));
    let submission = search.json("generations/0000/submission.json");
    assert_eq!(submission["arrays"].as_array().unwrap().len(), 3);
    cluster.wait(&search);
    assert_eq!(search.endings(0).len(), 8, "each member once");
    search.assert_same(&local());
}

#[test]
fn a_job_that_never_starts_the_program_is_submitted_three_times() {
    let cluster = Cluster::get();
    let search =
        Search::init(&synthetic(0, "[slurm]\nsetup = [\"[[ $SLURM_JOB_NAME == *step ]] || exit 1\"]"));
    cluster.step(&search);
    let log = wait_for("the end of the loop", 120, || {
        let logs = std::fs::read_dir(search.path("logs")).unwrap();
        logs.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .find(|log| log.contains("of the tasks started training"))
    });
    assert!(log.contains("submitted 3 times"), "{log}");
    wait_until("an empty queue", 30, || cluster.jobs(&search).is_empty());
}

#[test]
fn a_soup_by_array_jobs_equals_the_local_one() {
    let cluster = Cluster::get();
    let there = Search::init(CONVERGING);
    there.ok(&["run"]);
    there.ok(&["soup"]);
    there.ok(&["soup", "--part", "layers"]);
    let soups = [("soup", vec!["soup"]), ("soup-layers", vec!["soup", "--part", "layers"])];
    let here = soups.clone().map(|(folder, _)| {
        let soup = there.json(&format!("{folder}/soup.json"));
        std::fs::remove_dir_all(there.path(folder)).unwrap();
        soup
    });
    let submit = |arguments: &[&str]| {
        let arguments = [arguments, &["--submit"]].concat();
        let output = there.command(&arguments).env("SLURM_CONF", cluster.conf()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    // A whole soup and a soup of one part, at the same time.
    for (_, arguments) in &soups {
        let said = submit(arguments);
        assert!(said.contains("round 1: submitted"), "{said}");
        submit(arguments); // changes nothing
    }
    for ((folder, arguments), here) in soups.iter().zip(here) {
        let record = format!("{folder}/soup.json");
        wait_until("the soup", 120, || there.path(&record).exists());
        assert!(submit(arguments).contains("difference to the best member alone"));
        check_greedy(&there, folder);
        assert_eq!(here, there.json(&record));
        for round in 1..=here["rounds"].as_u64().unwrap() {
            let submission = there.json(&format!("{folder}/round-{round:02}/submission.json"));
            assert_eq!(submission["arrays"].as_array().unwrap().len(), 1);
        }
    }
}

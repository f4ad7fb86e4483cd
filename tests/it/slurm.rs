//! The loop on a real SLURM cluster of four nodes (scripts/slurm-sandbox), with real preemption and real kills.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gan::config as gan_config;
use crate::soup::{CONVERGING, check_greedy};
use crate::support::{PBTNAS, Search, signal, synthetic, text, wait_for, wait_for_the_end};

/// The cluster, for one test at a time: a preemption of one would be a disturbance of another.
pub struct Cluster {
    conf: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    pub fn get() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        assert!(
            test.contains("cluster") || test.contains("slurm::"),
            "scripts/test looks for it in the name: {test}"
        );
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cluster = Self { conf: root.join(".slurm/slurm.conf"), _turn: turn };
        // Every time: what a test before this one broke must not break this one.
        cluster.mend();
        cluster
    }

    /// Starts whatever of the cluster does not run, and waits until all nodes are usable.
    pub fn mend(&self) {
        let sandbox = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/slurm-sandbox");
        let output = Command::new(sandbox).arg("up").output().unwrap();
        assert!(output.status.success(), "scripts/slurm-sandbox up: {}", text(&output));
    }

    pub fn conf(&self) -> &Path {
        &self.conf
    }

    /// The process of one of the cluster's daemons, if it runs.
    pub fn find_daemon(&self, name: &str) -> Option<u32> {
        let file = self.conf.with_file_name("run").join(format!("{name}.pid"));
        let pid = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// The process of a daemon that runs.
    pub fn daemon(&self, name: &str) -> u32 {
        self.find_daemon(name).unwrap_or_else(|| panic!("{name} does not run"))
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).env("SLURM_CONF", &self.conf).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn step(&self, search: &Search) -> String {
        let output = search.command(&["step"]).env("SLURM_CONF", &self.conf).output().unwrap();
        assert!(output.status.success(), "pbtnas step: {}", text(&output));
        text(&output)
    }

    /// `step` with a program of SLURM's replaced by a script; the real one is `$real`.
    fn step_with(&self, search: &Search, program: &str, script: &str) -> Option<i32> {
        let bin = search.folder().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let real = String::from_utf8(Command::new("which").arg(program).output().unwrap().stdout).unwrap();
        let file = bin.join(program);
        std::fs::write(&file, format!("#!/bin/bash\nreal={}\n{script}\n", real.trim())).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output =
            search.command(&["step"]).env("SLURM_CONF", &self.conf).env("PATH", path).output().unwrap();
        output.status.code()
    }

    pub fn wait(&self, search: &Search) {
        wait_for_the_end(&search.state);
        wait_for("an empty queue", 60, || self.jobs(search).is_empty().then_some(()));
    }

    /// `id state name` of a run's jobs, a line for each task.
    pub fn jobs(&self, search: &Search) -> Vec<String> {
        let run_id = search.json("run.json")["run_id"].as_str().unwrap().to_owned();
        let queue = self.command("squeue", &["--noheader", "--array", "--format=%i %T %j"]);
        queue.lines().filter(|line| line.contains(&run_id)).map(str::to_owned).collect()
    }

    /// Takes all nodes for a moment: whatever trains in the partition `low` is preempted.
    pub fn preempt(&self) {
        let high = [
            "--partition=high",
            "--exclusive",
            "--nodes=4",
            "--wait",
            "--output=/dev/null",
            "--wrap=sleep 1",
        ];
        self.command("sbatch", &high);
    }

    /// The process of a member that trains.
    pub fn pid(&self, search: &Search, generation: u32, member: u32, attempt: u32) -> u32 {
        let path =
            format!("generations/{generation:04}/members/{member:02}/attempts/{attempt:04}.start.json");
        wait_for("an attempt", 60, || search.path(&path).exists().then_some(()));
        search.json(&path)["pid"].as_u64().unwrap() as u32
    }
}

pub fn local() -> Search {
    let search = Search::init(&synthetic(0, ""));
    search.ok(&["run"]);
    search
}

#[test]
fn a_search_drives_itself_and_ends_as_the_local_one() {
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
fn gans_trained_on_the_cluster_are_those_trained_here() {
    let cluster = Cluster::get();
    let gan = "subset = 200\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\nfeature_epochs = 1";
    let (here, there) = (Search::init(&gan_config(2, gan)), Search::init(&gan_config(2, gan)));
    here.ok(&["run"]);
    cluster.step(&there);
    cluster.wait(&there);
    here.assert_same(&there);
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
            .env("SLURM_CONF", &cluster.conf)
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
fn twenty_steps_at_once_make_one_generation_and_one_submission() {
    let cluster = Cluster::get();
    for with_lock in [true, false] {
        let search = Search::init(&synthetic(10, ""));
        if !with_lock {
            // A lock that cannot be opened: everybody goes on without, as on a filesystem that has none.
            std::fs::create_dir(search.path(".step.lock")).unwrap();
        }
        // However slow the machine is, no task ends before the last of the twenty has looked.
        cluster.command("scontrol", &["update", "partition=main", "state=down"]);
        let steps: Vec<_> = (0..20)
            .map(|_| {
                search
                    .command(&["step"])
                    .env("SLURM_CONF", &cluster.conf)
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
        assert_eq!(printed.iter().filter(|p| p.contains("the next step waits")).count(), 19, "{printed:?}");
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
fn a_step_killed_while_it_submits_neither_loses_nor_doubles_work() {
    let cluster = Cluster::get();
    // Between the array and the step: the array is held, recorded nowhere, and must never run.
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
    // Once: the jobs that it submits find this scontrol, too.
    let script = "[[ $1 == release ]] && mkdir \"$0.done\" && kill -9 $PPID && exit 1\nexec $real \"$@\"";
    assert_eq!(cluster.step_with(&search, "scontrol", script), None);
    assert!(search.path("generations/0000/submission.json").exists());
    let said = cluster.step(&search);
    assert!(said.contains("the next step waits"), "{said}");
    cluster.wait(&search);
    assert_eq!(search.endings(0).len(), 8);
    search.assert_same(&local());
}

#[test]
fn preempted_members_are_requeued_and_go_on_from_their_snapshots() {
    let cluster = Cluster::get();
    let slurm = "[slurm]\npartition = \"low\"\n[slurm.step]\npartition = \"main\"";
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
fn near_its_time_limit_a_task_snapshots_and_requeues_itself() {
    let cluster = Cluster::get();
    // SLURM looks at the time of jobs every 30 seconds: from second 5 on there is a warning by second 35.
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
fn a_killed_task_is_submitted_again_and_a_hopeless_member_is_given_up() {
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
fn cancelled_jobs_are_made_up_for_by_a_step_at_any_time() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(200, ""));
    cluster.step(&search);
    cluster.pid(&search, 0, 0, 1);
    // The step goes first, then everything else: nothing is left that could go on by itself.
    let submission = search.json("generations/0000/submission.json");
    cluster.command("scancel", &[submission["step"].as_str().unwrap()]);
    assert!(cluster.step(&search).contains("the next step waits"), "a new step follows the array");
    let submission = search.json("generations/0000/submission-2.json");
    cluster.command("scancel", &[submission["step"].as_str().unwrap()]);
    cluster.command(
        "scancel",
        &[search.json("generations/0000/submission.json")["arrays"][0].as_str().unwrap()],
    );
    wait_for("an empty queue", 30, || cluster.jobs(&search).is_empty().then_some(()));
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
fn a_population_larger_than_an_array_may_be_goes_into_several() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(10, ""));
    // The real limit is 1001; here the first step is told of a smaller one.
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
fn a_job_that_never_starts_the_program_is_not_submitted_for_ever() {
    let cluster = Cluster::get();
    let search =
        Search::init(&synthetic(0, "[slurm]\nsetup = [\"[[ $SLURM_JOB_NAME == *step ]] || exit 1\"]"));
    cluster.step(&search);
    let log = wait_for("the end of the loop", 120, || {
        let logs = std::fs::read_dir(search.path("logs")).unwrap();
        logs.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .find(|log| log.contains("came as far as training"))
    });
    assert!(log.contains("submitted 3 times"), "{log}");
    wait_for("an empty queue", 30, || cluster.jobs(&search).is_empty().then_some(()));
}

#[test]
fn a_soup_is_evaluated_by_array_jobs_and_is_the_one_that_this_machine_makes() {
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
        let output = there.command(&arguments).env("SLURM_CONF", &cluster.conf).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    // Of everything and of a part, both at once.
    for (_, arguments) in &soups {
        let said = submit(arguments);
        assert!(said.contains("round 1: submitted"), "{said}");
        submit(arguments); // changes nothing
    }
    for ((folder, arguments), here) in soups.iter().zip(here) {
        let record = format!("{folder}/soup.json");
        wait_for("the soup", 120, || there.path(&record).exists().then_some(()));
        assert!(submit(arguments).contains("difference to the best member alone"));
        check_greedy(&there, folder);
        assert_eq!(here, there.json(&record));
        for round in 1..=here["rounds"].as_u64().unwrap() {
            let submission = there.json(&format!("{folder}/round-{round:02}/submission.json"));
            assert_eq!(submission["arrays"].as_array().unwrap().len(), 1);
        }
    }
}

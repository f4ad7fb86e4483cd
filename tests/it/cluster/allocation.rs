//! A search within one SLURM job: job steps on all nodes, preemption, time limits, kills.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::{Cluster, local};
use crate::soup::{CONVERGING, check_greedy};
use crate::support::{PBTNAS, Search, signal, synthetic, text, wait_for_the_end, wait_until};

/// A job submitted with slurm/allocation.sbatch.
struct Job<'a> {
    cluster: &'a Cluster,
    id: String,
    log: PathBuf,
}

impl<'a> Job<'a> {
    fn submit(cluster: &'a Cluster, search: &Search, options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/allocation.sbatch");
        let log = search.folder().join("job.log");
        let output = Command::new("sbatch")
            .args(["--parsable", "--nodes=4", "--time=10"])
            .arg(format!("--output={}", log.display()))
            .args(options)
            .arg(script)
            .arg(search.folder().join("config.toml"))
            .arg(&search.state)
            .env("SLURM_CONF", cluster.conf())
            .env("PBTNAS", PBTNAS)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        Self { cluster, id: String::from_utf8(output.stdout).unwrap().trim().into(), log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the end of search and job; returns the log of the job.
    fn finish(self, search: &Search) -> String {
        wait_for_the_end(&search.state);
        wait_until("the end of the job", 60, || {
            self.cluster.command("squeue", &["--noheader", "--format=%A"]).is_empty()
        });
        self.log()
    }
}

/// Runs a command within an allocation, as `salloc` does on a login node.
fn salloc(
    cluster: &Cluster,
    options: &[&str],
    command: &[&str],
    search: &Search,
    arguments: &[&str],
) -> Output {
    let mut salloc = Command::new("salloc");
    salloc.arg("--quiet").args(options).args(command).arg(PBTNAS).args(arguments);
    salloc.arg("--state").arg(&search.state).env("SLURM_CONF", cluster.conf()).output().unwrap()
}

fn members_end(search: &Search) -> Vec<String> {
    (0..3).flat_map(|generation| search.endings(generation)).collect()
}

#[test]
fn a_search_within_one_allocation_equals_the_local_one() {
    let cluster = Cluster::get();
    let slurm = "[slurm]\nmembers_per_task = 2\ngres = \"gpu:1\"\nprogram = [\"env\", \"SEEN=$HOME\", \"PROGRAM\"]\n\
                 setup = [\"[[ $A == 'a b' && $SLURM_STEP_GPUS ]] || exit 1\"]\n[slurm.environment]\nA = \"a b\"";
    let search = Search::init(&synthetic(10, &slurm.replace("PROGRAM", PBTNAS.path())));
    let said = Job::submit(&cluster, &search, &["--gres=gpu:1", "--mem=100"]).finish(&search);
    assert!(said.contains(": 4 nodes, 8 member(s) at a time, time left 00:"), "{said}");
    assert!(said.contains("generation 2: best fitness"), "{said}");
    assert!(members_end(&search).iter().all(|end| end == "done"), "{said}");
    search.assert_same(&local());
}

#[test]
fn a_soup_within_an_allocation_equals_the_local_one() {
    let cluster = Cluster::get();
    let search = Search::init(CONVERGING);
    search.ok(&["run"]);
    search.ok(&["soup"]);
    let here = search.json("soup/soup.json");
    std::fs::remove_dir_all(search.path("soup")).unwrap();
    let output = salloc(&cluster, &["--nodes=4", "--time=10"], &[], &search, &["soup"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains(": 4 nodes, "), "{}", text(&output));
    check_greedy(&search, "soup");
    assert_eq!(here, search.json("soup/soup.json"));
    // Candidates were evaluated in job steps.
    let attempts = walkdir::WalkDir::new(search.path("soup")).into_iter().flatten();
    let starts = attempts.filter(|entry| entry.path().to_string_lossy().ends_with(".start.json"));
    let in_job = |start: walkdir::DirEntry| {
        let record = std::fs::read_to_string(start.path()).unwrap();
        serde_json::from_str::<serde_json::Value>(&record).unwrap()["job"].is_string()
    };
    let jobs: Vec<bool> = starts.map(in_job).collect();
    assert!(!jobs.is_empty() && jobs.iter().all(|in_job| *in_job), "{jobs:?}");
}

#[test]
fn a_preempted_allocation_is_requeued_and_resumes() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(300, ""));
    let job = Job::submit(&cluster, &search, &["--partition=low", "--cpus-per-task=2"]);
    cluster.pid(&search, 1, 0, 1);
    std::thread::sleep(Duration::from_secs(1));
    cluster.preempt();
    let said = job.finish(&search);
    assert!(said.contains("will resume from here if it was preempted"), "{said}");
    let ends = members_end(&search);
    assert!(ends.iter().filter(|end| *end == "stopped SIGTERM").count() >= 4, "{ends:?}");
    assert!(ends.iter().all(|end| end == "done" || end.starts_with("stopped")), "{ends:?}");
    search.assert_same(&local());
}

#[test]
fn near_its_time_limit_an_allocation_requeues_itself() {
    let cluster = Cluster::get();
    let short = |milliseconds, slurm| synthetic(milliseconds, slurm).replace("epochs = 6", "epochs = 2");
    let search = Search::init(&short(1300, "[slurm]\nwarning_seconds = 52"));
    let said = Job::submit(&cluster, &search, &["--cpus-per-task=2", "--time=1"]).finish(&search);
    assert!(said.contains("was requeued and will resume from here"), "{said}");
    assert!(search.endings(0).iter().any(|end| end == "stopped SIGUSR1"), "{said}");
    let calm = Search::init(&short(0, ""));
    calm.ok(&["run"]);
    assert_eq!(search.essence(), calm.essence());
}

#[test]
fn an_allocation_survives_killed_members_a_killed_srun_and_a_warning() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(300, ""));
    let job = Job::submit(&cluster, &search, &["--cpus-per-task=2"]);
    signal(cluster.pid(&search, 0, 2, 1), "KILL");
    cluster.pid(&search, 0, 5, 1);
    let run_id = search.json("run.json")["run_id"].as_str().unwrap().to_owned();
    let srun = format!("^srun .*--job-name=pbtnas-{run_id}-g0000-05 ");
    // First the newer of its two processes, which would end the job step once the other one is gone.
    for which in ["--newest", "--oldest"] {
        assert!(Command::new("pkill").args(["-KILL", which, "-f", &srun]).status().unwrap().success());
    }
    cluster.pid(&search, 1, 0, 1);
    cluster.command("scancel", &["--signal=USR1", "--batch", &job.id]);
    wait_until("a requeue", 30, || job.log().contains("was requeued"));
    let said = job.finish(&search);
    // The job step whose srun was killed continued.
    assert_eq!(search.endings(0).iter().filter(|end| *end == "lost").count(), 1, "{said}");
    search.assert_same(&local());
}

#[test]
fn run_reports_where_members_train_and_here_overrides_it() {
    let cluster = Cluster::get();
    let small = |slurm: &str| synthetic(0, slurm).replace("epochs = 6", "epochs = 2");
    let run = |slurm: &str, options: &[&str], command: &[&str], arguments: &[&str]| {
        let search = Search::init(&small(slurm));
        let output = salloc(&cluster, options, command, &search, arguments);
        (output.status.code(), text(&output))
    };
    let two = ["--nodes=2", "--time=5"];
    // A full disk, once: `run` retries, since a job does not call it a second time.
    if cfg!(feature = "failpoints") {
        let (code, said) = run("", &two, &["env", "PBTNAS_FAILPOINT=12:28"], &["run"]);
        assert!(
            code == Some(0) && said.contains("No space left") && said.contains("retrying in 1 s"),
            "{said}"
        );
    }
    let (code, said) = run("", &two, &[], &["run"]);
    assert!(code == Some(0) && said.contains(": 2 nodes, 2 member(s) at a time"), "{said}");
    // On this machine: with --here, or within a job step.
    for (command, arguments) in [(&[][..], &["run", "--here"][..]), (&["srun", "--ntasks=1"], &["run"])] {
        let (code, said) = run("", &two, command, arguments);
        assert!(code == Some(0) && !said.contains("in SLURM job"), "{said}");
    }
    for (slurm, why) in [
        ("[slurm]\ncpus = 2", "[slurm] requests 2 CPU(s) per node, and the job has 1 CPU(s) per node;"),
        ("[slurm]\ngres = \"gpu:1\"", "[slurm] requests 1 CPU(s), gpu:1 per node"),
        ("[slurm]\nextra = [\"--gpus=1\"]", "requests GPUs, which does not apply to steps"),
        ("[slurm]\nwarning_seconds = 300", "until its time limit, and members are stopped"),
    ] {
        let (code, said) = run(slurm, &two, &[], &["run"]);
        assert!(code == Some(1) && said.contains(why) && said.contains("--here"), "{said}");
    }
}

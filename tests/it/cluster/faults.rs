//! Failures of the cluster: nodes and the SLURM controller go down, queues are full, jobs are cancelled, held or run twice.
//! Every search ends as the undisturbed one does.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{Cluster, local};
use crate::support::{Search, signal, synthetic, text, wait_for, wait_until};

/// One generation of four members, so that half of the nodes are free.
fn short(step_milliseconds: u64) -> Search {
    let config = synthetic(step_milliseconds, "").replace("epochs = 6", "epochs = 2");
    Search::init(&config.replace("population = 8", "population = 4\ntau = 0.5"))
}

/// The array of the first submission of the first generation, and its controller job.
fn first_jobs(search: &Search) -> (String, String) {
    let submission = search.json("generations/0000/submission.json");
    let id = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (id(&submission["arrays"][0]), id(&submission["step"]))
}

fn submissions(search: &Search) -> usize {
    let names =
        fs::read_dir(search.path("generations/0000")).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| {
            name.to_string_lossy().starts_with("submission") && !name.to_string_lossy().contains("intent")
        })
        .count()
}

/// `step` in the background.
fn start_step(cluster: &Cluster, search: &Search) -> Child {
    let mut command = search.command(&["step"]);
    command.env("SLURM_CONF", cluster.conf()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn stop_controller(cluster: &Cluster) {
    signal(cluster.daemon("slurmctld"), "TERM");
    wait_until("the end of the controller", 30, || cluster.find_daemon("slurmctld").is_none());
}

/// A daemon of the cluster that is stopped (SIGSTOP) until this is dropped.
struct Frozen(u32);

impl Frozen {
    fn node(cluster: &Cluster, node: &str) -> Self {
        let pid = cluster.daemon(&format!("slurmd-{node}"));
        signal(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// The node on which a task runs.
fn node_of(cluster: &Cluster, task: &str) -> String {
    wait_for("a node", 60, || {
        let node = cluster
            .command("squeue", &["--noheader", "--states=RUNNING", "--format=%N", &format!("--jobs={task}")]);
        Some(node.trim().to_owned()).filter(|node| !node.is_empty())
    })
}

#[test]
fn cancelled_tasks_and_controller_jobs_are_resubmitted() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(200, ""));
    cluster.step(&search);
    let (array, _) = first_jobs(&search);
    cluster.pid(&search, 0, 2, 1);
    // A task alone: the controller job submits its member again.
    cluster.command("scancel", &[&format!("{array}_2")]);
    wait_until("another submission", 60, || search.path("generations/0000/submission-2.json").exists());
    assert_eq!(search.json("generations/0000/submission-2.json")["members"], serde_json::json!([2]));
    // A task and the controller job: a step by hand submits them again.
    wait_until("the second generation", 60, || search.path("generations/0001/submission.json").exists());
    cluster.pid(&search, 1, 5, 1);
    let submission = search.json("generations/0001/submission.json");
    let array = submission["arrays"][0].as_str().unwrap();
    cluster.command("scancel", &[submission["step"].as_str().unwrap(), &format!("{array}_5")]);
    wait_until("an empty queue", 60, || cluster.jobs(&search).is_empty());
    assert!(!search.path("generations/0002").exists());
    assert!(cluster.step(&search).contains("generation 1: submitted 1 member(s)"));
    cluster.wait(&search);
    search.assert_same(&local());
}

#[test]
fn a_node_that_goes_down_and_comes_back_costs_its_attempts() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(300, ""));
    cluster.step(&search);
    let (array, _) = first_jobs(&search);
    cluster.pid(&search, 0, 0, 1);
    let node = node_of(&cluster, &format!("{array}_0"));
    cluster.command("scontrol", &["update", &format!("nodename={node}"), "state=down", "reason=test"]);
    wait_until("a requeued task", 60, || cluster.jobs(&search).iter().any(|job| job.contains("_0 PENDING")));
    cluster.repair();
    cluster.wait(&search);
    assert!(search.path("generations/0000/members/00/attempts/0002.start.json").exists());
    search.assert_same(&local());
}

#[test]
fn a_task_presumed_dead_and_its_replacement_publish_one_result() {
    let cluster = Cluster::get();
    for with_locks in [true, false] {
        let search = short(3000);
        cluster.command("scontrol", &["update", "partition=main", "state=down"]);
        cluster.step(&search);
        if !with_locks {
            // A lock that cannot be opened, as on a filesystem that has none.
            fs::create_dir(search.path("generations/0000/members/00/.lock")).unwrap();
        }
        cluster.command("scontrol", &["update", "partition=main", "state=up"]);
        let (array, _) = first_jobs(&search);
        let old = cluster.pid(&search, 0, 0, 1);
        let node = node_of(&cluster, &format!("{array}_0"));
        // The node does not respond, but its processes continue.
        let frozen = Frozen::node(&cluster, &node);
        cluster.command("scontrol", &["update", &format!("nodename={node}"), "state=down", "reason=lost"]);
        let alive = || std::path::Path::new(&format!("/proc/{old}")).exists();
        if with_locks {
            // The replacement waits for the one with a heartbeat.
            wait_until("the replacement", 90, || {
                cluster.jobs(&search).iter().any(|job| job.contains("_0 RUNNING"))
            });
            assert!(alive());
        } else {
            cluster.pid(&search, 0, 0, 2);
            // The superseded attempt notices and exits.
            wait_until("the end of the first", 20, || !alive());
            let end = search.json("generations/0000/members/00/attempts/0001.end.json");
            assert_eq!(end["ending"]["kind"], "superseded");
        }
        cluster.wait(&search);
        drop(frozen);
        cluster.repair();
        let attempt = &search.json("generations/0000/members/00/result.json")["outcome"]["attempt"];
        assert_eq!(*attempt, if with_locks { 1 } else { 2 });
        let calm = short(0);
        calm.ok(&["run"]);
        assert!(search.ok(&["verify"]).starts_with("valid"));
        assert!(search.essence() == calm.essence());
    }
}

#[test]
fn step_waits_for_the_slurm_controller() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(300, ""));
    cluster.step(&search);
    cluster.pid(&search, 0, 7, 1);
    stop_controller(&cluster);
    // By hand: it reports the failure and retries.
    let log = search.folder().join("step.log");
    let mut step = search.command(&["step"]);
    let mut step =
        step.env("SLURM_CONF", cluster.conf()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    wait_until("another try", 60, || fs::read_to_string(&log).unwrap().contains("retrying in 1 s"));
    cluster.repair();
    assert!(step.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    // It gives up after slurm.retry_seconds.
    let impatient = Search::init(&synthetic(0, "[slurm]\nretry_seconds = 2"));
    stop_controller(&cluster);
    let output = start_step(&cluster, &impatient).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("nable to contact slurm controller"), "{}", text(&output));
    cluster.repair();
    cluster.step(&impatient);
    cluster.wait(&impatient);
    cluster.wait(&search);
    search.assert_same(&local());
    impatient.assert_same(&local());
}

#[test]
fn step_waits_for_room_in_the_queue() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(10, ""));
    let usual = fs::read_to_string(cluster.conf()).unwrap();
    let restart = |conf: &str| {
        stop_controller(&cluster);
        fs::write(cluster.conf(), conf).unwrap();
        cluster.repair();
    };
    restart(&format!("{usual}MaxJobCount=2\n"));
    let mut step = start_step(&cluster, &search);
    std::thread::sleep(Duration::from_secs(8));
    let early = step.try_wait().unwrap();
    let submitted = search.path("generations/0000/submission.json").exists();
    restart(&usual);
    assert!(early.is_none() && !submitted, "the queue was not full");
    let output = step.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("submitted 8 member(s)"), "{}", text(&output));
    cluster.wait(&search);
    search.assert_same(&local());
}

#[test]
fn step_repairs_held_jobs_and_impossible_dependencies() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(10, ""));
    cluster.command("scontrol", &["update", "partition=main", "state=down"]);
    cluster.step(&search);
    let (array, step) = first_jobs(&search);
    let held = || {
        cluster
            .command("squeue", &["--noheader", "--format=%r", &format!("--jobs={array},{step}")])
            .matches("Held")
            .count()
    };
    cluster.command("scontrol", &["hold", &array]);
    cluster.command("scontrol", &["hold", &step]);
    wait_until("the holds", 10, || held() >= 2);
    cluster.step(&search);
    assert_eq!(held(), 0);

    // A controller job with a dependency on a failed job never starts.
    let failed =
        cluster.command("sbatch", &["--parsable", "--partition=high", "--output=/dev/null", "--wrap=exit 1"]);
    let dependency = format!("dependency=afterok:{}", failed.trim());
    cluster.command("scontrol", &["update", &format!("jobid={step}"), &dependency]);
    wait_until("a step without hope", 30, || {
        let reason = cluster.command("squeue", &["--noheader", "--format=%r", &format!("--jobs={step}")]);
        reason.contains("DependencyNeverSatisfied")
    });
    let said = cluster.step(&search);
    assert!(said.contains(&format!("cancelling controller job {step}")), "{said}");
    assert_eq!(submissions(&search), 2, "a step alone");
    assert!(!cluster.jobs(&search).iter().any(|job| job.starts_with(&step)));

    // The record of the jobs is damaged: they are cancelled, and others submitted.
    let path = search.path("generations/0000/submission.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen(&array, "1", 1)).unwrap();
    let said = cluster.step(&search);
    assert!(said.contains("submission.json is damaged") && said.contains("submitted 8 member(s)"), "{said}");
    assert!(!cluster.jobs(&search).iter().any(|job| job.starts_with(&array)));
    cluster.command("scontrol", &["update", "partition=main", "state=up"]);
    cluster.wait(&search);
    search.assert_same(&local());
}

#[test]
fn a_step_killed_in_its_job_is_restarted_there() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(10, ""));
    // Each controller job kills its step once, soon after it began.
    let kill = format!(
        "(sleep 0.15; until pkill -KILL -f ' step --state {}'; do sleep 0.02; done) &",
        search.state.display()
    );
    let setup = format!("[slurm]\nsetup = [\"[[ $SLURM_JOB_NAME != *-step ]] || {kill}\"]");
    fs::remove_dir_all(&search.state).unwrap();
    search.init_again(&synthetic(10, &setup));
    cluster.step(&search);
    cluster.wait(&search);
    let logs = fs::read_dir(search.path("logs")).unwrap().map(|entry| entry.unwrap().path());
    let killed = logs.filter(|log| fs::read_to_string(log).unwrap().contains("Killed")).count();
    assert!(killed > 0, "no step was killed");
    search.assert_same(&local());
}

#[test]
fn run_and_jobs_train_one_search_together() {
    let cluster = Cluster::get();
    let search = Search::init(&synthetic(100, ""));
    cluster.step(&search);
    cluster.pid(&search, 0, 0, 1);
    let output = search.call(&["run", "--workers", "3"]);
    assert!(output.status.success(), "{}", text(&output));
    cluster.wait(&search);
    search.assert_same(&local());
}

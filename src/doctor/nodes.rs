//! A job on a node: whether it starts, whether this program works there, and how soon this machine and the node see
//! each other's files.
//!
//! The job (`pbtnas answer`) publishes a report and waits for a question. `pbtnas doctor` publishes the question when
//! it has read the report, and waits for the answer. The time from question to answer, measured on one clock, bounds
//! the delay in either direction. Each side also tries to publish over the file of the other, which must fail: the
//! first writer of a name wins.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::finding::{Area, Finding};
use super::node_findings::{
    Exchange, JOB, NodeReport, broken_off, check_delay, check_first_writer, check_lock, check_log,
    check_node, check_program, is_host, queued, rejected, silent,
};
use super::slurm::unanswered;
use crate::term::plain;
use pbtnas_core::durable_fs::{Lock, Published, ensure_dir, host, machine, publish_bytes, temporary_name};
use pbtnas_core::fault::message;
use pbtnas_core::run::{FORMAT, find_json, publish_json};
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::SchedulerError;
use pbtnas_engine::scheduler::slurm::JobRequest;
use pbtnas_engine::scheduler::slurm::cluster::{ClusterInfo, Standing, TrialJob, is_unanswered};
use pbtnas_engine::scheduler::slurm::script::ScriptContext;
use pbtnas_engine::signal::StopSignal;

const AREA: Area = Area::Nodes;

/// Name of the file that this process locks while the job runs.
const LOCK: &str = "lock";
const REPORT: &str = "report.json";
const QUESTION: &str = "question.json";
const ANSWER: &str = "answer.json";

/// Shortest and longest pause between two checks for a file.
const FILES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Shortest and longest pause between two queries of a job's state.
const QUEUE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Time limit for the exit of the job after its answer.
const EXIT: Duration = Duration::from_secs(20);

/// The inputs of a trial.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The configuration, or the defaults.
    pub config: &'a Config,
    pub cluster: &'a ClusterInfo,
    /// Path of this program.
    pub program: &'a Path,
    /// An empty folder on the run's filesystem.
    pub folder: &'a Path,
    /// How long the job may wait in the queue.
    pub wait: Duration,
    pub stop: &'a StopSignal,
}

#[derive(Serialize, Deserialize)]
struct Question {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    format: u64,
    /// Whether the question survived the job's attempt to publish over it.
    question_kept: bool,
}

/// Runs a job on a node, and cancels it if it has not ended.
pub fn check(trial: &Trial) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(finding) = run(trial, &mut findings) {
        findings.push(finding);
    }
    findings
}

/// Adds findings; the error is the finding that ends the trial.
fn run(trial: &Trial, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let folder = trial.folder.join("node");
    ensure_dir(&folder.join("logs")).map_err(|error| skipped(&error.into()))?;
    let _lock = Lock::try_take(&folder.join(LOCK));
    let visibility = Duration::from_secs(trial.config.storage.visibility_timeout);
    let deadline = deadline(visibility);
    let name = format!("pbtnas-doctor-{}", temporary_name("").rsplit('-').next().unwrap_or_default());
    let (arguments, script) = submission(trial, deadline, &name, &folder);
    let began = Instant::now();
    let job =
        TrialJob::submit(&name, &arguments, &script).map_err(|error| not_submitted(error, trial.stop))?;
    // A closed terminal must not cause a panic.
    let _ = writeln!(
        std::io::stderr(),
        "pbtnas: job {} checks a node; waiting up to {} s for it to start",
        job.id,
        trial.wait.as_secs()
    );
    let report = wait_for_report(trial, deadline, &job, &folder)?;
    let hosts: Vec<&str> = trial.cluster.nodes.iter().map(|node| node.host.as_str()).collect();
    findings.push(check_node(&job.id, &report, &hosts, began.elapsed()));
    findings.push(check_program(&report));
    findings.push(check_lock(&report));
    let exchange = ask(&folder, deadline, trial.stop).map_err(|error| {
        let why = [message(&error), log(&folder)].join("\n");
        broken_off(why.trim_end(), trial.stop)
    })?;
    findings.push(check_delay(exchange.delay, visibility));
    findings.push(check_first_writer(exchange));
    // The log is complete when the job has exited.
    let _ = wait_for(EXIT, QUEUE, trial.stop, || {
        Ok(matches!(job.query(), Ok(Standing::Over(..)) | Err(_)).then_some(()))
    });
    findings.extend(check_log(&log(&folder)));
    Ok(())
}

/// Runs in the job: publishes a report, waits for a question and publishes the answer.
pub fn answer(folder: &Path, wait: Duration) -> Result<()> {
    let failure = pbtnas_torch::self_tests().into_iter().find_map(|test| test.outcome.err());
    let failure = failure.map(|error| message(&error));
    let locked = Lock::try_take(&folder.join(LOCK)).is_none();
    let report = NodeReport { format: FORMAT, host: host(), machine: machine().into(), failure, locked };
    publish_json(&folder.join(REPORT), &report)?;
    let question = folder.join(QUESTION);
    wait_for_file::<Question>(&question, wait, &StopSignal::default())?;
    let answer = Answer { format: FORMAT, question_kept: is_kept(&question)? };
    publish_json(&folder.join(ANSWER), &answer)?;
    Ok(())
}

/// Publishes the question and waits for the answer.
fn ask(folder: &Path, deadline: Duration, stop: &StopSignal) -> Result<Exchange> {
    let (began, answer) = (Instant::now(), folder.join(ANSWER));
    publish_json(&folder.join(QUESTION), &Question { format: FORMAT })?;
    let Answer { question_kept, .. } = wait_for_file(&answer, deadline, stop)?;
    Ok(Exchange { delay: began.elapsed(), question_kept, answer_kept: is_kept(&answer)? })
}

/// Tries to publish over an existing file; returns whether that failed and left the file unchanged.
fn is_kept(path: &Path) -> Result<bool> {
    let read = || std::fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    let before = read()?;
    Ok(publish_bytes(path, b"second writer")? == Published::Existed && read()? == before)
}

/// Time that either side waits for the other: longer than a run waits for both files plus the longest pause between two
/// checks.
fn deadline(visibility: Duration) -> Duration {
    (visibility.saturating_mul(2).saturating_add(2 * QUEUE.1))
        .clamp(Duration::from_secs(100), Duration::from_secs(600))
}

/// Waits for a record, as a run does.
fn wait_for_file<T: serde::de::DeserializeOwned>(
    path: &Path,
    limit: Duration,
    stop: &StopSignal,
) -> Result<T> {
    wait_for(limit, FILES, stop, || Ok(find_json(path)?))?
        .with_context(|| format!("{} did not appear within {} s", path.display(), limit.as_secs()))
}

/// Calls `find` until it returns a value, with pauses of a tenth of the time waited. None after `limit`; an error if a
/// signal arrives.
fn wait_for<T>(
    limit: Duration,
    (shortest, longest): (Duration, Duration),
    stop: &StopSignal,
    mut find: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    const SLICE: Duration = Duration::from_millis(200);
    let began = Instant::now();
    loop {
        if let Some(found) = find()? {
            return Ok(Some(found));
        }
        let waited = began.elapsed();
        if waited >= limit {
            return Ok(None);
        }
        let next = waited + (waited / 10).clamp(shortest, longest).min(limit - waited);
        while let Some(rest) = next.checked_sub(began.elapsed()) {
            if let Some(signal) = stop.get() {
                bail!("stopped by {}", signal.name());
            }
            std::thread::sleep(rest.min(SLICE));
        }
    }
}

/// Arguments of sbatch and the script: those of a controller job, with a time limit of some minutes.
fn submission(trial: &Trial, deadline: Duration, name: &str, folder: &Path) -> (Vec<String>, String) {
    let seconds = deadline.as_secs();
    let context = ScriptContext {
        config: &trial.config.slurm,
        program: trial.program,
        state: folder,
        label: "doctor".into(),
        unit: Vec::new(),
        unit_option: "",
        units_per_task: 1,
        step: vec!["answer".into(), "--wait".into(), seconds.to_string()],
    };
    let away = elsewhere(trial.cluster, &host(), &JobRequest::of_controller(trial.config));
    // Two minutes to start and to exit.
    (context.trial_arguments(name, (seconds + 120).div_ceil(60), &away), context.step_script())
}

/// Names of this machine's own nodes, to exclude them if the job can run on another node.
fn elsewhere(cluster: &ClusterInfo, host: &str, request: &JobRequest) -> Vec<String> {
    let candidates = request.nodes(cluster).into_iter().filter(|node| node.usable());
    let (here, there): (Vec<_>, Vec<_>) =
        candidates.partition(|node| is_host(&node.host, host) || is_host(&node.name, host));
    let here = here.into_iter().map(|node| node.name.clone());
    if there.is_empty() { Vec::new() } else { here.collect() }
}

/// Waits until the job has published its report; the error is the finding if it does not.
fn wait_for_report(
    trial: &Trial,
    deadline: Duration,
    job: &TrialJob,
    folder: &Path,
) -> Result<NodeReport, Finding> {
    let find = || find_json::<NodeReport>(&folder.join(REPORT));
    let (began, mut running) = (Instant::now(), None);
    let found = wait_for(trial.wait + 2 * deadline, QUEUE, trial.stop, || {
        if let Some(report) = find()? {
            return Ok(Some(Ok(report)));
        }
        Ok(match job.query() {
            // A running job publishes its report without SLURM.
            Err(error) if is_unanswered(&error) => None,
            Err(error) => return Err(error.into()),
            Ok(Standing::Waiting(reason)) => {
                (began.elapsed() >= trial.wait).then(|| Err(queued(&job.id, &reason, trial.wait)))
            }
            Ok(Standing::Running(nodes)) => {
                let late = running.get_or_insert_with(Instant::now).elapsed() > deadline;
                late.then(|| Err(silent(&job.id, &format!("runs on {nodes}"), &log(folder))))
            }
            Ok(Standing::Over(state, nodes)) => {
                // The last file of a job can appear after its end.
                std::thread::sleep(QUEUE.0);
                let on = if nodes.is_empty() { nodes } else { format!(" on {nodes}") };
                let ended = || silent(&job.id, &format!("ended{on} ({state})"), &log(folder));
                Some(find()?.ok_or_else(ended))
            }
        })
    });
    let unknown = "SLURM does not report the state of the job";
    found.map_err(|error| skipped(&error))?.unwrap_or_else(|| Err(Finding::skipped(AREA, JOB, unknown)))
}

/// The last lines of the job's output.
fn log(folder: &Path) -> String {
    let files = std::fs::read_dir(folder.join("logs")).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    let text: String = paths
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn skipped(error: &anyhow::Error) -> Finding {
    Finding::skipped(AREA, JOB, message(error))
}

/// The finding if there is no job: a signal arrived, SLURM did not answer, or it rejected the job.
fn not_submitted(error: SchedulerError, stop: &StopSignal) -> Finding {
    match stop.get() {
        Some(signal) => Finding::skipped(AREA, JOB, format!("stopped by {}", signal.name())),
        None if is_unanswered(&error) => unanswered(JOB, error),
        None => rejected(&message(&error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use pbtnas_engine::scheduler::slurm::cluster::{NodeInfo, Partition, Preempted, SlurmSettings};
    use pbtnas_engine::signal::Signal;

    const SECOND: Duration = Duration::from_secs(1);

    fn cluster(nodes: &[(&str, &str)]) -> ClusterInfo {
        let node = |&(name, host): &(&str, &str)| NodeInfo {
            name: name.into(),
            host: host.into(),
            cpus: None,
            memory: None,
            gres: Vec::new(),
            features: Vec::new(),
            partitions: vec!["main".into()],
            state: "IDLE".into(),
        };
        let main = Partition {
            name: "main".into(),
            default: true,
            state: "UP".into(),
            max_time: None,
            default_time: None,
            grace_time: 0,
            preempted: Preempted::Never,
            priority_tier: 1,
            accounts: None,
            qos: None,
        };
        ClusterInfo {
            settings: SlurmSettings::default(),
            partitions: vec![main],
            nodes: nodes.iter().map(node).collect(),
            associations: Vec::new(),
        }
    }

    #[test]
    fn a_job_runs_on_another_machine_if_there_is_one() {
        let away = |nodes: &[(&str, &str)], partition: Option<&str>| {
            let mut config = super::super::defaults().unwrap();
            config.slurm.controller.extra.extend(partition.map(|name| format!("--partition={name}")));
            elsewhere(&cluster(nodes), "login.domain", &JobRequest::of_controller(&config)).join(",")
        };
        assert_eq!(away(&[("n1", "login"), ("n2", "other")], None), "n1");
        assert_eq!(away(&[("login", "login"), ("n2", "n2")], Some("main")), "login");
        assert_eq!(away(&[("n1", "login"), ("n2", "login")], None), "", "all nodes are this machine");
        assert_eq!(away(&[("n1", "a"), ("n2", "b")], None), "", "it is none of them");
        assert_eq!(away(&[("n1", "login"), ("n2", "b")], Some("gpu")), "", "another partition");
    }

    #[test]
    fn a_published_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "first").unwrap();
        assert!(is_kept(&file).unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"first");
        assert!(is_kept(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn question_and_answer_are_exchanged_through_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = Lock::try_take(&dir.path().join(LOCK)).unwrap();
        let stop = StopSignal::default();
        std::thread::scope(|scope| {
            let job = scope.spawn(|| answer(dir.path(), 60 * SECOND));
            let report: NodeReport = wait_for_file(&dir.path().join(REPORT), 60 * SECOND, &stop).unwrap();
            assert!(report.locked && report.failure.is_none() && report.machine == machine(), "{report:?}");
            let exchange = ask(dir.path(), 60 * SECOND, &stop).unwrap();
            assert!(exchange.question_kept && exchange.answer_kept, "{exchange:?}");
            assert!(exchange.delay < 30 * SECOND, "{exchange:?}");
            job.join().unwrap().unwrap();
        });
    }

    #[test]
    fn waiting_ends_at_the_limit_or_at_a_signal() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, stop) = (dir.path().join("x"), StopSignal::default());
        let error = |limit| wait_for_file::<Question>(&missing, limit, &stop).err().unwrap().to_string();
        assert!(error(Duration::ZERO).ends_with("x did not appear within 0 s"));
        let mut looks = 0;
        let half = Duration::from_millis(500);
        let found: Option<()> = wait_for(half, FILES, &stop, || {
            looks += 1;
            Ok(None)
        })
        .unwrap();
        assert!(found.is_none() && (3..100).contains(&looks), "{looks}");
        stop.raise(Signal::Terminate);
        assert_eq!(error(60 * SECOND), "stopped by SIGTERM");
        assert_eq!(ask(dir.path(), 60 * SECOND, &stop).unwrap_err().to_string(), "stopped by SIGTERM");
    }

    #[test]
    fn deadlines_follow_the_visibility_timeout() {
        let seconds =
            [0, 20, 50, 300, u64::MAX].map(|timeout| deadline(Duration::from_secs(timeout)).as_secs());
        assert_eq!(seconds, [100, 100, 160, 600, 600]);
    }

    #[test]
    fn a_job_can_be_missing_for_three_reasons() {
        let error =
            |message: &str| SchedulerError::Refused { command: "sbatch".into(), message: message.into() };
        let stop = StopSignal::default();
        let silent = not_submitted(error("Socket timed out on send/recv operation"), &stop);
        assert!(
            silent.verdict == Verdict::Problem && silent.found.starts_with("SLURM did not answer: Socket")
        );
        let no = not_submitted(error("invalid partition specified: x"), &stop);
        assert!(no.verdict == Verdict::Problem && no.consequence.unwrap().starts_with("SLURM rejected"));
        stop.raise(Signal::Terminate);
        assert_eq!(not_submitted(error(""), &stop).verdict, Verdict::Skipped, "sbatch was killed with this");
    }

    #[test]
    fn job_output_is_shown_as_by_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join("logs/x"), "1 %\r\u{1b}[31m2 %\u{1b}[0m\n\u{1b}[2J\n").unwrap();
        assert_eq!(log(dir.path()), "2 %");
    }
}

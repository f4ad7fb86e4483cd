//! A job on a node: whether it starts, whether this program works there, and how soon this machine and the node see
//! each other's files.
//!
//! The job (`pbtnas answer`) publishes a report and waits for a question. `pbtnas doctor` publishes the question when
//! it sees the report, and waits for the answer. The time from question to answer, measured on one clock, bounds the
//! delay in either direction. Each side also publishes over the file of the other, which must fail: the first writer
//! of a name wins.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::finding::{Area, Finding};
use super::slurm::unanswered;
use crate::term::plain;
use pbtnas_core::durable_fs::{Lock, Published, ensure_dir, machine, publish_bytes, temporary_name};
use pbtnas_core::fault::message;
use pbtnas_core::run::{FORMAT, find_json, publish_json};
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::SchedulerError;
use pbtnas_engine::scheduler::slurm::cluster::{ClusterInfo, Standing, TrialJob, is_silent};
use pbtnas_engine::scheduler::slurm::script::ScriptContext;
use pbtnas_engine::scheduler::slurm::{JobRequest, host};
use pbtnas_engine::signal::StopSignal;

const AREA: Area = Area::Nodes;
/// The title of findings about the job itself.
const JOB: &str = "a job";

/// Locked by this process while the job runs.
const LOCK: &str = "lock";
const REPORT: &str = "report.json";
const QUESTION: &str = "question.json";
const ANSWER: &str = "answer.json";

/// Shortest and longest pause between two looks for a file.
const FILES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// The same for the state of a job, which the controller of SLURM is asked for.
const QUEUE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long the job may take to exit after its answer.
const EXIT: Duration = Duration::from_secs(20);

/// What a trial needs.
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

/// The first file of the job: what it sees on its node.
#[derive(Debug, Serialize, Deserialize)]
struct NodeReport {
    format: u64,
    host: String,
    /// See [`machine`].
    machine: String,
    /// Why this program does not work there, if it does not.
    failure: Option<String>,
    /// Whether the lock of the other machine holds there.
    locked: bool,
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

/// What the exchange of question and answer showed.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    /// Time from question to answer.
    delay: Duration,
    question_kept: bool,
    answer_kept: bool,
}

/// Runs a job on a node; the job is gone afterwards.
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
    // The terminal may be gone: no reason to panic.
    let _ = writeln!(
        std::io::stderr(),
        "pbtnas: job {} checks a node; waiting up to {} s for it to start",
        job.id,
        trial.wait.as_secs()
    );
    let report = wait_for_report(trial, deadline, &job, &folder)?;
    findings.push(check_place(&job.id, &report, trial.cluster, began.elapsed()));
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

/// The job's side: publishes what it sees, and answers one question, for which it waits.
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

/// Publishes over an existing file, and returns whether that failed and left the file unchanged.
fn is_kept(path: &Path) -> Result<bool> {
    let read = || std::fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    let before = read()?;
    Ok(publish_bytes(path, b"second writer")? == Published::Existed && read()? == before)
}

/// How long either side waits for the other: longer than a run waits for both files, and for the longest pause between
/// two looks.
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

/// Names of the nodes that are this machine, to exclude them, if the job can run on another one.
fn elsewhere(cluster: &ClusterInfo, host: &str, request: &JobRequest) -> Vec<String> {
    let candidates = request.nodes(cluster).into_iter().filter(|node| node.usable());
    let (here, there): (Vec<_>, Vec<_>) =
        candidates.partition(|node| is_host(&node.host, host) || is_host(&node.name, host));
    let here = here.into_iter().map(|node| node.name.clone());
    if there.is_empty() { Vec::new() } else { here.collect() }
}

/// Whether two host names, with or without a domain, are equal.
fn is_host(a: &str, b: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    short(a) == short(b)
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
            // The job, if it runs, reports without SLURM.
            Err(error) if is_silent(&error) => None,
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
        None if is_silent(&error) => unanswered(JOB, error),
        None => rejected(&message(&error.into())),
    }
}

fn rejected(why: &str) -> Finding {
    Finding::problem(
        Area::Submission,
        JOB,
        why,
        "SLURM rejected a short job with the options of a controller job.",
        "Change [slurm.controller] (partition, qos, extra) or [slurm] account. `sinfo` lists partitions, `sacctmgr show \
         associations user=$USER` lists accounts.",
    )
}

fn queued(id: &str, reason: &str, wait: Duration) -> Finding {
    let seconds = wait.as_secs();
    let found = format!("still queued after {seconds} s ({reason}); job {id} is cancelled");
    Finding::skipped(AREA, JOB, format!("{found}. Wait longer with --wait SECONDS."))
}

fn silent(id: &str, what: &str, log: &str) -> Finding {
    let consequence = "Jobs of the search would not start, or their results would not be found.";
    let (printed, advice) = match log {
        "" => (
            String::new(),
            "Check that the node has this folder and this program under the same paths: `srun ls -d` of both, in the \
             partition of [slurm.controller]. Put pbtnas and --state on a filesystem that the nodes share.",
        ),
        log => (
            format!(" The job printed:\n{log}"),
            "If a line of [slurm] setup failed, fix it. If a library is missing, load it in [slurm] setup, or build pbtnas \
             on a filesystem that the nodes share.",
        ),
    };
    Finding::problem(
        AREA,
        JOB,
        format!("job {id} {what}, but its report did not appear here"),
        format!("{consequence}{printed}"),
        advice,
    )
}

fn broken_off(why: &str, stop: &StopSignal) -> Finding {
    if stop.get().is_some() {
        return Finding::skipped(AREA, "visibility", why);
    }
    Finding::problem(
        AREA,
        "visibility",
        why,
        "This machine and the node do not see each other's files, or see them late: finished members would be trained \
         again.",
        "Check the mount options on both machines (NFS: actimeo, lookupcache), or choose another --state.",
    )
}

fn check_place(id: &str, report: &NodeReport, cluster: &ClusterInfo, after: Duration) -> Finding {
    let found = format!("job {id} reported from {} after {:.0} s", report.host, after.as_secs_f64());
    if report.machine != machine() {
        return Finding::ok(AREA, JOB, found);
    }
    match cluster.nodes.iter().all(|node| is_host(&node.host, &report.host)) {
        true => Finding::ok(AREA, JOB, format!("{found}; all nodes of this cluster are this machine")),
        false => Finding::warning(
            AREA,
            JOB,
            format!("{found}, which is this machine"),
            "The delay of files between two machines was not measured.",
            "Run `pbtnas doctor` on a login node, or again when other nodes are free.",
        ),
    }
}

fn check_program(report: &NodeReport) -> Finding {
    let host = &report.host;
    match &report.failure {
        None => Finding::ok(AREA, "program", format!("pbtnas works on {host}")),
        Some(why) => Finding::problem(
            AREA,
            "program",
            format!("pbtnas does not work on {host}: {why}"),
            "Members on that node would fail or compute wrong results.",
            "If the processors of login node and nodes differ, build pbtnas on a node.",
        ),
    }
}

fn check_lock(report: &NodeReport) -> Finding {
    match report.locked {
        true => Finding::ok(AREA, "locks", "the node sees a file lock of this machine"),
        false => Finding::warning(
            AREA,
            "locks",
            "the node does not see a file lock of this machine",
            "Results do not depend on locks, but two concurrent controller jobs may do the same work.",
            "No action is needed. Do not run `pbtnas run` on two machines for the same run.",
        ),
    }
}

fn check_delay(delay: Duration, visibility: Duration) -> Finding {
    const TITLE: &str = "visibility";
    let found = format!(
        "a file from here to the node and one back took {:.2} s ([storage] visibility_timeout is {} s)",
        delay.as_secs_f64(),
        visibility.as_secs()
    );
    let advice = format!(
        "Set [storage] visibility_timeout to {} or more.",
        (3.0 * delay.as_secs_f64()).ceil().max(5.0)
    );
    if delay > visibility {
        let consequence =
            "Results of trained members could be taken for lost; the members would be trained again.";
        Finding::problem(AREA, TITLE, found, consequence, advice)
    } else if delay > visibility / 2 {
        let consequence = "When the filesystem is busier, results of trained members could be taken for lost; the members \
                           would be trained again.";
        Finding::warning(AREA, TITLE, found, consequence, advice)
    } else {
        Finding::ok(AREA, TITLE, found)
    }
}

fn check_first_writer(exchange: Exchange) -> Finding {
    const TITLE: &str = "first writer wins";
    let found = match (exchange.question_kept, exchange.answer_kept) {
        (true, true) => {
            let found = "neither this machine nor the node could replace a file that the other had published";
            return Finding::ok(AREA, TITLE, found);
        }
        (false, _) => "the node replaced a file that this machine had published",
        (true, false) => "this machine replaced a file that the node had published",
    };
    Finding::problem(
        AREA,
        TITLE,
        found,
        "Two processes could both record a result, or submit a generation twice.",
        "Choose a --state on another filesystem, and report this to the administrators: hard links are not atomic between \
         machines.",
    )
}

/// A job that works prints nothing by itself.
fn check_log(log: &str) -> Option<Finding> {
    (!log.is_empty()).then(|| {
        Finding::warning(
            AREA,
            "output of the job",
            log,
            "pbtnas printed nothing: the output comes from [slurm] setup or from the cluster.",
            "If it is an error, fix [slurm] setup.",
        )
    })
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

    fn report(machine: &str, failure: Option<&str>, locked: bool) -> NodeReport {
        let (host, failure) = ("n2.domain".to_owned(), failure.map(str::to_owned));
        NodeReport { format: FORMAT, host, machine: machine.into(), failure, locked }
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
    fn place_program_and_lock_are_checked() {
        let place = |report: &NodeReport, nodes| check_place("7", report, &cluster(nodes), SECOND).verdict;
        let (here, there) =
            (report(machine(), None, true), report("elsewhere", Some("it computed 1"), false));
        assert_eq!(place(&there, &[("n1", "n1")]), Verdict::Ok);
        assert_eq!(place(&here, &[("n1", "n2"), ("x", "n2")]), Verdict::Ok, "there is no other machine");
        assert_eq!(place(&here, &[("n1", "n2"), ("x", "n3")]), Verdict::Warning);
        let program = [&here, &there].map(|report| check_program(report).verdict);
        assert_eq!(program, [Verdict::Ok, Verdict::Problem]);
        assert_eq!([&here, &there].map(|report| check_lock(report).verdict), [Verdict::Ok, Verdict::Warning]);
    }

    #[test]
    fn delays_are_compared_with_the_timeout() {
        let check = |seconds| check_delay(Duration::from_secs_f64(seconds), 20 * SECOND);
        assert_eq!(check(0.2).verdict, Verdict::Ok);
        assert_eq!(check(10.5).verdict, Verdict::Warning);
        let late = check(30.0);
        assert_eq!(late.verdict, Verdict::Problem);
        assert!(late.advice.unwrap().contains("visibility_timeout to 90 or"));
    }

    #[test]
    fn a_replaced_file_is_a_problem() {
        let check = |question_kept, answer_kept| {
            check_first_writer(Exchange { delay: SECOND, question_kept, answer_kept })
        };
        assert_eq!(check(true, true).verdict, Verdict::Ok);
        for (finding, who) in
            [(check(false, true), "the node replaced"), (check(true, false), "this machine replaced")]
        {
            assert!(finding.verdict == Verdict::Problem && finding.found.starts_with(who), "{finding:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "first").unwrap();
        assert!(is_kept(&file).unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"first");
        assert!(is_kept(&dir.path().join("missing")).is_err());
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

    #[test]
    fn a_job_without_a_report_is_explained() {
        assert_eq!(queued("7", "Priority", 120 * SECOND).verdict, Verdict::Skipped);
        let finding = silent("7", "ended (FAILED)", "no such file");
        assert!(
            finding.verdict == Verdict::Problem && finding.consequence.unwrap().ends_with(":\nno such file")
        );
        assert_eq!(rejected("no").area.exit_code(), 5);
        assert_eq!(check_log(""), None);
        assert_eq!(check_log("x").map(|finding| finding.verdict), Some(Verdict::Warning));
        let stop = StopSignal::default();
        assert_eq!(broken_off("late", &stop).verdict, Verdict::Problem);
        stop.raise(Signal::Terminate);
        assert_eq!(broken_off("stopped", &stop).verdict, Verdict::Skipped);
    }
}

//! A job on a node, and how this machine and that one see each other's files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::exchange::{self, Delay, Hello, LOCK, NAMES, Race};
use super::finding::{Area, Finding};
use super::slurm::unanswered;
use crate::config::Config;
use crate::error::message;
use crate::plain::plain;
use crate::scheduler::SchedulerError;
use crate::scheduler::script::Context;
use crate::scheduler::slurm::cluster::{Cluster, Standing, TrialJob, is_silent};
use crate::scheduler::slurm::{Ask, host};
use crate::signal::StopSignal;
use crate::state::{Lock, ensure_dir, machine, temporary_name};

const AREA: Area = Area::Nodes;
/// The title of what concerns the job itself.
const JOB: &str = "a job";
/// How long a job that runs may take to say its first word at least: its node may see a new folder late.
const FIRST_WORD: Duration = Duration::from_secs(90);
/// How long a job that was told to leave may take.
const LEAVING: Duration = Duration::from_secs(20);
/// Between two looks at a job that has just been submitted.
const LOOK: Duration = Duration::from_secs(1);
/// The same when it has waited for long: a controller has others to serve.
const RARE_LOOK: Duration = Duration::from_secs(30);

/// What a trial needs.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The configuration, or the defaults.
    pub config: &'a Config,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// This program.
    pub program: &'a Path,
    /// A folder that may be filled, on the run's filesystem.
    pub folder: &'a Path,
    /// How long the job may wait in the queue.
    pub wait: Duration,
    /// Ends everything.
    pub stop: &'a StopSignal,
}

impl Trial<'_> {
    /// How long the job and this process wait for each other.
    fn patience(&self) -> Duration {
        exchange::patience(self.config.storage.visibility_timeout)
    }
}

/// How the job began, if it did.
enum Begun {
    Said(Hello),
    Not(Finding),
}

/// Submits a job, talks to it, and judges. The job is gone afterwards.
pub fn examine(task: &Trial) -> Vec<Finding> {
    let folder = task.folder.join("node");
    let made = ensure_dir(&folder.join("logs")).map_err(anyhow::Error::from);
    if let Err(error) = made.and_then(|()| exchange::begin(&folder, task.patience())) {
        return vec![Finding::skipped(AREA, JOB, message(&error))];
    }
    let _lock = Lock::try_take(&folder.join(LOCK));
    let name = format!("pbtnas-doctor-{}", temporary_name("").rsplit('-').next().unwrap_or_default());
    let (arguments, script) = job(task, &name, &folder);
    let began = Instant::now();
    let job = match TrialJob::submit(&name, &arguments, &script) {
        Ok(job) => job,
        Err(error) => return vec![not_submitted(error, task.stop)],
    };
    // The terminal may be gone: no reason to panic.
    let _ = writeln!(
        std::io::stderr(),
        "pbtnas: job {} tries a node; waiting up to {} s for it to start",
        job.id,
        task.wait.as_secs()
    );
    let hello = match first_word(task, &job, &folder) {
        Ok(Begun::Said(hello)) => hello,
        Ok(Begun::Not(finding)) => return vec![finding],
        Err(error) => return vec![Finding::skipped(AREA, JOB, message(&error))],
    };
    let mut findings = vec![judge_place(&job.id, &hello, task.cluster, began.elapsed())];
    findings.push(judge_program(&hello));
    findings.push(judge_lock(&hello));
    match talk(&folder, task.patience(), task.stop) {
        Ok((delay, race)) => {
            let timeout = Duration::from_secs(task.config.storage.visibility_timeout);
            findings.extend(delay.map(|delay| judge_delay(delay, timeout)));
            findings.push(judge_race(&race));
        }
        Err(error) => {
            let why = [message(&error), log(&folder)].join("\n");
            findings.push(broken_off(why.trim_end(), task.stop));
            return findings;
        }
    }
    // It has a moment to leave by itself, so that its log is whole; then it is cancelled.
    let until = Instant::now() + LEAVING;
    while !matches!(job.look(), Ok(Standing::Over(..)) | Err(_))
        && Instant::now() < until
        && task.stop.get().is_none()
    {
        std::thread::sleep(LOOK / 4);
    }
    findings.extend(judge_log(&log(&folder)));
    findings
}

/// The questions, the race, and the end.
fn talk(folder: &Path, patience: Duration, stop: &StopSignal) -> Result<(Option<Delay>, Race)> {
    let delay = exchange::delay(&exchange::ask(folder, patience, stop)?);
    let race = exchange::race(folder, patience, stop)?;
    exchange::end(folder)?;
    Ok((delay, race))
}

/// Arguments of sbatch and the script: those of a step of the search, for some minutes.
fn job(task: &Trial, name: &str, folder: &Path) -> (Vec<String>, String) {
    let context = Context {
        config: &task.config.slurm,
        program: task.program,
        state: folder,
        label: "doctor".into(),
        piece: Vec::new(),
        piece_option: "",
        pieces_per_task: 1,
        step: vec!["answer".into()],
    };
    let away = elsewhere(task.cluster, &host(), &Ask::of_steps(task.config));
    (context.trial_arguments(name, exchange::minutes(task.patience()), &away), context.step_script())
}

/// The nodes that are this machine, if the job can run on another one.
fn elsewhere(cluster: &Cluster, host: &str, ask: &Ask) -> Vec<String> {
    let candidates = ask.nodes(cluster).into_iter().filter(|node| node.usable());
    let (here, there): (Vec<_>, Vec<_>) =
        candidates.partition(|node| is_host(&node.host, host) || is_host(&node.name, host));
    let here = here.into_iter().map(|node| node.name.clone());
    if there.is_empty() { Vec::new() } else { here.collect() }
}

/// Whether two names of machines mean the same one, with a domain or without.
fn is_host(a: &str, b: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    short(a) == short(b)
}

/// Waits until the job says something.
fn first_word(task: &Trial, job: &TrialJob, folder: &Path) -> Result<Begun> {
    let first_word = FIRST_WORD.max(task.patience());
    let (began, mut running, mut next) = (Instant::now(), None, Instant::now());
    loop {
        let pause = between_looks(began.elapsed(), task.wait);
        if let Some(hello) = exchange::hello(folder)? {
            return Ok(Begun::Said(hello));
        }
        if task.stop.get().is_some() {
            return Ok(Begun::Not(Finding::skipped(AREA, JOB, "stopped by a signal")));
        }
        if Instant::now() >= next {
            let stands = job.look();
            next = Instant::now() + pause;
            match stands {
                // Time may mend that; the job, if it runs, speaks without SLURM.
                Err(error) if is_silent(&error) && began.elapsed() <= task.wait + first_word => {}
                Err(error) => return Err(error.into()),
                Ok(Standing::Waiting(reason)) if began.elapsed() > task.wait => {
                    return Ok(Begun::Not(queued(&job.id, &reason, task.wait)));
                }
                Ok(Standing::Waiting(_)) => running = None,
                Ok(Standing::Running(nodes)) => {
                    let since = *running.get_or_insert(Instant::now());
                    if since.elapsed() > first_word {
                        return Ok(Begun::Not(silent(&job.id, &format!("runs on {nodes}"), &log(folder))));
                    }
                }
                Ok(Standing::Over(state, nodes)) => {
                    // Its last word may come late.
                    std::thread::sleep(LOOK);
                    if let Some(hello) = exchange::hello(folder)? {
                        return Ok(Begun::Said(hello));
                    }
                    let what = match nodes.is_empty() {
                        true => format!("ended ({state})"),
                        false => format!("ended on {nodes} ({state})"),
                    };
                    return Ok(Begun::Not(silent(&job.id, &what, &log(folder))));
                }
            }
        }
        std::thread::sleep((pause / 10).min(LOOK));
    }
}

/// How long to the next look at a job that has waited for so long, so that the end of the wait is not missed.
fn between_looks(waited: Duration, wait: Duration) -> Duration {
    let pause = (waited / 10).clamp(LOOK, RARE_LOOK);
    let left = wait.checked_sub(waited);
    left.map_or(pause, |left| pause.min(left.max(LOOK)))
}

/// The end of what the job printed.
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

/// Why there is no job: nobody waited for it, SLURM said nothing, or it said no.
fn not_submitted(error: SchedulerError, stop: &StopSignal) -> Finding {
    match () {
        () if stop.get().is_some() => Finding::skipped(AREA, JOB, "stopped by a signal"),
        () if is_silent(&error) => unanswered(JOB, error),
        () => refused(&message(&error.into())),
    }
}

fn refused(why: &str) -> Finding {
    Finding::problem(
        Area::Submission,
        JOB,
        why,
        "A job like the steps of a search, of some minutes, was refused.",
        "Change [slurm.step] (partition, qos, extra) or [slurm] account; `sinfo` lists partitions, `sacctmgr show \
         associations user=$USER` accounts.",
    )
}

fn queued(id: &str, reason: &str, wait: Duration) -> Finding {
    Finding::skipped(
        AREA,
        JOB,
        format!(
            "still queued after {} s ({reason}); job {id} is cancelled. --wait SECONDS waits longer",
            wait.as_secs()
        ),
    )
}

fn silent(id: &str, what: &str, log: &str) -> Finding {
    let consequence =
        "Jobs of the search would do no better: they would not begin, or their results not be found.";
    let (printed, advice) = match log {
        "" => (
            String::new(),
            "Does the node see this folder and this program under the same paths? Try `srun ls -d` of both, in the \
             partition of [slurm.step]. Build pbtnas, and choose a --state, on a filesystem that the nodes share.",
        ),
        log => (
            format!(" It printed:\n{log}"),
            "If that comes from a line of [slurm] setup, mend it; if a library is missing, build pbtnas on a filesystem \
             that the nodes share, or load it in [slurm] setup.",
        ),
    };
    Finding::problem(
        AREA,
        JOB,
        format!("job {id} {what}, but no file of it appeared here"),
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
        "This machine and the node do not see each other's files, or only very late: finished members would be taken \
         for lost, and trained again.",
        "Look at how the filesystem is mounted on both machines (NFS: actimeo, lookupcache), or choose another --state.",
    )
}

fn judge_place(id: &str, hello: &Hello, cluster: &Cluster, after: Duration) -> Finding {
    let began = format!("job {id} answered from {} after {:.0} s", hello.host, after.as_secs_f64());
    if hello.machine != machine() {
        return Finding::ok(AREA, JOB, began);
    }
    match cluster.nodes.iter().all(|node| is_host(&node.host, &hello.host)) {
        true => Finding::ok(AREA, JOB, format!("{began}; all nodes of this cluster are this machine")),
        false => Finding::warning(
            AREA,
            JOB,
            format!("{began}, which is this machine"),
            "How late another machine sees what this one writes is not known.",
            "Call `pbtnas doctor` on a login node, or again when other nodes are free.",
        ),
    }
}

fn judge_program(hello: &Hello) -> Finding {
    match &hello.libtorch {
        None => Finding::ok(AREA, "program", format!("pbtnas and libtorch work on {}", hello.host)),
        Some(why) => Finding::problem(
            AREA,
            "program",
            format!("libtorch does not work on {}: {why}", hello.host),
            "Members that run there would fail, or train to nonsense.",
            "If the processors of login node and nodes differ, build pbtnas on a node.",
        ),
    }
}

fn judge_lock(hello: &Hello) -> Finding {
    match hello.locked {
        true => Finding::ok(AREA, "locks", "a file that is locked here is locked there"),
        false => Finding::warning(
            AREA,
            "locks",
            "a file that is locked here is not locked there",
            "Nothing goes wrong without (correctness never rests on locks), but two steps at the same moment may do the \
             same work.",
            "Nothing needs to be done. Do not call `pbtnas run` on two machines for the same run.",
        ),
    }
}

fn judge_delay(delay: Delay, timeout: Duration) -> Finding {
    const TITLE: &str = "visibility";
    let time = |seconds: f64| match seconds {
        _ if seconds < 0.001 => "less than 1 ms".to_owned(),
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    };
    let worst = delay.there.max(delay.back) + delay.uncertainty;
    let found = format!(
        "the node sees a file of this machine after {} at most, this machine one of the node after {} (give or take {}; \
         [storage] visibility_timeout is {} s)",
        time(delay.there),
        time(delay.back),
        time(delay.uncertainty),
        timeout.as_secs(),
    );
    let advice = format!("Set [storage] visibility_timeout to {} or more.", (3.0 * worst).ceil().max(5.0));
    let limit = timeout.as_secs_f64();
    if worst > limit {
        let consequence =
            "Results of members that are trained would be taken for lost, and the members trained again.";
        Finding::problem(AREA, TITLE, found, consequence, advice)
    } else if worst > limit / 2.0 {
        let consequence = "On a day when the filesystem is busier, results of members that are trained would be taken for \
                           lost, and the members trained again.";
        Finding::warning(AREA, TITLE, found, consequence, advice)
    } else {
        Finding::ok(AREA, TITLE, found)
    }
}

fn judge_race(race: &Race) -> Finding {
    const TITLE: &str = "first writer wins";
    let both: Vec<u32> = race.ours.iter().filter(|number| race.theirs.contains(number)).copied().collect();
    let won = race.ours.len() + race.theirs.len() - both.len();
    let found = if !both.is_empty() {
        format!("of {NAMES} names that both wanted, both were told that they won {}", both.len())
    } else if won < NAMES as usize {
        format!("of {NAMES} names that both wanted, nobody won {}", NAMES as usize - won)
    } else if !race.foreign.is_empty() {
        format!("of {NAMES} files, {} are not their winner's", race.foreign.len())
    } else {
        return Finding::ok(
            AREA,
            TITLE,
            format!(
                "both wanted {NAMES} names: {} are this machine's, {} the node's, none both's",
                race.ours.len(),
                race.theirs.len()
            ),
        );
    };
    Finding::problem(
        AREA,
        TITLE,
        found,
        "Two processes could both believe that their result counts, or submit a generation twice.",
        "Choose a --state on another filesystem, and tell the administrators of this one: its hard links are not atomic \
         between machines.",
    )
}

/// What a job prints that has nothing to say comes from [slurm] setup, or from the cluster.
fn judge_log(log: &str) -> Option<Finding> {
    (!log.is_empty()).then(|| {
        Finding::warning(
            AREA,
            "what the job printed",
            log,
            "pbtnas itself printed nothing: it comes from the lines of [slurm] setup, or from the cluster.",
            "If it is an error, mend [slurm] setup.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use crate::scheduler::slurm::cluster::{Node, Partition, Preempted, Settings};
    use crate::signal::Signal;

    fn cluster(nodes: &[(&str, &str)]) -> Cluster {
        let node = |&(name, host): &(&str, &str)| Node {
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
        Cluster {
            settings: Settings::default(),
            partitions: vec![main],
            nodes: nodes.iter().map(node).collect(),
            associations: Vec::new(),
        }
    }

    #[test]
    fn a_job_goes_to_another_machine_where_there_is_one() {
        let away = |nodes: &[(&str, &str)], partition| {
            let ask = Ask { partition, ..Ask::default() };
            elsewhere(&cluster(nodes), "login.domain", &ask).join(",")
        };
        assert_eq!(away(&[("n1", "login"), ("n2", "other")], None), "n1");
        assert_eq!(away(&[("login", "login"), ("n2", "n2")], Some("main")), "login");
        assert_eq!(away(&[("n1", "login"), ("n2", "login")], None), "", "all nodes are this machine");
        assert_eq!(away(&[("n1", "a"), ("n2", "b")], None), "", "it is none of them");
        assert_eq!(away(&[("n1", "login"), ("n2", "b")], Some("gpu")), "", "another partition");
    }

    fn said(machine: &str, libtorch: Option<&str>, locked: bool) -> Hello {
        let hello = serde_json::json!({
            "format": 1, "host": "n2.domain", "machine": machine, "libtorch": libtorch, "locked": locked
        });
        serde_json::from_value(hello).unwrap()
    }

    #[test]
    fn where_it_ran_and_what_works_there() {
        let place = |hello: &Hello, nodes| judge_place("7", hello, &cluster(nodes), Duration::ZERO).verdict;
        let (here, there) = (said(machine(), None, true), said("elsewhere", Some("it computed 1"), false));
        assert_eq!(place(&there, &[("n1", "n1")]), Verdict::Ok);
        assert_eq!(place(&here, &[("n1", "n2"), ("x", "n2")]), Verdict::Ok, "there is no other machine");
        assert_eq!(place(&here, &[("n1", "n2"), ("x", "n3")]), Verdict::Warning);
        assert_eq!(
            (judge_program(&here).verdict, judge_program(&there).verdict),
            (Verdict::Ok, Verdict::Problem)
        );
        assert_eq!((judge_lock(&here).verdict, judge_lock(&there).verdict), (Verdict::Ok, Verdict::Warning));
    }

    #[test]
    fn delays_are_compared_with_the_timeout() {
        let judge = |there, back, uncertainty| {
            judge_delay(Delay { there, back, uncertainty }, Duration::from_secs(20))
        };
        assert_eq!(judge(0.1, 0.2, 0.01).verdict, Verdict::Ok);
        assert_eq!(judge(9.0, 0.2, 1.5).verdict, Verdict::Warning);
        let late = judge(0.1, 30.0, 0.0);
        assert_eq!(late.verdict, Verdict::Problem);
        assert!(late.advice.unwrap().contains("visibility_timeout to 90 or"));
    }

    #[test]
    fn exactly_one_wins() {
        let judge = |ours: std::ops::Range<u32>, theirs: std::ops::Range<u32>, foreign: &[u32]| {
            judge_race(&Race { ours: ours.collect(), theirs: theirs.collect(), foreign: foreign.into() })
        };
        assert_eq!(judge(0..20, 20..50, &[]).verdict, Verdict::Ok);
        for (finding, what) in [
            (judge(0..21, 20..50, &[]), "both were told that they won 1"),
            (judge(0..19, 20..50, &[]), "nobody won 1"),
            (judge(0..20, 20..50, &[3]), "1 are not their winner's"),
        ] {
            assert!(finding.verdict == Verdict::Problem && finding.found.contains(what), "{finding:?}");
        }
    }

    #[test]
    fn a_long_wait_is_looked_at_less_often_and_ends_in_time() {
        let seconds =
            |waited, wait| between_looks(Duration::from_secs(waited), Duration::from_secs(wait)).as_secs();
        assert_eq!([0, 5, 60, 200, 5000].map(|waited| seconds(waited, 86_400)), [1, 1, 6, 20, 30]);
        assert_eq!((seconds(115, 120), seconds(120, 120)), (5, 1), "the end is not missed");
        assert_eq!(seconds(200, 120), 20, "it runs, and nobody waits for its start");
    }

    #[test]
    fn no_job_for_three_reasons() {
        let error =
            |message: &str| SchedulerError::Refused { command: "sbatch".into(), message: message.into() };
        let stop = StopSignal::default();
        let silent = not_submitted(error("Socket timed out on send/recv operation"), &stop);
        assert!(
            silent.verdict == Verdict::Problem && silent.found.starts_with("SLURM did not answer: Socket")
        );
        let no = not_submitted(error("invalid partition specified: x"), &stop);
        assert!(no.verdict == Verdict::Problem && no.consequence.unwrap().ends_with("was refused."));
        stop.raise(Signal::Terminate);
        assert_eq!(not_submitted(error(""), &stop).verdict, Verdict::Skipped, "sbatch was killed with this");
    }

    #[test]
    fn what_a_job_printed_is_shown_as_a_terminal_would() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join("logs/x"), "1 %\r\u{1b}[31m2 %\u{1b}[0m\n\u{1b}[2J\n").unwrap();
        assert_eq!(log(dir.path()), "2 %");
    }

    #[test]
    fn a_job_without_an_answer() {
        assert_eq!(queued("7", "Priority", Duration::from_secs(120)).verdict, Verdict::Skipped);
        let finding = silent("7", "ended (FAILED)", "no such file");
        assert!(
            finding.verdict == Verdict::Problem && finding.consequence.unwrap().ends_with(":\nno such file")
        );
        assert_eq!(refused("no").area.exit_code(), 5);
        assert_eq!(
            (judge_log(""), judge_log("x").map(|finding| finding.verdict)),
            (None, Some(Verdict::Warning))
        );
        let stop = StopSignal::default();
        assert_eq!(broken_off("late", &stop).verdict, Verdict::Problem);
        stop.raise(Signal::Terminate);
        assert_eq!(broken_off("stopped", &stop).verdict, Verdict::Skipped);
    }
}

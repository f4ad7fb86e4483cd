//! The findings about a node: what its job's answers, or their absence, mean for a search.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::finding::{Area, Finding};
use pbtnas_core::durable_fs::machine;
use pbtnas_engine::signal::StopSignal;

const AREA: Area = Area::Nodes;
/// The title of findings about the job itself.
pub(super) const JOB: &str = "a job";

/// The first file of the job: a report about its node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeReport {
    pub format: u64,
    pub host: String,
    /// See [`machine`].
    pub machine: String,
    /// The reason why this program does not work on the node, if it does not.
    pub failure: Option<String>,
    /// Whether the lock that `pbtnas doctor` holds is effective on the node.
    pub locked: bool,
}

/// The result of the exchange of question and answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange {
    /// Time from question to answer.
    pub delay: Duration,
    pub question_kept: bool,
    pub answer_kept: bool,
}

pub(super) fn rejected(why: &str) -> Finding {
    Finding::problem(
        Area::Submission,
        JOB,
        why,
        "SLURM rejected a short job with the options of a controller job.",
        "Change [slurm.controller] (partition, qos, extra) or [slurm] account. `sinfo` lists partitions, `sacctmgr show \
         associations user=$USER` lists accounts.",
    )
}

pub(super) fn queued(id: &str, reason: &str, wait: Duration) -> Finding {
    let seconds = wait.as_secs();
    let found = format!("still queued after {seconds} s ({reason}); job {id} is cancelled");
    Finding::skipped(AREA, JOB, format!("{found}. Wait longer with --wait SECONDS."))
}

pub(super) fn silent(id: &str, what: &str, log: &str) -> Finding {
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

pub(super) fn broken_off(why: &str, stop: &StopSignal) -> Finding {
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

pub(super) fn check_node(id: &str, report: &NodeReport, hosts: &[&str], after: Duration) -> Finding {
    let found = format!("job {id} reported from {} after {:.0} s", report.host, after.as_secs_f64());
    if report.machine != machine() {
        return Finding::ok(AREA, JOB, found);
    }
    match hosts.iter().all(|host| is_host(host, &report.host)) {
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

pub(super) fn check_program(report: &NodeReport) -> Finding {
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

pub(super) fn check_lock(report: &NodeReport) -> Finding {
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

pub(super) fn check_delay(delay: Duration, visibility: Duration) -> Finding {
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

pub(super) fn check_first_writer(exchange: Exchange) -> Finding {
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
pub(super) fn check_log(log: &str) -> Option<Finding> {
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

/// Whether two host names, with or without a domain, are equal.
pub(super) fn is_host(a: &str, b: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    short(a) == short(b)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use pbtnas_core::run::FORMAT;
    use pbtnas_engine::signal::Signal;

    const SECOND: Duration = Duration::from_secs(1);

    fn report(machine: &str, failure: Option<&str>, locked: bool) -> NodeReport {
        let (host, failure) = ("n2.domain".to_owned(), failure.map(str::to_owned));
        NodeReport { format: FORMAT, host, machine: machine.into(), failure, locked }
    }

    #[test]
    fn place_program_and_lock_are_checked() {
        let place = |report: &NodeReport, hosts: &[&str]| check_node("7", report, hosts, SECOND).verdict;
        let (here, there) =
            (report(machine(), None, true), report("elsewhere", Some("it computed 1"), false));
        assert_eq!(place(&there, &["n1"]), Verdict::Ok);
        assert_eq!(place(&here, &["n2", "n2"]), Verdict::Ok, "there is no other machine");
        assert_eq!(place(&here, &["n2", "n3"]), Verdict::Warning);
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

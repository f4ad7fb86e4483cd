//! Whether SLURM is there and answers, and what it says to the jobs of a search without taking them.

use std::path::Path;

use super::finding::{Area, Finding};
use crate::config::Config;
use crate::error::message;
use crate::scheduler::SchedulerError;
use crate::scheduler::script::{Context, chunks};
use crate::scheduler::slurm::cluster::{self, COMMANDS, Cluster, is_silent};
use crate::scheduler::slurm::show::USUAL_ARRAY_SIZE;
use crate::search::MemberId;

const AREA: Area = Area::Slurm;
const WITHOUT: &str = "`pbtnas step` and jobs need SLURM. `pbtnas run` trains on one machine without.";

/// Commands and controller; the cluster, if it can be asked. `wanted`: the configuration has a section [slurm].
pub fn examine(wanted: bool) -> (Vec<Finding>, Option<Cluster>) {
    let versions: Vec<(&str, Result<String, SchedulerError>)> =
        COMMANDS.iter().map(|command| (*command, cluster::version(command))).collect();
    let commands = judge_commands(&versions, wanted);
    if versions.iter().any(|(_, version)| version.is_err()) {
        return (vec![commands], None);
    }
    let (controller, answered) =
        match cluster::ping().and_then(|up| if up { Cluster::ask().map(Some) } else { Ok(None) }) {
            Ok(Some(cluster)) => (judge_controller(Ok(&cluster)), Some(cluster)),
            Ok(None) => (judge_controller(Err("scontrol ping: it is DOWN")), None),
            Err(error) => (judge_controller(Err(&message(&error.into()))), None),
        };
    (vec![commands, controller.only_warning_if(!wanted)], answered)
}

fn judge_commands(versions: &[(&str, Result<String, SchedulerError>)], wanted: bool) -> Finding {
    const TITLE: &str = "commands";
    let failed: Vec<String> = versions
        .iter()
        .filter_map(|(command, version)| match version {
            Ok(_) => None,
            Err(SchedulerError::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("{command} is not on the PATH"))
            }
            // SLURM explains at length; what it comes to stands at the end.
            Err(error) => error.to_string().lines().last().map(|line| format!("{command}: {}", line.trim())),
        })
        .collect();
    if !failed.is_empty() {
        let found = if failed.len() == versions.len() && failed.iter().all(|why| why.ends_with("PATH")) {
            format!("none of {} is on the PATH", COMMANDS.join(", "))
        } else {
            failed.join("; ")
        };
        return Finding::problem(
            AREA,
            TITLE,
            found,
            WITHOUT,
            "Call this on a login node of the cluster (after `module load slurm`, if it has that; SLURM_CONF may name \
             its slurm.conf), or use `pbtnas run`.",
        )
        .only_warning_if(!wanted);
    }
    let mut known: Vec<&str> = versions.iter().filter_map(|(_, version)| version.as_deref().ok()).collect();
    known.dedup();
    let names = COMMANDS.join(", ");
    match known.as_slice() {
        [version] => Finding::ok(AREA, TITLE, format!("{names}: {version}")),
        _ => Finding::warning(
            AREA,
            TITLE,
            format!("{names} are of different versions: {}", known.join(", ")),
            "Commands of one installation may not understand the other's cluster.",
            "Look at `type -a sbatch squeue scontrol scancel`, and put one of the folders first on the PATH.",
        ),
    }
}

fn judge_controller(answer: Result<&Cluster, &str>) -> Finding {
    match answer {
        Ok(cluster) => Finding::ok(
            AREA,
            "controller",
            format!(
                "answers; cluster {} with {} partition(s) and {} node(s)",
                cluster.settings.name,
                cluster.partitions.len(),
                cluster.nodes.len()
            ),
        ),
        Err(why) => Finding::problem(
            AREA,
            "controller",
            why,
            "Nothing can be submitted. Jobs that run go on; `pbtnas step` tries again for [slurm] patience_seconds.",
            "Wait, and ask the administrators; if SLURM_CONF is set, does it name this cluster's slurm.conf?",
        ),
    }
}

/// The verdict of sbatch on the array and on the step, as they would be submitted for a run in `state`.
pub fn test(config: &Config, cluster: &Cluster, program: &Path, state: &Path) -> Vec<Finding> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    let context = Context {
        config: &config.slurm,
        program,
        state,
        label: "g0000".into(),
        piece: words("train --generation 0"),
        piece_option: "--member",
        pieces_per_task: config.slurm.members_per_task,
        step: words("step"),
    };
    let members: Vec<MemberId> = (0..config.search.population as u32).map(MemberId).collect();
    let limit = cluster.settings.max_array_size.unwrap_or(USUAL_ARRAY_SIZE);
    let chunk = chunks(&members, config.slurm.members_per_task, limit).into_iter().next();
    let array = chunk.map(|chunk| {
        let arguments = context.piece_arguments("pbtnas-doctor", &chunk);
        ("array of members", "[slurm]", arguments, context.piece_script(chunk.offset))
    });
    let step = ("step", "[slurm.step]", context.step_arguments("pbtnas-doctor", &[]), context.step_script());
    let judged = |(title, section, arguments, script): (&str, &str, Vec<String>, String)| {
        judge_test(title, section, cluster::test(&arguments, &script))
    };
    array.into_iter().chain([step]).map(judged).collect()
}

fn judge_test(title: &str, section: &str, answer: Result<String, SchedulerError>) -> Finding {
    let error = match answer {
        Ok(said) => return Finding::ok(Area::Submission, title, format!("sbatch --test-only: {said}")),
        Err(error) => error,
    };
    if is_silent(&error) {
        return unanswered(title, error);
    }
    Finding::problem(
        Area::Submission,
        title,
        format!("sbatch --test-only: {}", said(error)),
        "sbatch would refuse it just so.",
        format!("Change {section} (partition, account, qos, gres, memory, time, constraint, extra)."),
    )
}

/// SLURM was asked for a job, and no answer came.
pub fn unanswered(title: &str, error: SchedulerError) -> Finding {
    Finding::problem(
        Area::Submission,
        title,
        format!("SLURM did not answer: {}", said(error)),
        "Whether it would take such a job is not known. `pbtnas step` tries again for [slurm] patience_seconds.",
        "Call this again when SLURM answers (`scontrol ping`).",
    )
}

/// What a command of SLURM said, without the command.
fn said(error: SchedulerError) -> String {
    match error {
        SchedulerError::Refused { message, .. } => message,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn missing(command: &str) -> Result<String, SchedulerError> {
        Err(SchedulerError::Start { command: command.into(), source: std::io::ErrorKind::NotFound.into() })
    }

    #[test]
    fn commands_are_needed_only_where_jobs_are() {
        let none: Vec<_> = COMMANDS.iter().map(|command| (*command, missing(command))).collect();
        let finding = judge_commands(&none, true);
        assert_eq!(finding.verdict, Verdict::Problem);
        assert_eq!(finding.found, "none of sbatch, squeue, scontrol, scancel is on the PATH");
        assert_eq!(judge_commands(&none, false).verdict, Verdict::Warning);
        let one = [("sbatch", Ok("slurm 1".into())), ("scancel", missing("scancel"))];
        assert_eq!(judge_commands(&one, true).found, "scancel is not on the PATH");
        let same = ["sbatch", "squeue"].map(|command| (command, Ok("slurm 1".to_owned())));
        assert_eq!(judge_commands(&same, true).verdict, Verdict::Ok);
        let two = [("sbatch", Ok("slurm 1".to_owned())), ("squeue", Ok("slurm 2".to_owned()))];
        assert_eq!(judge_commands(&two, true).verdict, Verdict::Warning);
    }

    #[test]
    fn what_the_scheduler_says_counts() {
        assert_eq!(judge_controller(Err("it is DOWN")).verdict, Verdict::Problem);
        assert_eq!(judge_test("step", "[slurm.step]", Ok("Job 1 to start at".into())).verdict, Verdict::Ok);
        let error =
            |message: &str| SchedulerError::Refused { command: "sbatch".into(), message: message.into() };
        let silent =
            judge_test("step", "[slurm.step]", Err(error("Socket timed out on send/recv operation")));
        assert!(silent.found.starts_with("SLURM did not answer: Socket") && silent.area.exit_code() == 5);
        let refused = judge_test("step", "[slurm.step]", Err(error("invalid partition")));
        assert!(refused.verdict == Verdict::Problem && refused.found.ends_with("invalid partition"));
        assert_eq!(refused.area.exit_code(), 5);
    }
}

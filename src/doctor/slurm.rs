//! SLURM commands, controller, and test submissions of the jobs of a search.

use std::path::Path;

use super::finding::{Area, Finding};
use pbtnas_core::fault::message;
use pbtnas_core::search::MemberId;
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::SchedulerError;
use pbtnas_engine::scheduler::slurm::cluster;
use pbtnas_engine::scheduler::slurm::cluster::{COMMANDS, ClusterInfo, is_unanswered};
use pbtnas_engine::scheduler::slurm::script::{ScriptContext, chunks};
use pbtnas_engine::scheduler::slurm::show::DEFAULT_MAX_ARRAY_SIZE;

const AREA: Area = Area::Slurm;
const WITHOUT: &str = "`pbtnas step` and jobs need SLURM. `pbtnas run` trains on one machine without it.";

/// Checks commands and controller; returns the cluster if SLURM answers. `wanted`: the configuration has a section
/// [slurm].
pub fn check(wanted: bool) -> (Vec<Finding>, Option<ClusterInfo>) {
    let versions: Vec<(&str, Result<String, SchedulerError>)> =
        COMMANDS.iter().map(|command| (*command, cluster::version(command))).collect();
    let commands = check_commands(&versions, wanted);
    if versions.iter().any(|(_, version)| version.is_err()) {
        return (vec![commands], None);
    }
    let (controller, answered) =
        match cluster::ping().and_then(|up| if up { ClusterInfo::ask().map(Some) } else { Ok(None) }) {
            Ok(Some(cluster)) => (check_controller(Ok(&cluster)), Some(cluster)),
            Ok(None) => (check_controller(Err("scontrol ping: DOWN")), None),
            Err(error) => (check_controller(Err(&message(&error.into()))), None),
        };
    (vec![commands, controller.downgrade_if(!wanted)], answered)
}

fn check_commands(versions: &[(&str, Result<String, SchedulerError>)], wanted: bool) -> Finding {
    const TITLE: &str = "commands";
    let failed: Vec<String> = versions
        .iter()
        .filter_map(|(command, version)| match version {
            Ok(_) => None,
            Err(SchedulerError::Start { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("{command} is not on the PATH"))
            }
            // The last line of SLURM's message has the reason.
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
            "Run this on a login node of the cluster (after `module load slurm` if needed; SLURM_CONF can name its \
             slurm.conf), or use `pbtnas run`.",
        )
        .downgrade_if(!wanted);
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
            "Commands of one SLURM installation may not work with the cluster of another.",
            "Run `type -a sbatch squeue scontrol scancel`, and put one of the folders first on the PATH.",
        ),
    }
}

fn check_controller(answer: Result<&ClusterInfo, &str>) -> Finding {
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
            "Jobs cannot be submitted. Running jobs continue; `pbtnas step` retries for [slurm] retry_seconds.",
            "Wait, or ask the administrators. If SLURM_CONF is set, check that it names this cluster's slurm.conf.",
        ),
    }
}

/// Tests the array and the controller job with `sbatch --test-only`, as submitted for a run in `state`.
pub fn test(config: &Config, cluster: &ClusterInfo, program: &Path, state: &Path) -> Vec<Finding> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect();
    let context = ScriptContext {
        config: &config.slurm,
        program,
        state,
        label: "g0000".into(),
        unit: words("train --generation 0"),
        unit_option: "--member",
        units_per_task: config.slurm.members_per_task,
        step: words("step"),
    };
    let members: Vec<MemberId> = (0..config.search.population as u32).map(MemberId).collect();
    let limit = cluster.settings.max_array_size.unwrap_or(DEFAULT_MAX_ARRAY_SIZE);
    let chunk = chunks(&members, config.slurm.members_per_task, limit).into_iter().next();
    let array = chunk.map(|chunk| {
        let arguments = context.unit_arguments("pbtnas-doctor", &chunk);
        ("array of members", "[slurm]", arguments, context.unit_script(chunk.offset))
    });
    let step = (
        "controller job",
        "[slurm.controller]",
        context.step_arguments("pbtnas-doctor", &[]),
        context.step_script(),
    );
    let run = |(title, section, arguments, script): (&str, &str, Vec<String>, String)| {
        check_test(title, section, cluster::test(&arguments, &script))
    };
    array.into_iter().chain([step]).map(run).collect()
}

fn check_test(title: &str, section: &str, answer: Result<String, SchedulerError>) -> Finding {
    let error = match answer {
        Ok(line) => return Finding::ok(Area::Submission, title, format!("sbatch --test-only: {line}")),
        Err(error) => error,
    };
    if is_unanswered(&error) {
        return unanswered(title, error);
    }
    Finding::problem(
        Area::Submission,
        title,
        format!("sbatch --test-only: {}", without_command(error)),
        "sbatch would reject the job in the same way.",
        format!("Change {section} (partition, account, qos, gres, memory, time, constraint, extra)."),
    )
}

/// The finding if SLURM did not answer a submission.
pub fn unanswered(title: &str, error: SchedulerError) -> Finding {
    Finding::problem(
        Area::Submission,
        title,
        format!("SLURM did not answer: {}", without_command(error)),
        "Whether SLURM accepts such a job is unknown. `pbtnas step` retries for [slurm] retry_seconds.",
        "Run this again when SLURM answers (`scontrol ping`).",
    )
}

/// Returns the message of a SLURM command without the command.
fn without_command(error: SchedulerError) -> String {
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
    fn missing_commands_are_a_problem_only_for_jobs() {
        let none: Vec<_> = COMMANDS.iter().map(|command| (*command, missing(command))).collect();
        let finding = check_commands(&none, true);
        assert_eq!(finding.verdict, Verdict::Problem);
        assert_eq!(finding.found, "none of sbatch, squeue, scontrol, scancel is on the PATH");
        assert_eq!(check_commands(&none, false).verdict, Verdict::Warning);
        let one = [("sbatch", Ok("slurm 1".into())), ("scancel", missing("scancel"))];
        assert_eq!(check_commands(&one, true).found, "scancel is not on the PATH");
        let same = ["sbatch", "squeue"].map(|command| (command, Ok("slurm 1".to_owned())));
        assert_eq!(check_commands(&same, true).verdict, Verdict::Ok);
        let two = [("sbatch", Ok("slurm 1".to_owned())), ("squeue", Ok("slurm 2".to_owned()))];
        assert_eq!(check_commands(&two, true).verdict, Verdict::Warning);
    }

    #[test]
    fn rejection_and_silence_are_problems() {
        assert_eq!(check_controller(Err("DOWN")).verdict, Verdict::Problem);
        assert_eq!(
            check_test("controller job", "[slurm.controller]", Ok("Job 1 to start at".into())).verdict,
            Verdict::Ok
        );
        let error =
            |message: &str| SchedulerError::Refused { command: "sbatch".into(), message: message.into() };
        let silent = check_test(
            "controller job",
            "[slurm.controller]",
            Err(error("Socket timed out on send/recv operation")),
        );
        assert!(silent.found.starts_with("SLURM did not answer: Socket") && silent.area.exit_code() == 5);
        let refused = check_test("controller job", "[slurm.controller]", Err(error("invalid partition")));
        assert!(refused.verdict == Verdict::Problem && refused.found.ends_with("invalid partition"));
        assert_eq!(refused.area.exit_code(), 5);
    }
}

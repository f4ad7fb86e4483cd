//! A read-only query of a generation's jobs in the SLURM queue.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::commands::ask;
use super::show::DEFAULT_MAX_ARRAY_SIZE;
use super::{is_own, prefix};
use crate::run::Run;
use crate::scheduler::slurm::parse;
use crate::scheduler::slurm::parse::Job;
use crate::scheduler::slurm::script::chunks;
use pbtnas_core::run::{SubmissionRecord, find_json, submission};
use pbtnas_core::search::MemberId;

/// The timeout of a query.
const PATIENCE: Duration = Duration::from_secs(20);

/// The jobs of a generation in the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    pub generation: u32,
    /// Training tasks.
    pub tasks: Vec<Job>,
    /// Controller jobs.
    pub steps: Vec<Job>,
    /// The array task that each member was last submitted in, as SLURM writes it (`12_3`).
    pub task_of: BTreeMap<MemberId, String>,
}

/// Queries the jobs of a generation; none if it was not submitted to SLURM.
pub fn query_queue(run: &Run, generation: u32) -> Result<Option<Queue>> {
    let dir = run.layout.generation(generation);
    let mut rounds = Vec::new();
    while let Some(record) = find_json::<SubmissionRecord>(&submission(&dir, rounds.len() as u32 + 1))? {
        rounds.push(record);
    }
    let names = rounds.iter().flat_map(|round| &round.job_names).filter(|name| is_own(&prefix(run), name));
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let (names, format) =
        (format!("--name={}", names.join(",")), format!("--format={}", parse::QUEUE_FORMAT));
    let output = ask("squeue", &["--noheader", "--array", &format, &names], PATIENCE)?;
    let per_task = run.config.slurm.members_per_task;
    let limit = match rounds.iter().any(|round| needs_limit(round, per_task)) {
        true => parse::max_array_size(&ask("scontrol", &["show", "config"], PATIENCE)?),
        false => None,
    };
    let jobs = parse::queue(&output).into_iter().filter(|job| job.state.alive());
    let (steps, tasks) = jobs.partition(|job| job.name.ends_with(super::STEP_SUFFIX));
    let task_of = tasks_of(&rounds, per_task, limit.unwrap_or(DEFAULT_MAX_ARRAY_SIZE));
    Ok(Some(Queue { generation, tasks, steps, task_of }))
}

/// Whether the array indices of a submission depend on the cluster's `MaxArraySize`.
fn needs_limit(round: &SubmissionRecord, per_task: u32) -> bool {
    let far = |member: &MemberId| member.0 / per_task.max(1) >= DEFAULT_MAX_ARRAY_SIZE;
    round.arrays.len() > 1 || round.members.iter().any(far)
}

/// The array task of each member; the last submission counts.
fn tasks_of(rounds: &[SubmissionRecord], per_task: u32, limit: u32) -> BTreeMap<MemberId, String> {
    let mut tasks = BTreeMap::new();
    for round in rounds {
        let chunks = chunks(&round.members, per_task, limit);
        for &member in &round.members {
            let group = member.0 / per_task.max(1);
            let of = chunks.iter().zip(&round.arrays).find_map(|(chunk, array)| {
                let index = group.checked_sub(chunk.offset)?;
                chunk.indices.binary_search(&index).ok().map(|_| format!("{array}_{index}"))
            });
            tasks.extend(of.map(|task| (member, task)));
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::run::FORMAT;

    #[test]
    fn array_tasks_follow_from_the_submissions() {
        let round = |members: &[u32], arrays: &[&str]| SubmissionRecord {
            format: FORMAT,
            job_names: Vec::new(),
            arrays: arrays.iter().map(|id| (*id).to_owned()).collect(),
            step: None,
            members: members.iter().copied().map(MemberId).collect(),
            at: chrono::Utc::now(),
        };
        let first = round(&[0, 1, 2, 3, 4, 5, 6, 7, 8], &["50", "51"]);
        let task = |rounds: &[SubmissionRecord], member| tasks_of(rounds, 2, 3).remove(&MemberId(member));
        let rounds = [first, round(&[8], &["60"])];
        assert_eq!(task(&rounds[..1], 0).as_deref(), Some("50_0"));
        assert_eq!(task(&rounds[..1], 5).as_deref(), Some("50_2"));
        assert_eq!(task(&rounds[..1], 6).as_deref(), Some("51_0"));
        assert_eq!(task(&rounds, 8).as_deref(), Some("60_1"), "the last submission counts");
        assert_eq!(task(&rounds, 7).as_deref(), Some("51_0"));

        // The submitted array belongs to the second chunk of members.
        let far = round(&[2003], &["70"]);
        assert!(needs_limit(&far, 1) && !needs_limit(&far, 3) && needs_limit(&rounds[0], 2));
        let tasks = tasks_of(&[far], 1, DEFAULT_MAX_ARRAY_SIZE);
        assert_eq!(tasks[&MemberId(2003)], "70_1");
    }
}

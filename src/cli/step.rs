use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use pbtnas_engine::run::Run;
use pbtnas_engine::scheduler::Search;
use pbtnas_engine::scheduler::slurm;
use pbtnas_engine::scheduler::slurm::StepOutcome;

/// Advance a search by one generation on SLURM: read results, select, mix, submit, exit.
///
/// Idempotent and safe to run concurrently. The controller job that it submits runs it again after the members have
/// trained. If the job chain stops, run it to resume.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas step --state runs/first")]
pub struct StepArgs {
    #[command(flatten)]
    state: StateArg,
}

impl StepArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let program = std::env::current_exe().context("failed to find this program")?;
        match slurm::step(&Search { run: &run, task: run.config.task().as_ref() }, &program)? {
            StepOutcome::Finished { generation } => println!(
                "finished: generation {generation} was the last (pbtnas best --state {})",
                run.layout.root().display()
            ),
            StepOutcome::Submitted { generation, members, arrays, step } => println!(
                "generation {generation}: submitted {members} member(s) as job(s) {}, the controller job as {step}",
                if arrays.is_empty() { "-".to_owned() } else { arrays.join(", ") },
            ),
            StepOutcome::Waiting { generation, missing, tasks } => println!(
                "generation {generation}: {missing} member(s) without a result, {tasks} task(s) in the queue, \
                 the controller job waits for them"
            ),
        }
        Ok(0)
    }
}

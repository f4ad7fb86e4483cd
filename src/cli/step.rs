use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use crate::scheduler::Search;
use crate::scheduler::slurm::{self, Stepped};
use crate::state::Run;

/// Bring a run forward on a SLURM cluster: read results, select, mix, submit, exit.
///
/// Call it at any time, as often as you like: it does what is left to do, and nothing twice. Jobs that it
/// submits call it again when the members are trained.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas step --state runs/first")]
pub struct Step {
    #[command(flatten)]
    state: StateArg,
}

impl Step {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let program = std::env::current_exe().context("failed to find this program")?;
        match slurm::step(&Search { run: &run, task: run.config.task()?.as_ref() }, &program)? {
            Stepped::Finished { generation } => println!(
                "finished: generation {generation} was the last (pbtnas best --state {})",
                run.layout.root().display()
            ),
            Stepped::Submitted { generation, members, arrays, step } => println!(
                "generation {generation}: submitted {members} member(s) as job(s) {}, the next step as job {step}",
                if arrays.is_empty() { "-".to_owned() } else { arrays.join(", ") },
            ),
            Stepped::Waiting { generation, missing, tasks } => println!(
                "generation {generation}: {missing} member(s) without a result, {tasks} task(s) in the queue, \
                 the next step waits behind them"
            ),
        }
        Ok(0)
    }
}

use anyhow::{Context, Result};
use clap::Args;

use pbtnas_engine::scheduler::pool::Watcher;
use pbtnas_engine::scheduler::{JobSource, Workers, drive};
use pbtnas_engine::signal::StopSignal;

/// Where a search or a soup runs.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    /// Members or candidates at a time; in a SLURM job, job steps. [default: `local.workers`, or one per core; in a SLURM
    /// job, as many as fit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// Use this machine only, even in a SLURM job.
    #[arg(long)]
    here: bool,
}

impl WorkersArgs {
    /// Runs a source of jobs to its end; after a signal, prints how to resume with `command` and returns false.
    pub fn drive(&self, source: &dyn JobSource, command: &str, watcher: &mut dyn Watcher) -> Result<bool> {
        let workers = Workers::find(&source.run().config, self.here, self.workers)?;
        let stop = StopSignal::listen(|_| {}).context("failed to listen for signals")?;
        if let Workers::Job(job) = &workers {
            println!("{}", job.describe(source.units_per_task()));
            job.watch_time(&stop);
        }
        let program = std::env::current_exe().context("failed to find this program")?;
        let finished = drive(source, &program, &workers, &stop, watcher)?;
        if !finished {
            println!("stopped; {}", workers.after(&stop, command));
        }
        Ok(finished)
    }
}

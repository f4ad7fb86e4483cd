use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::doctor::{Printer, Request, summary};
use pbtnas_engine::signal::StopSignal;

/// Check whether this machine, the filesystem and the cluster have what a search needs.
///
/// Checks the program and its libraries, the filesystem of the run (hard links, fsync, locks, free space), the SLURM
/// commands, the resources that the configuration requests and, with a short job, whether a node runs this program and
/// shares files with this machine. Removes all files and the job afterwards.
///
/// Exit code: 0 without problems (warnings are allowed), otherwise that of the first problem: 1 the program does not
/// work here; 3 invalid configuration, or it requests what the cluster does not have; 5 SLURM does not answer or would
/// reject the jobs; 74 the filesystem does not support a run; 75 stopped by a signal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas doctor --config my.toml --state runs/first\n  \
    pbtnas doctor --state /scratch/me --no-jobs")]
pub struct DoctorArgs {
    /// Configuration file. [default: that of the run in --state, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run directory, existing or planned; if missing, its nearest existing parent is checked.
    #[arg(long, value_name = "DIR", default_value = ".")]
    state: PathBuf,
    /// Submit no job.
    #[arg(long)]
    no_jobs: bool,
    /// Maximum time that the job may wait in the queue, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    pub fn run(self) -> Result<u8> {
        let stop = StopSignal::listen_at_terminal(|_| {}).context("failed to listen for signals")?;
        let request = Request {
            config: self.config,
            state: self.state,
            jobs: !self.no_jobs,
            wait: Duration::from_secs(self.wait),
        };
        let mut printer = Printer::default();
        // A closed pipe must not panic: the trial folder and the job are still to be removed.
        let mut printed = Ok(());
        let mut print = |text: &str| {
            if printed.is_ok() {
                printed = std::io::stdout().write_all(text.as_bytes());
            }
        };
        let report = request.run(&stop, &mut |finding| {
            if !self.json {
                print(&printer.lines(finding));
            }
        })?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
        } else {
            let stopped =
                stop.get().map_or(String::new(), |signal| format!("stopped by {}; so far, ", signal.name()));
            print(&format!("\n{stopped}{}\n", summary(&report.findings)));
        }
        match printed {
            Err(error) if error.kind() != ErrorKind::BrokenPipe && stop.get().is_none() => {
                Err(error).context("failed to print the findings; redirect the output elsewhere")
            }
            _ => Ok(report.exit_code),
        }
    }
}

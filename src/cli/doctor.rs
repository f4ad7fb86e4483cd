use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::doctor::{Patient, Printer, summary};
use crate::signal::StopSignal;

/// Tell what would go wrong with a search, before any of its jobs is submitted.
///
/// It tries the program and its libraries, the filesystem of the run (hard links, fsync, locks, room), the commands of
/// SLURM, what the configuration asks of the cluster, and, with a job of a few seconds, how late this machine and a
/// node see each other's files. Everything that it makes is removed again, the job too.
///
/// Exit code 0 if nothing stands in the way (warnings are allowed), else that of the first problem: 1 this program does
/// not work here; 3 the configuration is wrong, or asks for what the cluster does not have; 5 SLURM does not answer or
/// would refuse the jobs; 74 the filesystem does not do what a run needs; 75 stopped by a signal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas doctor --config my.toml --state runs/first\n  \
    pbtnas doctor --state /scratch/me --no-jobs")]
pub struct Doctor {
    /// The configuration of the search; by default that of the run in --state, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the run is or will be; if it is not there, the nearest folder above it is tried.
    #[arg(long, value_name = "DIR", default_value = ".")]
    state: PathBuf,
    /// Submit no job.
    #[arg(long)]
    no_jobs: bool,
    /// How long the job may wait in the queue.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<u8> {
        let stop = StopSignal::listen_at_terminal(|_| {}).context("failed to listen for signals")?;
        let patient = Patient {
            config: self.config,
            state: self.state,
            jobs: !self.no_jobs,
            wait: Duration::from_secs(self.wait),
        };
        let mut printer = Printer::default();
        // Nobody may be left who reads: what was made must be removed all the same, so this does not panic.
        let mut printed = Ok(());
        let mut print = |text: &str| {
            if printed.is_ok() {
                printed = std::io::stdout().write_all(text.as_bytes());
            }
        };
        let report = patient.examine(&stop, &mut |finding| {
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
                Err(error).context("failed to print what was found; print to another place")
            }
            _ => Ok(report.exit_code),
        }
    }
}

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::watch::{follow, show};
use pbtnas_engine::run::Run;

/// Watch a search: members, jobs, time and cost.
///
/// On a terminal, shows a full screen (q quits). Elsewhere, and with --json, prints a line per event from the start of
/// the search to its end. Writes nothing to the run, and spends less than a tenth of the time reading.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas watch --state runs/first\n  pbtnas watch --state runs/first --interval 60\n  \
    pbtnas watch --state runs/first | tee log\n  pbtnas watch --state runs/first --json | jq -c 'select(.event == \"done\")'"
)]
pub struct WatchArgs {
    #[command(flatten)]
    state: StateArg,
    /// Minimum refresh interval, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    interval: u32,
    /// Print events as JSON lines.
    #[arg(long)]
    json: bool,
}

impl WatchArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let interval = Duration::from_secs(self.interval.into());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if self.json || dumb || !std::io::stdout().is_terminal() {
            follow(&run, interval, self.json, &mut std::io::stdout().lock())?;
        } else {
            show(run, interval)?;
        }
        Ok(0)
    }
}

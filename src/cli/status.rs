use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::report;
use pbtnas_engine::run::Run;

/// Show the progress of a run, and each member of its latest generation.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas status --state runs/first\n  pbtnas status --state runs/first --json"
)]
pub struct StatusArgs {
    #[command(flatten)]
    state: StateArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub fn run(self) -> Result<u8> {
        let status = report::status(&Run::open(&self.state.state)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&status)?);
        } else {
            print!("{}", report::status_table(&status));
        }
        Ok(0)
    }
}

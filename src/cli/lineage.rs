use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::report::{Reference, lineage, lineage_text};
use pbtnas_engine::run::Run;

/// Show the lineage of a member: its ancestors, and the members that each variable was inherited from.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas lineage --state runs/first\n  pbtnas lineage 7/3 --state runs/first --json"
)]
pub struct LineageArgs {
    /// Member: `best`, `3` (latest generation) or `7/3` (generation 7).
    #[arg(default_value = "best", value_name = "MEMBER")]
    member: Reference,
    #[command(flatten)]
    state: StateArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl LineageArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let lineage = lineage(&run, self.member.member(&run)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&lineage)?);
        } else {
            print!("{}", lineage_text(&lineage, &run.space));
        }
        Ok(0)
    }
}

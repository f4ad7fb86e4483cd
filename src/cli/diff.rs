use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::report::{Reference, difference, difference_text};
use pbtnas_engine::run::Run;

/// Compare two networks: the variables that differ, and the founders of their values.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas diff 6/3 7/3 --state runs/first\n  \
    pbtnas diff best other/genotype.json --state runs/first --json")]
pub struct DiffArgs {
    /// Network: `best`, `3` (latest generation), `7/3` (generation 7), or a genotype file.
    #[arg(value_name = "A")]
    a: Reference,
    /// Network to compare A with.
    #[arg(value_name = "B")]
    b: Reference,
    #[command(flatten)]
    state: StateArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl DiffArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let (a, b) = (self.a.find(&run)?, self.b.find(&run)?);
        let difference = difference(&run, &a, &b)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&difference)?);
        } else {
            let ranges: Vec<&str> = run.space.ranges().map(|(name, _)| name).collect();
            print!("{}", difference_text(&difference, &ranges));
        }
        Ok(0)
    }
}

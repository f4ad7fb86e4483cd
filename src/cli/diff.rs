use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::report::{Reference, difference, difference_text};
use crate::state::Run;

/// Compare two networks in words: which variables differ, and how the two are related.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas diff 6/3 7/3 --state runs/first\n  \
    pbtnas diff best other/genotype.json --state runs/first --json")]
pub struct Diff {
    /// A network: `best`, `3` (of the latest generation), `7/3` (of generation 7), or the file of a genotype.
    #[arg(value_name = "A")]
    a: Reference,
    /// Another one.
    #[arg(value_name = "B")]
    b: Reference,
    #[command(flatten)]
    state: StateArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let (a, b) = (self.a.find(&run)?, self.b.find(&run)?);
        let difference = difference(&run, run.config.task()?.as_ref(), &a, &b)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&difference)?);
        } else {
            print!("{}", difference_text(&difference));
        }
        Ok(0)
    }
}

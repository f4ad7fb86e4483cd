use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::report::export::{Format, export};
use crate::report::history::History;
use crate::state::Run;

/// Write a run for other programs: TensorBoard's event files, tables as CSV and as JSON lines.
///
/// TensorBoard sees a run for each member (`tensorboard --logdir DIR/tensorboard`) and one for the population. The tables
/// are members, curves and attempts. Call it again while a search goes on: event files grow by what is new, and a
/// TensorBoard that is open shows it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas export --state runs/first --output first\n  pbtnas export --state runs/first --output first --format csv"
)]
pub struct Export {
    #[command(flatten)]
    state: StateArg,
    /// The folder to write into.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// What to write, several times if need be. [default: everything]
    #[arg(long, value_enum)]
    format: Vec<Format>,
}

impl Export {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let history = History::read(&run)?;
        let all = [Format::Tensorboard, Format::Csv, Format::Jsonl];
        let formats = if self.format.is_empty() { &all[..] } else { &self.format };
        for path in export(&run, &history, &self.output, formats)? {
            println!("{}", path.display());
        }
        Ok(0)
    }
}

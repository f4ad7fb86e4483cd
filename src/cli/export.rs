use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::report::export::{ExportFormat, export};
use crate::report::history::History;
use pbtnas_engine::run::Run;

/// Export a run: TensorBoard event files, and tables (members, curves, attempts) as CSV and JSON lines.
///
/// `tensorboard --logdir DIR/tensorboard` shows one TensorBoard run per member and one for the population. Repeat the
/// command during a search to append new data to the event files; an open TensorBoard shows it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas export --state runs/first --output first\n  pbtnas export --state runs/first --output first --format csv"
)]
pub struct ExportArgs {
    #[command(flatten)]
    state: StateArg,
    /// Output folder.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Format; may be repeated. [default: all]
    #[arg(long, value_enum)]
    format: Vec<ExportFormat>,
}

impl ExportArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let history = History::read(&run)?;
        let all = [ExportFormat::Tensorboard, ExportFormat::Csv, ExportFormat::Jsonl];
        let formats = if self.format.is_empty() { &all[..] } else { &self.format };
        for path in export(&run, &history, &self.output, formats)? {
            println!("{}", path.display());
        }
        Ok(0)
    }
}

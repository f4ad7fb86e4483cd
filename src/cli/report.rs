use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use crate::report::page;
use crate::state::Run;

/// Write a report: one HTML file for a browser, a phone, or paper, that needs no network.
///
/// It shows fitness over epochs with who came from whom, pictures, where the best network's variables came from, how
/// often options occur, curves, soups, cost and configuration. Write it whenever you like, of a search that still goes
/// on, too. Pictures of the best member are in it if `pbtnas best` has put them into the folder of the run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas report --state runs/first\n  pbtnas report --state runs/first --output first.html --plots plots"
)]
pub struct Report {
    #[command(flatten)]
    state: StateArg,
    /// The file. [default: report.html in the run's directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Writes every chart into this folder, too, as SVG and PNG files.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Report {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let report = page::Report::read(&run)?;
        let output = self.output.unwrap_or_else(|| run.layout.root().join("report.html"));
        fs::write(&output, report.html()).with_context(|| format!("failed to write {}", output.display()))?;
        println!("{}", output.display());
        if let Some(folder) = &self.plots {
            let count = report.write_plots(folder)?;
            println!("{count} charts, as SVG and PNG files, in {}", folder.display());
        }
        Ok(0)
    }
}

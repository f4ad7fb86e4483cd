use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use crate::report::page;
use pbtnas_engine::run::Run;

/// Write a report of a run as one self-contained HTML file.
///
/// Shows fitness over epochs with lineage, images, the origin of the best network's variables, option frequencies,
/// curves, soups, cost and configuration. Works during a search. Images of the best member are included after `pbtnas
/// best`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas report --state runs/first\n  pbtnas report --state runs/first --output first.html --plots plots"
)]
pub struct ReportArgs {
    #[command(flatten)]
    state: StateArg,
    /// Output file. [default: report.html in the run directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also write every chart into this folder, as SVG and PNG.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl ReportArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let report = page::PageData::read(&run)?;
        let output = self.output.unwrap_or_else(|| run.layout.root().join("report.html"));
        fs::write(&output, report.html()).with_context(|| format!("failed to write {}", output.display()))?;
        println!("{}", output.display());
        if let Some(folder) = &self.plots {
            let count = report.write_plots(folder)?;
            println!("{count} charts as SVG and PNG in {}", folder.display());
        }
        Ok(0)
    }
}

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use crate::report::export_best;
use pbtnas_engine::run::Run;

/// Export the best network so far: weights (safetensors), genotype, lineage, images.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas best --state runs/first --output best")]
pub struct BestArgs {
    #[command(flatten)]
    state: StateArg,
    /// Output folder. [default: best in the run directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the record of the best member as JSON instead of the file names.
    #[arg(long)]
    json: bool,
}

impl BestArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let output = self.output.unwrap_or_else(|| run.layout.root().join("best"));
        let best = run.best()?.with_context(|| run.no_best())?;
        let files = export_best(&run, &best, &output)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&best)?);
            return Ok(0);
        }
        println!("member {} of generation {}, fitness {:.4}", best.member, best.generation, best.fitness);
        for path in files {
            println!("{}", path.display());
        }
        Ok(0)
    }
}

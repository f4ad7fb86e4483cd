use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use crate::report::export_best;
use crate::state::Run;

/// Export the best network so far: safetensors, genotype, images.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas best --state runs/first --output best")]
pub struct Best {
    #[command(flatten)]
    state: StateArg,
    /// Directory for the files; by default `best` in the run's directory.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Best {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        let output = self.output.unwrap_or_else(|| run.layout.root().join("best"));
        let best = run
            .best()?
            .context("no generation is trained yet, so there is no best member: see `pbtnas status`")?;
        println!("member {} of generation {}, fitness {:.4}", best.member, best.generation, best.fitness);
        for path in export_best(&run, &best, &output)? {
            println!("{}", path.display());
        }
        Ok(0)
    }
}

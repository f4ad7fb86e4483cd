use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::StateArg;
use crate::report::Reference;
use crate::report::diagram::{DrawFormat, draw};
use pbtnas_engine::run::Run;

/// Draw the forward pass of an architecture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    pbtnas draw best --state runs/first --output best.svg\n  \
    pbtnas draw 7/3 --against 6/3 --state runs/first --output child.svg\n  \
    pbtnas draw best --state runs/first | dot -Tpdf > best.pdf")]
pub struct DrawArgs {
    /// Network: `best`, `3` (latest generation), `7/3` (generation 7), or a genotype file.
    #[arg(default_value = "best", value_name = "MEMBER")]
    member: Reference,
    #[command(flatten)]
    state: StateArg,
    /// Output file, .svg or .dot (Graphviz). [default: print DOT, as with `-`]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Highlight the differences from this network.
    #[arg(long, value_name = "MEMBER")]
    against: Option<Reference>,
}

impl DrawArgs {
    pub fn run(self) -> Result<u8> {
        let output = self.output.filter(|path| path != Path::new("-"));
        let format = output.as_deref().map_or(Ok(DrawFormat::Dot), DrawFormat::of)?;
        let run = Run::open(&self.state.state)?;
        let of = self.member.find(&run)?;
        let against = self.against.map(|other| other.find(&run)).transpose()?;
        let text = draw(&run, run.config.task().as_ref(), &of, against.as_ref(), format)?;
        match output {
            Some(path) => {
                fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
                println!("{}", path.display());
            }
            None => print!("{text}"),
        }
        Ok(0)
    }
}

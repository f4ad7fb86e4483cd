use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use super::Cli;

/// Write manual pages, one per command.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pbtnas man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Output folder; created if missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManArgs {
    pub fn run(self) -> Result<u8> {
        let folder = &self.folder;
        fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        clap_mangen::generate_to(Cli::command(), folder)
            .with_context(|| format!("failed to write manual pages into {}", folder.display()))?;
        println!("{}", folder.display());
        Ok(0)
    }
}

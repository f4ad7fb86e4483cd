use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::config::Config;
use crate::rehearse::rehearse;
use crate::state::temporary_name;

/// Rehearse a configuration on this machine, before a search depends on it.
///
/// It makes networks, changes each variable alone and sees that its tensors are its own, trains an epoch, interrupts
/// it, goes on and evaluates. Most useful for a task of kind `command`. It works in a temporary folder, which is gone
/// afterwards.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas check --config examples/fashion-pytorch/search.toml")]
pub struct Check {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub fn run(self) -> Result<u8> {
        let config = Config::load(&self.config)?;
        super::settle(&config)?;
        let task = config.task()?;
        let folder = std::env::temp_dir().join(temporary_name("check"));
        std::fs::create_dir(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let mut tell = |line| println!("{line}");
        let rehearsed = rehearse(task.as_ref(), &config.settings(), config.seed, &folder, &mut tell);
        let _ = std::fs::remove_dir_all(&folder);
        rehearsed?;
        println!("ready: pbtnas run --config {} --state DIR", self.config.display());
        Ok(0)
    }
}

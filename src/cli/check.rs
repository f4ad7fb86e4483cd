use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use pbtnas_core::durable_fs::temporary_name;
use pbtnas_engine::config::Config;
use pbtnas_engine::rehearse::rehearse;

/// Check a configuration with a short rehearsal on this machine.
///
/// Creates networks, changes each variable alone and checks which tensors change, trains an epoch, interrupts it,
/// resumes and evaluates. Most useful for the task `command`. Uses a temporary folder, which is removed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas check --config examples/fashion-pytorch/search.toml")]
pub struct CheckArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl CheckArgs {
    pub fn run(self) -> Result<u8> {
        let config = Config::load(&self.config)?;
        super::apply_environment(&config)?;
        let task = config.task();
        let folder = std::env::temp_dir().join(temporary_name("check"));
        std::fs::create_dir(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let mut print = |line| println!("{line}");
        let rehearsed = rehearse(task.as_ref(), &config.settings(), config.seed, &folder, &mut print);
        let _ = std::fs::remove_dir_all(&folder);
        rehearsed?;
        println!("ready: pbtnas run --config {} --state DIR", self.config.display());
        Ok(0)
    }
}

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::StateArg;
use pbtnas_core::durable_fs::Published;
use pbtnas_engine::config::Config;
use pbtnas_engine::create::create;

/// Create a run directory from a configuration.
///
/// Idempotent: repeating it with the same configuration changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas init --config configs/fashion-small.toml --state runs/first")]
pub struct InitArgs {
    /// Configuration file (examples: configs/).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    state: StateArg,
    /// Replace the configuration's seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
}

impl InitArgs {
    pub fn run(self) -> Result<u8> {
        let mut config = Config::load(&self.config)?;
        config.seed = self.seed.unwrap_or(config.seed);
        super::apply_environment(&config)?;
        let (run, published) = create(&self.state.state, &config, config.task().as_ref())?;
        let what = match published {
            Published::Created => "created in",
            Published::Existed => "already exists:",
        };
        println!(
            "run {} {what} {} ({} variables, population {}, {} epochs)",
            run.record.run_id,
            run.layout.root().display(),
            run.space.variables.len(),
            run.config.search.population,
            run.config.search.epochs,
        );
        Ok(0)
    }
}

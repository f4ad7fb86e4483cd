use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::report::{SpaceDocument, space_table};
use pbtnas_engine::config::Config;

/// Show the search space: variables, options, the layers of each variable, and the number of architectures.
#[derive(Debug, Args)]
#[command(
    name = "space",
    after_help = "Example:\n  pbtnas space --config configs/paper/cifar10-gan-hard/pbt-nas.toml"
)]
pub struct SpaceArgs {
    /// Configuration file; its data set is not needed.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON: `variables` as in space.json, and `architectures` as a string.
    #[arg(long)]
    json: bool,
}

impl SpaceArgs {
    pub fn run(self) -> Result<u8> {
        let space = Config::load(&self.config)?.space();
        if self.json {
            let architectures = space.size().to_string();
            println!("{}", serde_json::to_string_pretty(&SpaceDocument { space, architectures })?);
        } else {
            print!("{}", space_table(&space));
        }
        Ok(0)
    }
}

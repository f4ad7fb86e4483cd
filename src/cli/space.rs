use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::config::Config;
use crate::report::{SpaceDocument, space_table};

/// Show what is searched: variables, options, the layers that each owns, and how many architectures there are.
#[derive(Debug, Args)]
#[command(
    name = "space",
    after_help = "Example:\n  pbtnas space --config configs/paper/cifar10-gan-hard/pbt-nas.toml"
)]
pub struct ShowSpace {
    /// A configuration; its data need not be there.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON: `variables` as in a run's space.json, and `architectures` as text.
    #[arg(long)]
    json: bool,
}

impl ShowSpace {
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

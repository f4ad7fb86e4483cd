use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::doctor::answer;

/// Answer the questions of a `pbtnas doctor` through the folder that it made; what its job calls.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas answer --state FOLDER")]
pub struct Answer {
    #[command(flatten)]
    folder: StateArg,
}

impl Answer {
    pub fn run(self) -> Result<u8> {
        answer(&self.folder.state)?;
        Ok(0)
    }
}

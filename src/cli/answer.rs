use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::doctor::answer;

/// Write what this node sees into the trial folder of `pbtnas doctor` (called by its job).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas answer --state FOLDER")]
pub struct AnswerArgs {
    #[command(flatten)]
    folder: StateArg,
    /// Maximum time to wait for a file of `pbtnas doctor`, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

impl AnswerArgs {
    pub fn run(self) -> Result<u8> {
        answer(&self.folder.state, Duration::from_secs(self.wait))?;
        Ok(0)
    }
}

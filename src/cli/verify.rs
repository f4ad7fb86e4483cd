use anyhow::Result;
use clap::Args;

use super::StateArg;
use crate::error::STATE;
use crate::state::{Run, verify};

/// Check a whole run: every record, every file that a record names, every decision.
///
/// Exit code 0 if it is sound, 4 if there are faults.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas verify --state runs/first")]
pub struct Verify {
    #[command(flatten)]
    state: StateArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<u8> {
        let faults = verify(&Run::open(&self.state.state)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&faults)?);
        } else if faults.is_empty() {
            println!("sound: every record, file and decision is as it should be");
        } else {
            for fault in &faults {
                let path = fault.path.display().to_string();
                // Most say which file they are about.
                match fault.what.contains(&path) {
                    true => println!("{}", fault.what),
                    false => println!("{path}: {}", fault.what),
                }
            }
        }
        Ok(if faults.is_empty() { 0 } else { STATE })
    }
}

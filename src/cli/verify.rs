use anyhow::Result;
use clap::Args;

use super::StateArg;
use pbtnas_core::run::verify;
use pbtnas_engine::fault::exit::STATE;
use pbtnas_engine::run::Run;

/// Verify a run: every record, every file that a record names, every decision.
///
/// Exit code: 0 if the run is valid, 4 if problems were found.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas verify --state runs/first")]
pub struct VerifyArgs {
    #[command(flatten)]
    state: StateArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    pub fn run(self) -> Result<u8> {
        let problems = verify(&*Run::open(&self.state.state)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&problems)?);
        } else if problems.is_empty() {
            println!("valid: no faults in records, files and decisions");
        } else {
            for problem in &problems {
                let path = problem.path.display().to_string();
                // Most messages contain the path.
                match problem.what.contains(&path) {
                    true => println!("{}", problem.what),
                    false => println!("{path}: {}", problem.what),
                }
                if let Some(hint) = &problem.hint {
                    println!("  hint: {hint}");
                }
            }
        }
        Ok(if problems.is_empty() { 0 } else { STATE })
    }
}

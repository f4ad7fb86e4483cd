//! Schedulers: members train on this machine ([`local`]), or on a SLURM cluster as jobs or as steps of one job
//! ([`slurm`]).

mod drive;
pub mod local;
pub mod pool;
pub mod slurm;
mod work;

pub use drive::{Workers, drive};
pub use work::{JobSource, Search, member_log};

impl SchedulerError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let missing =
            "SLURM's commands are not available here; `pbtnas run` trains on this machine without them";
        matches!(self, Self::Start { .. }).then(|| missing.into())
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if slurm::parse::is_transient(message))
    }
}

/// A failed command of the scheduler.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error("failed to run {command}: {source}")]
    Start { command: String, source: std::io::Error },
    #[error("{command} failed: {message}")]
    Refused {
        /// The command with its arguments.
        command: String,
        /// The command's stderr.
        message: String,
    },
    #[error("unexpected output of {command}: {output:?}")]
    Output { command: String, output: String },
}

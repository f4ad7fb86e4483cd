//! Where members train: on this machine ([`local`]), or as jobs of a SLURM cluster or steps within one of them
//! ([`slurm`]).

pub mod local;
pub mod parse;
pub mod pool;
pub mod script;
pub mod slurm;
mod work;

use crate::config::SlurmConfig;
pub use work::{Search, Work, member_log};

/// GPUs that a member has while it trains as a job: one that four members share is a quarter for each.
pub fn gpus_of_a_member(slurm: &SlurmConfig) -> f64 {
    let gpus = slurm.gres.as_deref().map_or(0, parse::gpus);
    f64::from(gpus) / f64::from(slurm.members_per_task.max(1))
}

impl SchedulerError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if parse::is_transient(message))
    }
}

/// Why a scheduler could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// One of its commands cannot be started.
    #[error(
        "failed to run {command}: {source} (is this a machine of a SLURM cluster? `pbtnas run` trains on this \
         machine without one)"
    )]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// One of its commands failed.
    #[error("{command} failed: {message}")]
    Refused {
        /// The command with its arguments.
        command: String,
        /// What it printed.
        message: String,
    },
    /// One of its commands printed something unexpected.
    #[error("{command} printed {output:?}, which is not understood")]
    Output {
        /// The command.
        command: String,
        /// What it printed.
        output: String,
    },
}

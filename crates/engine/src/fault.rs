//! The kind of failure that an error is, and the exit codes of the program.

use pbtnas_core::checkpoint::CheckpointError;
use pbtnas_core::durable_fs::StorageError;
use pbtnas_core::fault::{Fault, storage_refusal};
use pbtnas_core::run::StateError;

use crate::config::ConfigError;
use crate::scheduler::SchedulerError;

/// Classifies an error by its causes.
pub fn fault_of(error: &anyhow::Error) -> Fault {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return Fault::Config;
        }
        if cause.is::<SchedulerError>() {
            return Fault::Scheduler;
        }
        if storage_refusal(cause) {
            return Fault::Io;
        }
    }
    let damaged = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<StateError>() || cause.is::<CheckpointError>() || cause.is::<StorageError>()
    };
    if error.chain().any(damaged) { Fault::Damaged } else { Fault::Member }
}

/// What the user can do about an error, if its message does not say so.
pub fn hint_of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        match (cause.downcast_ref::<StateError>(), cause.downcast_ref::<SchedulerError>()) {
            (Some(error), _) => error.hint(),
            (_, Some(error)) => error.hint(),
            _ => None,
        }
    })
}

/// Exit codes. Scripts and schedulers rely on them, and so do processes that train members for another one.
pub mod exit {
    /// A failure without its own code, including a failed training.
    pub const FAILED: u8 = 1;
    /// The configuration is wrong; retrying does not help.
    pub const CONFIG: u8 = 3;
    /// The run directory is wrong or damaged; `pbtnas verify` names the problems.
    pub const STATE: u8 = 4;
    /// The scheduler did not answer or rejected the request; retrying later may help.
    pub const SCHEDULER: u8 = 5;
    /// A filesystem operation failed (full, read-only, unmounted). After the repair, the same command resumes
    /// (EX_IOERR).
    pub const IO: u8 = 74;
    /// Stopped by a signal; work is saved, the same command resumes (EX_TEMPFAIL).
    pub const STOPPED: u8 = 75;
    /// Another process does this work already.
    pub const BUSY: u8 = 76;
}

/// The exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match fault_of(error) {
        Fault::Member => exit::FAILED,
        Fault::Config => exit::CONFIG,
        Fault::Damaged => exit::STATE,
        Fault::Scheduler => exit::SCHEDULER,
        Fault::Io => exit::IO,
    }
}

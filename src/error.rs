//! Exit codes. Scripts and schedulers may rely on them.

use crate::checkpoint::CheckpointError;
use crate::config::ConfigError;
use crate::scheduler::SchedulerError;
use crate::state::StateError;

/// Anything that has no code of its own, a member's training among it.
pub const FAILED: u8 = 1;
/// The command line is wrong (clap's code).
pub const USAGE: u8 = 2;
/// The configuration is wrong; trying again will not help.
pub const CONFIG: u8 = 3;
/// The directory of the run is wrong or damaged; `pbtnas verify` names the faults.
pub const STATE: u8 = 4;
/// The scheduler did not answer or refused; trying again later may help.
pub const SCHEDULER: u8 = 5;
/// The filesystem refused (full, read-only, broken, gone); the same command goes on once it is mended (EX_IOERR).
pub const IO: u8 = 74;
/// A signal asked to leave; work is saved, the same command goes on from there (EX_TEMPFAIL).
pub const STOPPED: u8 = 75;
/// Another process is at this work already.
pub const BUSY: u8 = 76;

/// Whether an error comes from the filesystem and not from what is in its files: trying again later may help.
pub fn is_hindrance(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>())
}

/// An error and its causes in one line, none said twice.
pub fn message(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// The exit code for an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return CONFIG;
        }
        if cause.is::<SchedulerError>() {
            return SCHEDULER;
        }
        match cause.downcast_ref::<std::io::Error>() {
            Some(error) if error.kind() != std::io::ErrorKind::NotFound => return IO,
            _ => {}
        }
    }
    if error.chain().any(|cause| cause.is::<StateError>() || cause.is::<CheckpointError>()) {
        return STATE;
    }
    FAILED
}

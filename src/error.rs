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
/// A signal asked to leave; work is saved, the same command goes on from there (EX_TEMPFAIL).
pub const STOPPED: u8 = 75;
/// Another process is at this work already.
pub const BUSY: u8 = 76;

/// The exit code for an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return CONFIG;
        }
        if cause.is::<SchedulerError>() {
            return SCHEDULER;
        }
        if cause.is::<StateError>() || cause.is::<CheckpointError>() {
            return STATE;
        }
    }
    FAILED
}

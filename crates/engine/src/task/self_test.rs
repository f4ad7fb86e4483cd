//! Tests of a machine that a task's members need to pass, for `pbtnas doctor`.

use anyhow::Result;

/// A test and its outcome.
#[derive(Debug)]
pub struct SelfTest {
    /// What was tested, e.g. `GPU`.
    pub title: &'static str,
    /// What works, or why it does not.
    pub outcome: Result<String>,
    /// What would happen to members here if it does not.
    pub consequence: &'static str,
    pub advice: String,
    /// Members fail without it.
    pub required: bool,
    /// Another machine may have what this one lacks.
    pub depends_on_machine: bool,
}

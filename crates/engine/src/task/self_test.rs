//! Tests of a machine that must succeed before members of a task can train on it, for `pbtnas doctor`.

use anyhow::Result;

/// A test and its outcome.
#[derive(Debug)]
pub struct SelfTest {
    /// What was tested, e.g. `GPU`.
    pub title: &'static str,
    /// A description of the tested component, or the reason why the test failed.
    pub outcome: Result<String>,
    /// The consequence of a failure for members on this machine.
    pub consequence: &'static str,
    pub advice: String,
    /// Whether members fail if the test fails.
    pub required: bool,
    /// Whether the test may succeed on another machine.
    pub depends_on_machine: bool,
}

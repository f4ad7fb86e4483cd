//! Kinds of failures, and one-line error messages.

/// The kind of a failure. It determines whether the operation is retried, whether the failure counts against a member,
/// and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A member's training failed, or any other failure.
    Member,
    /// The configuration is wrong; retrying does not help.
    Config,
    /// The run directory is damaged or is not a run directory.
    Damaged,
    /// The scheduler did not answer or rejected the request; retrying later may help.
    Scheduler,
    /// The filesystem failed (full, read-only, unmounted); retrying later may help.
    Io,
}

/// Returns an error and its causes in one line, each cause once.
pub fn message(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Whether an error is an I/O error other than a missing file.
pub fn storage_refusal(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() != std::io::ErrorKind::NotFound)
}

/// Whether an I/O error is among the causes of an error, so that retrying later may help.
pub fn is_storage_failure(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>())
}

//! Errors of file operations.

use std::io;
use std::path::{Path, PathBuf};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} {}: {source}", path.display())]
pub struct StorageError {
    /// The operation, e.g. `read`.
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl StorageError {
    /// For `map_err` on the result of an operation on a file.
    pub fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.to_owned(), source }
    }
}

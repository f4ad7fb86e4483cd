//! What can be wrong with the directory of a run.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::search::SpaceError;

/// Why the directory of a run cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system said no.
    #[error("failed to {doing} {path}: {source}")]
    Io {
        /// What was tried, e.g. `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No run here.
    #[error("{0} is no run: it has no run.json (make one with `pbtnas init --config FILE --state {0}`)")]
    NoRun(PathBuf),
    /// A file is not what its name promises.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Written by a later program.
    #[error("{path} has format {found}, this program reads format {known}: use a newer pbtnas")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A run exists already, with another configuration.
    #[error(
        "{path} holds a run with another configuration: a run keeps the configuration that it began with; \
         choose another --state, or leave --config as it was"
    )]
    OtherConfig {
        /// The directory.
        path: PathBuf,
    },
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A genotype does not fit the space.
    #[error("{path}: {source}")]
    Space {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SpaceError,
    },
}

impl StateError {
    /// For `map_err`: an operation on a file failed.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// A damaged file.
    pub fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}

//! The command task: scripts with and without the Python helper, correct ones and faulty ones.

mod examples;
mod faults;
pub mod toy;

use std::path::{Path, PathBuf};

use crate::support::Search;

/// A Python with NumPy and PyTorch.
pub fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/oracle/bin/python")
}

/// One of the scripts beside this file.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/command").join(name)
}

/// Temporary files and folders in a run.
fn temporaries(search: &Search) -> Vec<PathBuf> {
    let paths = walkdir::WalkDir::new(&search.state).into_iter().map(|entry| entry.unwrap().into_path());
    let is_temporary =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp-"));
    paths.filter(is_temporary).collect()
}

//! Programs of the user's own as a task: through the helper and without it, well behaved and not.

mod examples;
mod faults;
mod toy;

use std::path::{Path, PathBuf};

/// A Python with NumPy and PyTorch.
pub fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/oracle/bin/python")
}

/// One of the scripts beside this file.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/command").join(name)
}

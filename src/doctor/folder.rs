//! A temporary folder next to the run directory, in which the filesystem and the nodes are tested.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pbtnas_core::durable_fs::{ensure_dir, temporary_name};
use pbtnas_core::run::{Layout, StateError, abandoned_dirs, drop_folder};

/// How long to retry the removal, which files that another machine has open can prevent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removed when dropped.
#[derive(Debug)]
pub struct TrialFolder {
    path: PathBuf,
}

/// Returns the run directory, or its nearest existing parent.
pub fn nearest(state: &Path) -> Result<PathBuf, StateError> {
    let root = Layout::of(state)?.root().to_owned();
    let there = root.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    Ok(there.to_owned())
}

impl TrialFolder {
    /// Creates the folder, and removes those of killed processes.
    pub fn new(parent: &Path) -> Result<Self, StateError> {
        abandoned_dirs(parent).iter().for_each(|folder| drop_folder(folder));
        let folder = Self { path: parent.join(temporary_name("doctor")) };
        // Constructed first: if the sync fails, the created folder is dropped with it.
        ensure_dir(&folder.path)?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TrialFolder {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = std::fs::remove_dir_all(&self.path) {
            if error.kind() == std::io::ErrorKind::NotFound {
                return;
            }
            if Instant::now() > until {
                // Standard error may be closed: do not panic.
                let _ = writeln!(
                    std::io::stderr(),
                    "pbtnas: failed to remove {}: {error}; remove it by hand",
                    self.path.display()
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_created_beside_the_run_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let parent = nearest(&dir.path().join("runs/first")).unwrap();
        assert_eq!(parent, dir.path());
        assert_eq!(nearest(dir.path()).unwrap(), dir.path());
        let folder = TrialFolder::new(&parent).unwrap();
        std::fs::write(folder.path().join("x"), "x").unwrap();
        drop(folder);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! A folder beside the run in which things are tried, and which is gone afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::state::{Layout, StateError, drop_folder, ensure_dir, left_folders, temporary_name};

/// How long files that another machine still has open may keep the folder from going.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct TrialFolder {
    path: PathBuf,
}

/// The directory of a run, or the nearest one above it that is there.
pub fn nearest(state: &Path) -> Result<PathBuf, StateError> {
    let root = Layout::of(state)?.root().to_owned();
    let there = root.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    Ok(there.to_owned())
}

impl TrialFolder {
    /// Makes it. What an earlier one left that was killed is removed.
    pub fn new(parent: &Path) -> Result<Self, StateError> {
        left_folders(parent).iter().for_each(|folder| drop_folder(folder));
        let folder = Self { path: parent.join(temporary_name("doctor")) };
        // If it is made but not synced, it is dropped with this.
        ensure_dir(&folder.path)?;
        Ok(folder)
    }

    /// Where it is.
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
                // Whoever read it may have left: no reason to panic.
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
    fn it_is_made_beside_the_run_and_leaves_nothing() {
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

//! Publishing: a file appears under its final name whole, once, and for good.
//!
//! Temporary name, write, fsync, hard link to the final name (which fails if that exists: the first writer
//! wins, on NFS too), fsync of the directory. A crash leaves at most a temporary file that nobody reads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::StateError;

/// Whether this call published the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It did.
    Created,
    /// Somebody else had before; theirs stands.
    Existed,
}

/// A file that is whole and on disk, but not yet under its final name.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
}

/// Prefix of temporary names.
pub const TEMPORARY: &str = ".tmp-";

/// Writes a temporary file in `dir` and brings it to disk; what `fill` returned comes back too.
pub fn stage<T, E: From<StateError>>(
    dir: &Path,
    fill: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<(Staged, T), E> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = nix::unistd::gethostname().unwrap_or_default();
    let name = format!(
        "{TEMPORARY}{}-{}-{}-{:08x}",
        host.to_string_lossy(),
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed),
        rand::random::<u32>(),
    );
    let staged = Staged { path: dir.join(name) };
    let io = |error| E::from(StateError::io("write", &staged.path)(error));
    let mut file = File::options().write(true).create_new(true).open(&staged.path).map_err(io)?;
    let filled = fill(&mut file)?;
    file.sync_all().map_err(io)?;
    Ok((staged, filled))
}

impl Staged {
    /// Gives the file its final name in its own directory, unless that is taken.
    pub fn publish(self, name: &str) -> Result<Published, StateError> {
        let path = self.path.with_file_name(name);
        let published = match fs::hard_link(&self.path, &path) {
            Ok(()) => Published::Created,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Over NFS the reply to a link that succeeded can be lost, and the repeated call says "exists".
                let links = fs::symlink_metadata(&self.path).map(|meta| meta.nlink()).unwrap_or(1);
                if links > 1 { Published::Created } else { Published::Existed }
            }
            Err(error) => return Err(StateError::io("publish", &path)(error)),
        };
        sync_parent(&path)?;
        Ok(published)
    }

    /// Gives the file its final name, in place of what has that name.
    fn replace(self, name: &str) -> Result<(), StateError> {
        let path = self.path.with_file_name(name);
        fs::rename(&self.path, &path).map_err(StateError::io("replace", &path))?;
        sync_parent(&path)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Fails after a rename, which took the temporary name away; nothing depends on it.
        let _ = fs::remove_file(&self.path);
    }
}

fn sync_parent(path: &Path) -> Result<(), StateError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(StateError::io("sync", parent))
}

/// Makes a directory and those above it.
pub fn ensure_dir(path: &Path) -> Result<(), StateError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(StateError::io("make the directory", path))?;
    sync_parent(path)
}

fn dir_and_name(path: &Path) -> Result<(&Path, &str), StateError> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(StateError::damaged(path, "no name for a file")),
    }
}

/// Publishes bytes under a path; the directory must exist.
pub fn publish_bytes(path: &Path, bytes: &[u8]) -> Result<Published, StateError> {
    let (dir, name) = dir_and_name(path)?;
    let (staged, ()) = stage(dir, |file| file.write_all(bytes).map_err(StateError::io("write", path)))?;
    staged.publish(name)
}

/// Publishes a record.
pub fn publish_json(path: &Path, record: &impl Serialize) -> Result<Published, StateError> {
    publish_bytes(path, &to_json(path, record)?)
}

/// Replaces a record that may change (best.json, heartbeats); readers see the old or the new one.
pub fn replace_json(path: &Path, record: &impl Serialize) -> Result<(), StateError> {
    let (dir, name) = dir_and_name(path)?;
    let bytes = to_json(path, record)?;
    let (staged, ()) = stage(dir, |file| file.write_all(&bytes).map_err(StateError::io("write", path)))?;
    staged.replace(name)
}

fn to_json(path: &Path, record: &impl Serialize) -> Result<Vec<u8>, StateError> {
    let mut bytes = serde_json::to_vec_pretty(record)
        .map_err(|error| StateError::io("write", path)(io::Error::from(error)))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writer_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(publish_json(&path, &1).unwrap(), Published::Created);
        assert_eq!(publish_json(&path, &2).unwrap(), Published::Existed);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        replace_json(&path, &3).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files are gone");
    }

    #[test]
    fn of_many_writers_one_wins_and_its_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let created: Vec<usize> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16)
                .map(|i| {
                    let path = &path;
                    scope.spawn(move || publish_json(path, &vec![i; 1000]).unwrap() == Published::Created)
                })
                .collect();
            let won: Vec<bool> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            (0..16).filter(|&i| won[i]).collect()
        });
        let value: Vec<usize> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(created.len(), 1);
        assert_eq!(value, vec![created[0]; 1000]);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let result = stage(dir.path(), |_| Err::<(), _>(StateError::NoRun("x".into())));
        assert!(result.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

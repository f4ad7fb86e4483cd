//! Publication: a file appears under its final name whole and once, and never changes.
//!
//! Write under a temporary name, fsync, hard link to the final name (which fails if that exists, on NFS too: the first
//! writer wins), fsync of the directory. A crash leaves at most an unused temporary file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;

use super::failpoint::reach;
use super::{StorageError, is_gone, machine};

/// Whether this call published the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    Created,
    /// Another process published it first; its file is kept.
    Existed,
}

/// A file that is complete and on disk, but not yet under its final name.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
}

/// The writer of a file that is being staged.
#[derive(Debug)]
pub struct Draft(File);

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        reach("write")?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prefix of temporary names.
pub const TEMPORARY: &str = ".tmp-";

/// Writes a temporary file in `dir` with `fill` and syncs it; also returns the result of `fill`.
pub fn stage<T, E: From<StorageError>>(
    dir: &Path,
    fill: impl FnOnce(&mut Draft) -> Result<T, E>,
) -> Result<(Staged, T), E> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = temporary_name(&COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    let staged = Staged { path: dir.join(name) };
    let io = |error| E::from(StorageError::at("write", &staged.path)(error));
    let create = || File::options().write(true).create_new(true).open(&staged.path);
    let mut draft = Draft(reach("create").and_then(|()| create()).map_err(io)?);
    let filled = fill(&mut draft)?;
    reach("fsync").and_then(|()| draft.0.sync_all()).map_err(io)?;
    Ok((staged, filled))
}

/// Stages an existing file, which must not be modified any more, by linking it to a temporary name in `dir` on the
/// same filesystem.
pub fn stage_link(file: &Path, dir: &Path) -> Result<Staged, StorageError> {
    let sync = || File::open(file).and_then(|file| file.sync_all());
    reach("fsync").and_then(|()| sync()).map_err(StorageError::at("sync", file))?;
    let staged = Staged { path: dir.join(temporary_name("link")) };
    link(file, &staged.path)?;
    Ok(staged)
}

impl Staged {
    /// Links the file to its final name in the same directory, unless that exists.
    pub fn publish(self, name: &str) -> Result<Published, StorageError> {
        let path = self.path.with_file_name(name);
        link(&self.path, &path)
    }

    /// Renames the file to its final name and replaces an existing file.
    pub fn replace(self, name: &str) -> Result<(), StorageError> {
        let path = self.path.with_file_name(name);
        let rename = || fs::rename(&self.path, &path);
        reach("rename").and_then(|()| rename()).map_err(StorageError::at("replace", &path))?;
        sync_parent(&path)
    }
}

/// Links a complete file that is on disk to another name, unless that exists.
pub fn link(file: &Path, name: &Path) -> Result<Published, StorageError> {
    let published = match reach("link").and_then(|()| fs::hard_link(file, name)) {
        Ok(()) => Published::Created,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if same_file(file, name) {
                Published::Created
            } else {
                Published::Existed
            }
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)) => {
            let why = format!("{error}; put --state on a filesystem that has hard links");
            return Err(StorageError::at("publish", name)(io::Error::new(error.kind(), why)));
        }
        Err(error) => return Err(StorageError::at("publish", name)(error)),
    };
    tracing::trace!("published {}: {published:?}", name.display());
    sync_parent(name)?;
    Ok(published)
}

/// On NFS, the reply to a successful link can be lost; the repeated call then reports that the name exists.
fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Fails after a rename, which is harmless.
        let _ = reach("remove").and_then(|()| fs::remove_file(&self.path));
    }
}

/// A unique temporary name that identifies this process to [`is_abandoned`].
pub fn temporary_name(what: &str) -> String {
    format!("{TEMPORARY}{}-{}-{what}-{:08x}", machine(), std::process::id(), rand::random::<u32>())
}

/// Whether a temporary name belongs to a process of this machine that no longer exists.
pub fn is_abandoned(name: &str) -> bool {
    let rest = name.strip_prefix(TEMPORARY).and_then(|name| name.strip_prefix(machine()));
    let pid = rest.and_then(|rest| rest.strip_prefix('-')).and_then(|rest| rest.split('-').next());
    pid.and_then(|pid| pid.parse().ok()).is_some_and(is_gone)
}

/// Removes a file if it exists.
pub fn remove(path: &Path) -> Result<(), StorageError> {
    match reach("remove").and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Moves a damaged record aside by renaming it, so that its contents can still be inspected.
pub fn quarantine(path: &Path) -> Result<(), StorageError> {
    let name = quarantined_name(path);
    match reach("rename").and_then(|()| fs::rename(path, &name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::at("quarantine", path)(error))
        }
        _ => sync_parent(path),
    }
}

/// The path to which [`quarantine`] moves a record.
pub fn quarantined_name(path: &Path) -> PathBuf {
    path.with_extension("quarantined.json")
}

fn sync_parent(path: &Path) -> Result<(), StorageError> {
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    let sync = || File::open(dir).and_then(|dir| dir.sync_all());
    reach("fsync directory").and_then(|()| sync()).map_err(StorageError::at("sync", dir))
}

/// Creates a directory and its parents.
pub fn ensure_dir(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        ensure_dir(parent)?;
    }
    make_dir(path)?;
    sync_parent(path)
}

/// Creates directories in `parent`, which is created too, with a single sync.
pub fn ensure_dirs(parent: &Path, names: impl Iterator<Item = String>) -> Result<(), StorageError> {
    ensure_dir(parent)?;
    for name in names {
        make_dir(&parent.join(name))?;
    }
    sync_dir(parent)
}

fn make_dir(path: &Path) -> Result<(), StorageError> {
    match reach("mkdir").and_then(|()| fs::create_dir(path)) {
        Err(error) if !path.is_dir() => Err(StorageError::at("create the directory", path)(error)),
        _ => Ok(()),
    }
}

fn dir_and_name(path: &Path) -> Result<(&Path, &str), StorageError> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(StorageError::at("write", path)(io::Error::from(io::ErrorKind::InvalidFilename))),
    }
}

/// Publishes bytes under a path; the directory must exist.
pub fn publish_bytes(path: &Path, bytes: &[u8]) -> Result<Published, StorageError> {
    let (dir, name) = dir_and_name(path)?;
    let (staged, ()) = stage(dir, |file| file.write_all(bytes).map_err(StorageError::at("write", path)))?;
    staged.publish(name)
}

/// Replaces a file atomically; readers see the old or the new contents.
pub fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let (dir, name) = dir_and_name(path)?;
    let (staged, ()) = stage(dir, |file| file.write_all(bytes).map_err(StorageError::at("write", path)))?;
    staged.replace(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_writers_wins_with_a_complete_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let created: Vec<u8> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16)
                .map(|i| {
                    let path = &path;
                    scope.spawn(move || publish_bytes(path, &[i; 1000]).unwrap() == Published::Created)
                })
                .collect();
            let won: Vec<bool> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            (0..16).filter(|&i| won[usize::from(i)]).collect()
        });
        assert_eq!(created.len(), 1);
        assert_eq!(fs::read(&path).unwrap(), vec![created[0]; 1000]);
    }

    #[test]
    fn files_of_dead_processes_are_recognised() {
        let mine = temporary_name("x");
        assert!(!is_abandoned(&mine), "this process is alive");
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let pid = |pid: u32| mine.replacen(&format!("-{}-", std::process::id()), &format!("-{pid}-"), 1);
        assert!(is_abandoned(&pid(dead.id())));
        assert!(!is_abandoned(&pid(dead.id()).replacen(machine(), "elsewhere", 1)));
        assert!(!is_abandoned("result.json") && !is_abandoned(TEMPORARY));
    }

    #[test]
    fn failed_write_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let result = stage(dir.path(), |_: &mut Draft| {
            Err::<(), _>(StorageError::at("write", Path::new("x"))(io::ErrorKind::Other.into()))
        });
        assert!(result.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

//! Publishing: a file appears under its final name whole, once, and for good.
//!
//! Temporary name, write, fsync, hard link to the final name (which fails if that exists: the first writer
//! wins, on NFS too), fsync of the directory. A crash leaves at most a temporary file that nobody reads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use serde::Serialize;

use super::{StateError, is_gone, machine, seal};
use crate::failpoint::reach;

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

/// The contents of a file that is being staged.
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

/// Writes a temporary file in `dir` and brings it to disk; what `fill` returned comes back too.
pub fn stage<T, E: From<StateError>>(
    dir: &Path,
    fill: impl FnOnce(&mut Draft) -> Result<T, E>,
) -> Result<(Staged, T), E> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = temporary_name(&COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    let staged = Staged { path: dir.join(name) };
    let io = |error| E::from(StateError::io("write", &staged.path)(error));
    let create = || File::options().write(true).create_new(true).open(&staged.path);
    let mut draft = Draft(reach("create").and_then(|()| create()).map_err(io)?);
    let filled = fill(&mut draft)?;
    reach("fsync").and_then(|()| draft.0.sync_all()).map_err(io)?;
    Ok((staged, filled))
}

/// The same for a file that is written already and will not be written again: it gets a temporary name in `dir`, on
/// the same filesystem, and is not copied.
pub fn stage_link(file: &Path, dir: &Path) -> Result<Staged, StateError> {
    let sync = || File::open(file).and_then(|file| file.sync_all());
    reach("fsync").and_then(|()| sync()).map_err(StateError::io("sync", file))?;
    let staged = Staged { path: dir.join(temporary_name("link")) };
    link(file, &staged.path)?;
    Ok(staged)
}

impl Staged {
    /// Gives the file its final name in its own directory, unless that is taken.
    pub fn publish(self, name: &str) -> Result<Published, StateError> {
        let path = self.path.with_file_name(name);
        link(&self.path, &path)
    }

    /// Gives the file its final name, in place of what has that name.
    pub fn replace(self, name: &str) -> Result<(), StateError> {
        let path = self.path.with_file_name(name);
        let rename = || fs::rename(&self.path, &path);
        reach("rename").and_then(|()| rename()).map_err(StateError::io("replace", &path))?;
        sync_parent(&path)
    }
}

/// Gives a file that is whole and on disk another name, unless that is taken.
pub fn link(file: &Path, name: &Path) -> Result<Published, StateError> {
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
            return Err(StateError::io("publish", name)(io::Error::new(error.kind(), why)));
        }
        Err(error) => return Err(StateError::io("publish", name)(error)),
    };
    sync_parent(name)?;
    Ok(published)
}

/// Over NFS the reply to a link that succeeded can be lost, and the repeated call says that the name exists.
fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Fails after a rename, which took the temporary name away; nothing depends on it.
        let _ = reach("remove").and_then(|()| fs::remove_file(&self.path));
    }
}

/// A name that nobody else uses, by which [`is_left_behind`] knows this process.
pub fn temporary_name(what: &str) -> String {
    format!("{TEMPORARY}{}-{}-{what}-{:08x}", machine(), std::process::id(), rand::random::<u32>())
}

/// Whether a temporary name is that of a process of this machine that is gone.
pub fn is_left_behind(name: &str) -> bool {
    let rest = name.strip_prefix(TEMPORARY).and_then(|name| name.strip_prefix(machine()));
    let pid = rest.and_then(|rest| rest.strip_prefix('-')).and_then(|rest| rest.split('-').next());
    pid.and_then(|pid| pid.parse().ok()).is_some_and(is_gone)
}

/// Removes a file, or says nothing if it is not there.
pub fn remove(path: &Path) -> Result<(), StateError> {
    match reach("remove").and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Takes a record out of use: it keeps its contents under another name, for whoever wonders.
pub fn withdraw(path: &Path) -> Result<(), StateError> {
    let name = withdrawn_name(path);
    match reach("rename").and_then(|()| fs::rename(path, &name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::io("withdraw", path)(error)),
        _ => sync_parent(path),
    }
}

/// What a withdrawn record is called.
pub fn withdrawn_name(path: &Path) -> PathBuf {
    path.with_extension("withdrawn.json")
}

fn sync_parent(path: &Path) -> Result<(), StateError> {
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn sync_dir(dir: &Path) -> Result<(), StateError> {
    let sync = || File::open(dir).and_then(|dir| dir.sync_all());
    reach("fsync directory").and_then(|()| sync()).map_err(StateError::io("sync", dir))
}

/// Makes a directory and those above it.
pub fn ensure_dir(path: &Path) -> Result<(), StateError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        ensure_dir(parent)?;
    }
    make_dir(path)?;
    sync_parent(path)
}

/// Makes directories in one that may be new too, and syncs it once for all.
pub fn ensure_dirs(parent: &Path, names: impl Iterator<Item = String>) -> Result<(), StateError> {
    ensure_dir(parent)?;
    for name in names {
        make_dir(&parent.join(name))?;
    }
    sync_dir(parent)
}

fn make_dir(path: &Path) -> Result<(), StateError> {
    match reach("mkdir").and_then(|()| fs::create_dir(path)) {
        Err(error) if !path.is_dir() => Err(StateError::io("make the directory", path)(error)),
        _ => Ok(()),
    }
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
    let object = serde_json::to_vec_pretty(record)
        .map_err(|error| StateError::io("write", path)(io::Error::from(error)))?;
    Ok(seal(&object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writer_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let record = |number| serde_json::json!({ "number": number });
        let number = || {
            serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap()["number"].clone()
        };
        assert_eq!(publish_json(&path, &record(1)).unwrap(), Published::Created);
        assert_eq!(publish_json(&path, &record(2)).unwrap(), Published::Existed);
        assert_eq!(number(), 1);
        replace_json(&path, &record(3)).unwrap();
        assert_eq!(number(), 3);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files are gone");
    }

    #[test]
    fn of_many_writers_one_wins_and_its_file_is_whole() {
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
    fn what_a_dead_process_left_is_known() {
        let mine = temporary_name("x");
        assert!(!is_left_behind(&mine), "this process lives");
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let pid = |pid: u32| mine.replacen(&format!("-{}-", std::process::id()), &format!("-{pid}-"), 1);
        assert!(is_left_behind(&pid(dead.id())));
        assert!(!is_left_behind(&pid(dead.id()).replacen(machine(), "elsewhere", 1)));
        assert!(!is_left_behind("result.json") && !is_left_behind(TEMPORARY));
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let result = stage(dir.path(), |_: &mut Draft| Err::<(), _>(StateError::NoRun("x".into())));
        assert!(result.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

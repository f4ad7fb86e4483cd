//! Reads that bypass the cache of an NFS client.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::StorageError;

/// The contents of a file of at most `limit` bytes; none if it does not exist, an error if it is larger.
pub fn find_bytes(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StorageError> {
    let read = || -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        if size > limit {
            let why = format!("it has {size} bytes, the limit is {limit}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let mut found = read();
    // The server may have dropped a replaced file (best.json), or the client may have cached that the name was missing:
    // refresh the directory and retry.
    let stale = |error: &io::Error| {
        error.raw_os_error() == Some(nix::libc::ESTALE) || error.kind() == io::ErrorKind::NotFound
    };
    if found.as_ref().is_err_and(stale) {
        refresh(path.parent().unwrap_or(Path::new(".")));
        found = read();
    }
    match found {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::at("read", path)(error)),
    }
}

/// Whether a path exists. Unlike [`Path::exists`], fails if the filesystem does not answer.
pub fn exists(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(StorageError::at("look for", path))
}

/// The names in a directory; empty if it does not exist.
pub fn names_in(dir: &Path) -> Result<BTreeSet<OsString>, StorageError> {
    let mut found = fs::read_dir(dir);
    if found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        refresh(dir);
        found = fs::read_dir(dir);
    }
    let entries = match found {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(StorageError::at("read", dir)(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<Result<_, _>>().map_err(StorageError::at("read", dir))
}

/// Revalidates an NFS client's cache of a directory.
///
/// NFS clients cache for a while that a name does not exist; opening the directory makes them compare it with the
/// server's (close-to-open consistency). If the directory itself seems missing, its parents are refreshed first.
pub fn refresh(dir: &Path) {
    let open = || fs::File::open(dir).map(drop);
    if let Err(error) = open()
        && error.kind() == io::ErrorKind::NotFound
        && let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty())
    {
        refresh(parent);
        let _ = open();
    }
}

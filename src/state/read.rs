//! Reading records: bounded, checked against their seal and format, past what a file server's client remembers.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{FORMAT, StateError, unseal, withdraw};

/// Records larger than this are not ours: a plan of 10 000 members, the most, and 72 variables has 50 MiB.
pub(super) const MAX_RECORD: u64 = 64 << 20;

/// The file's contents, if it is there and no larger than a record can be.
fn find_bytes(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let io = || StateError::io("read", path);
    let read = || -> std::io::Result<(u64, Vec<u8>)> {
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        let mut bytes = Vec::new();
        if size <= MAX_RECORD {
            file.take(MAX_RECORD).read_to_end(&mut bytes)?;
        }
        Ok((size, bytes))
    };
    let mut found = read();
    // A server forgot the file that this name stood for (best.json is replaced now and then), or a client of it
    // remembers that the name was not there: look again.
    let again = |error: &std::io::Error| {
        error.raw_os_error() == Some(nix::libc::ESTALE) || error.kind() == std::io::ErrorKind::NotFound
    };
    if found.as_ref().is_err_and(again) {
        refresh(path.parent().unwrap_or(Path::new(".")));
        found = read();
    }
    match found {
        Ok((size, _)) if size > MAX_RECORD => Err(StateError::damaged(path, format!("it has {size} bytes"))),
        Ok((_, bytes)) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io()(error)),
    }
}

/// What is wrong with a file that is named somewhere and is not there.
pub const GONE: &str = "it is gone";

/// The file's contents; it must be there.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, StateError> {
    find_bytes(path)?.ok_or_else(|| StateError::damaged(path, GONE))
}

/// Reads a record of which `path` is the name, after checking that its format is known.
pub fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StateError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u64,
    }
    let damaged = |error: serde_json::Error| StateError::damaged(path, error.to_string());
    let sealed = unseal(bytes);
    match serde_json::from_slice::<Format>(sealed.as_deref().unwrap_or(bytes)) {
        Ok(Format { format }) if format != FORMAT => {
            Err(StateError::Format { path: path.to_owned(), found: format, known: FORMAT })
        }
        _ => match sealed {
            Some(object) => serde_json::from_slice(&object).map_err(damaged),
            None => Err(StateError::damaged(path, "it was cut off, or changed after it was written")),
        },
    }
}

/// Reads a record, if it is there.
pub fn find_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    find_bytes(path)?.map(|bytes| parse_json(path, &bytes)).transpose()
}

/// Reads a record, if it is there and sound; a damaged one is taken out of use, for whatever can be made again.
pub fn find_sound_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    sound(path, find_json(path))
}

/// What was read, if it is sound; a damaged record is put aside.
pub fn sound<T>(path: &Path, found: Result<Option<T>, StateError>) -> Result<Option<T>, StateError> {
    match found {
        Err(error) if error.is_damage() => {
            eprintln!("pbtnas: {}; it is put aside and made again", error.what());
            withdraw(path)?;
            Ok(None)
        }
        found => found,
    }
}

/// Reads a record that must be there.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    parse_json(path, &read_bytes(path)?)
}

/// Whether something is there; unlike [`Path::exists`] a filesystem that does not answer is an error.
pub fn is_there(path: &Path) -> Result<bool, StateError> {
    path.try_exists().map_err(StateError::io("look for", path))
}

/// The names in a directory; none if it is not there.
pub fn names_in(dir: &Path) -> Result<BTreeSet<OsString>, StateError> {
    let mut found = fs::read_dir(dir);
    if found.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        refresh(dir);
        found = fs::read_dir(dir);
    }
    let entries = match found {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(StateError::io("read", dir)(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<Result<_, _>>().map_err(StateError::io("read", dir))
}

/// Makes the system ask a file server anew for what a directory holds.
///
/// NFS clients remember for a while that a name was not there; opening the directory makes them compare its
/// state with the server's (close-to-open consistency).
///
/// A directory that is not there may itself be such a name, so those above it come first then.
pub fn refresh(dir: &Path) {
    let open = || fs::File::open(dir).map(drop);
    if let Err(error) = open()
        && error.kind() == std::io::ErrorKind::NotFound
        && let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty())
    {
        refresh(parent);
        let _ = open();
    }
}

//! Records: JSON with a checksum, bounded in size, of a known format.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FORMAT, StateError, append_checksum, verify_checksum};
use crate::durable_fs::{Published, StorageError, find_bytes, publish_bytes, quarantine, replace_bytes};

/// Largest size of a record in bytes. A plan of 10 000 members, the maximum, with 72 variables has 50 MiB.
pub(super) const MAX_RECORD: u64 = 64 << 20;

/// Publishes a record.
pub fn publish_json(path: &Path, record: &impl Serialize) -> Result<Published, StorageError> {
    publish_bytes(path, &to_json(path, record)?)
}

/// Replaces a mutable record (best.json, heartbeats) atomically.
pub fn replace_json(path: &Path, record: &impl Serialize) -> Result<(), StorageError> {
    replace_bytes(path, &to_json(path, record)?)
}

fn to_json(path: &Path, record: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let object = serde_json::to_vec_pretty(record)
        .map_err(|error| StorageError::at("write", path)(io::Error::from(error)))?;
    Ok(append_checksum(&object))
}

/// The contents of a record's file; none if it does not exist. A file over [`MAX_RECORD`] counts as damaged.
fn find_record(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    find_bytes(path, MAX_RECORD).map_err(|error| match error.source.kind() {
        io::ErrorKind::FileTooLarge => StateError::damaged(path, error.source.to_string()),
        _ => error.into(),
    })
}

/// The reason in errors about a missing file that a record names.
pub const GONE: &str = "the file is missing";

/// The contents of a record's file, which must exist.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, StateError> {
    find_record(path)?.ok_or_else(|| StateError::damaged(path, GONE))
}

/// Parses a record after checking its checksum and format; `path` is for error messages.
pub fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StateError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u64,
    }
    let damaged = |error: serde_json::Error| StateError::damaged(path, error.to_string());
    let sealed = verify_checksum(bytes);
    match serde_json::from_slice::<Format>(sealed.as_deref().unwrap_or(bytes)) {
        Ok(Format { format }) if format != FORMAT => {
            Err(StateError::Format { path: path.to_owned(), found: format, known: FORMAT })
        }
        _ => match sealed {
            Some(object) => serde_json::from_slice(&object).map_err(damaged),
            None => Err(StateError::damaged(path, "it was truncated or modified after it was written")),
        },
    }
}

/// Reads a record; none if it does not exist.
pub fn find_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    find_record(path)?.map(|bytes| parse_json(path, &bytes)).transpose()
}

/// Reads a record that can be recomputed; none if it does not exist or is damaged. A damaged one is quarantined.
pub fn find_json_or_quarantine<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    or_quarantine(path, find_json(path))
}

/// Quarantines a record that turned out to be damaged when it was read.
pub(super) fn or_quarantine<T>(
    path: &Path,
    found: Result<Option<T>, StateError>,
) -> Result<Option<T>, StateError> {
    match found {
        Err(error) if error.is_damage() => {
            tracing::warn!("{error}; moved aside, it will be rebuilt");
            quarantine(path)?;
            Ok(None)
        }
        found => found,
    }
}

/// Reads a record that must exist.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    parse_json(path, &read_bytes(path)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn first_writer_wins() {
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
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files are removed");
    }
}

//! Digests of files, with which records identify the files that they name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StorageError;

/// Size of a read in bytes.
const CHUNK: usize = 1 << 20;

/// BLAKE3 digest of a file: `blake3:` followed by 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |digits: &str| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match text.strip_prefix("blake3:") {
            Some(digits) if digits.len() == 64 && plain(digits) => Ok(Self(text)),
            _ => Err("expected blake3: followed by 64 lowercase hexadecimal digits"),
        }
    }
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(&blake3::Hasher::new().update(bytes).finalize())
    }

    /// The first 32 digits, for file names.
    pub fn short(&self) -> &str {
        let digits = self.0.split(':').next_back().unwrap_or_default();
        digits.get(..32).unwrap_or(digits)
    }

    /// Whether the digest starts with `digits`, of which there must be at least 32.
    pub fn starts_with(&self, digits: &str) -> bool {
        digits.len() >= 32 && self.0.split(':').next_back().is_some_and(|own| own.starts_with(digits))
    }

    pub fn finish(hash: &blake3::Hash) -> Self {
        Self(format!("blake3:{}", hash.to_hex()))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Size in bytes.
    pub size: u64,
    pub digest: Digest,
}

/// Computes size and digest of a file in one pass.
pub fn digest_file(path: &Path) -> Result<FileDigest, StorageError> {
    let fail = |source| StorageError { doing: "read", path: path.to_owned(), source };
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(fail)?;
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fail(error)),
        };
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    Ok(FileDigest { size, digest: Digest::finish(&hasher.finalize()) })
}

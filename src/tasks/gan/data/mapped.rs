//! A memory-mapped file of records of one size.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memmap2::Mmap;

/// Maps a file for reading.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    // Safety: a data set is not changed while it is used. If somebody shortens the file all the same, access
    // beyond its end kills this process (SIGBUS), which costs this member an attempt and nothing else.
    unsafe { Mmap::map(&file) }.with_context(|| format!("failed to map {}", path.display()))
}

/// Records of one size in a mapped file; each holds an image behind a few other bytes.
pub struct Records {
    path: PathBuf,
    map: Mmap,
    /// Bytes before the first record.
    head: usize,
    /// Bytes of a record.
    size: usize,
    /// Bytes of a record before its image.
    skip: usize,
}

impl Records {
    /// The records of a file. Fails if it has another number of bytes than they have.
    pub fn open(path: &Path, count: usize, size: usize, skip: usize, source: &str) -> Result<Self> {
        let map = map(path)?;
        let expected = count * size;
        if map.len() != expected {
            bail!("{} has {} bytes instead of {expected}: get it anew ({source})", path.display(), map.len());
        }
        Ok(Self { path: path.to_owned(), map, head: 0, size, skip })
    }

    /// Of a file whose header of `head` bytes was checked already.
    pub fn behind(path: &Path, map: Mmap, head: usize, size: usize) -> Self {
        Self { path: path.to_owned(), map, head, size, skip: 0 }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        (self.map.len() - self.head) / self.size.max(1)
    }

    /// The image of a record.
    pub fn get(&self, index: usize) -> &[u8] {
        &self.record(index)[self.skip..]
    }

    /// A whole record.
    pub fn record(&self, index: usize) -> &[u8] {
        let start = self.head + index * self.size;
        &self.map[start..start + self.size]
    }
}

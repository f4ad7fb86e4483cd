//! A memory-mapped file of records of one size.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memmap2::Mmap;

/// Maps a file for reading.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    // Safety: a data set must not change while it is in use. If the file is truncated nevertheless, access beyond its
    // end kills this process (SIGBUS), which costs this member one attempt.
    unsafe { Mmap::map(&file) }.with_context(|| format!("failed to map {}", path.display()))
}

/// Records of one size in a mapped file; in each, a few other bytes precede the image.
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
    /// Maps a file of `count` records of `size` bytes. Fails if the file has another length; the error says where to
    /// get it (`source`).
    pub fn open(path: &Path, count: usize, size: usize, skip: usize, source: &str) -> Result<Self> {
        let map = map(path)?;
        let expected = count * size;
        if map.len() != expected {
            bail!("{} has {} bytes instead of {expected}: replace it ({source})", path.display(), map.len());
        }
        Ok(Self { path: path.to_owned(), map, head: 0, size, skip })
    }

    /// The records behind a header of `head` bytes that the caller has checked.
    pub fn behind(path: &Path, map: Mmap, head: usize, size: usize) -> Self {
        Self { path: path.to_owned(), map, head, size, skip: 0 }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn len(&self) -> usize {
        (self.map.len() - self.head) / self.size.max(1)
    }

    /// The image of a record, without the bytes that precede it.
    pub fn get(&self, index: usize) -> &[u8] {
        &self.record(index)[self.skip..]
    }

    pub fn record(&self, index: usize) -> &[u8] {
        let start = self.head + index * self.size;
        &self.map[start..start + self.size]
    }
}

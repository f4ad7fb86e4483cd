//! Streaming safetensors reader and writer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::Meta;
use crate::durable_fs::{Digest, FileDigest};

/// Size of a chunk in bytes.
pub const CHUNK: usize = 1 << 20;
/// Longest accepted header in bytes: 72 variables need less than 200 KiB, 10 000 file names less than 800 KiB.
const MAX_HEADER: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("failed to {doing} {path}: {source}")]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} is damaged or not a pbtnas checkpoint: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} has no tensor {name:?} of type {dtype:?} and shape {shape:?}{}", but(found))]
    Tensor {
        path: PathBuf,
        name: String,
        /// Expected type.
        dtype: Dtype,
        /// Expected shape.
        shape: Vec<usize>,
        /// Actual type and shape; none if the tensor is missing.
        found: Option<(Dtype, Vec<usize>)>,
    },
}

fn but(found: &Option<(Dtype, Vec<usize>)>) -> String {
    found
        .as_ref()
        .map_or(String::new(), |(dtype, shape)| format!(" (found type {dtype:?} and shape {shape:?})"))
}

/// Name, type and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Full name, e.g. `model/generator/to_rgb/weight`.
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

/// Size of a tensor in bytes; none on overflow.
fn byte_count(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
    Some(elements.checked_mul(dtype.bitsize())? / 8)
}

/// Hashes and counts the bytes that are written through it.
struct Hashing<'a, W> {
    inner: &'a mut W,
    hasher: blake3::Hasher,
    size: u64,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a checkpoint with the entries sorted by name. `fill` must write exactly the bytes of each tensor
/// (little-endian, row-major). The output depends on the arguments only.
pub fn write<W: Write, E: From<io::Error>>(
    out: &mut W,
    meta: &Meta,
    mut entries: Vec<Entry>,
    mut fill: impl FnMut(&Entry, &mut dyn Write) -> Result<(), E>,
) -> Result<FileDigest, E> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = serde_json::Map::new();
    let metadata = meta.to_map()?;
    header.insert("__metadata__".into(), serde_json::to_value(metadata).map_err(io::Error::from)?);
    let mut offset = 0;
    for entry in &entries {
        let bytes = byte_count(entry.dtype, &entry.shape)
            .ok_or_else(|| io::Error::other(format!("tensor {:?} is too large", entry.name)))?;
        let info = TensorInfo {
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            data_offsets: (offset, offset + bytes),
        };
        offset += bytes;
        header.insert(entry.name.clone(), serde_json::to_value(info).map_err(io::Error::from)?);
    }
    let mut header = serde_json::to_vec(&header).map_err(io::Error::from)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER {
        return Err(io::Error::other(format!("the header is too long ({} bytes)", header.len())).into());
    }

    let mut out = Hashing { inner: out, hasher: blake3::Hasher::new(), size: 0 };
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let start = out.size;
    for entry in &entries {
        fill(entry, &mut out)?;
    }
    if out.size - start != offset as u64 {
        return Err(io::Error::other("the tensor data does not have the declared size").into());
    }
    Ok(FileDigest { size: out.size, digest: Digest::finish(&out.hasher.finalize()) })
}

/// An open checkpoint, of which only the header is in memory.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    /// Offset of the tensor data in the file.
    start: u64,
    header: BTreeMap<String, TensorInfo>,
    meta: Meta,
}

impl Reader {
    /// Opens a checkpoint and checks its header but not its data (see [`digest_file`](crate::durable_fs::digest_file)).
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { doing: "read", path: path.to_owned(), source };
        let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| damaged("the header is truncated".into()))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length + 8 > size {
            return Err(damaged(format!("invalid header length of {length} bytes")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| damaged(format!("invalid header: {error}")))?;
        let start = 8 + length;
        // Compare the difference, because the sum could overflow.
        let (found, expected) = (size - start, header.data_len() as u64);
        if found != expected {
            return Err(damaged(format!("{found} bytes of tensor data instead of {expected}")));
        }
        let map = header.metadata().as_ref().ok_or_else(|| damaged("the header has no metadata".into()))?;
        let meta = Meta::from_map(map).map_err(damaged)?;
        let header = header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Self { path: path.to_owned(), file, start, header, meta })
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors, sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.header.iter().map(|(name, info)| Entry {
            name: name.clone(),
            dtype: info.dtype,
            shape: info.shape.clone(),
        })
    }

    /// Type and shape of a tensor.
    pub fn entry(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.get(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// Start and end of a tensor's data; fails if no tensor has this name, type and shape.
    fn place(&self, entry: &Entry) -> Result<(usize, usize), CheckpointError> {
        self.header
            .get(&entry.name)
            .filter(|info| info.shape == entry.shape && info.dtype == entry.dtype)
            .map(|info| info.data_offsets)
            .ok_or_else(|| CheckpointError::Tensor {
                path: self.path.clone(),
                name: entry.name.clone(),
                dtype: entry.dtype,
                shape: entry.shape.clone(),
                found: self.header.get(&entry.name).map(|info| (info.dtype, info.shape.clone())),
            })
    }

    /// Passes a tensor's bytes to `sink` in chunks of 1 MiB, the last one shorter.
    pub fn stream<E: From<CheckpointError>>(
        &self,
        entry: &Entry,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut at, end) = self.place(entry)?;
        let mut buffer = vec![0; CHUNK.min(end - at)];
        while at < end {
            let count = buffer.len().min(end - at);
            let chunk = &mut buffer[..count];
            self.file.read_exact_at(chunk, self.start + at as u64).map_err(|source| CheckpointError::Io {
                doing: "read",
                path: self.path.clone(),
                source,
            })?;
            sink(chunk)?;
            at += count;
        }
        Ok(())
    }

    /// Fills the buffer with a tensor's bytes from offset `at`.
    pub fn read_part(&self, entry: &Entry, at: usize, buffer: &mut [u8]) -> Result<(), CheckpointError> {
        let (start, end) = self.place(entry)?;
        let fits = at.checked_add(buffer.len()).is_some_and(|last| last <= end - start);
        let read = match fits {
            true => self.file.read_exact_at(buffer, self.start + (start + at) as u64),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        };
        read.map_err(|source| CheckpointError::Io { doing: "read", path: self.path.clone(), source })
    }

    /// Reads a tensor into a buffer; reusing the buffer avoids page faults of fresh memory.
    pub fn read(&self, entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), CheckpointError> {
        let (start, end) = self.place(entry)?;
        buffer.resize(end - start, 0);
        self.read_part(entry, 0, buffer)
    }

    /// Reads a tensor into a new buffer.
    pub fn bytes(&self, entry: &Entry) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = Vec::new();
        self.read(entry, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable_fs::digest_file;
    use crate::search::Genotype;

    fn meta() -> Meta {
        Meta { genotype: Genotype::new([("x".into(), "a".into())]), epoch: 3, step: 7, files: Vec::new() }
    }

    fn entry(name: &str, shape: &[usize]) -> Entry {
        Entry { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec() }
    }

    fn sample() -> (Vec<u8>, FileDigest) {
        let mut bytes = Vec::new();
        let entries = vec![entry("model/b", &[3]), entry("model/a", &[2, 2]), entry("model/empty", &[0])];
        let written = write(&mut bytes, &meta(), entries, |entry, out| {
            out.write_all(&vec![entry.name.as_bytes()[6]; byte_count(entry.dtype, &entry.shape).unwrap()])
        })
        .unwrap();
        (bytes, written)
    }

    #[test]
    fn checkpoint_round_trips() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let (bytes, written) = sample();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(digest_file(&path).unwrap(), written);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.meta(), &meta());
        assert_eq!(reader.bytes(&entry("model/a", &[2, 2])).unwrap(), [b'a'; 16]);
        assert_eq!(reader.bytes(&entry("model/b", &[3])).unwrap(), [b'b'; 12]);
        assert!(matches!(reader.bytes(&entry("model/b", &[4])), Err(CheckpointError::Tensor { .. })));
        // The safetensors crate must read it too.
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("model/b").unwrap().data(), [b'b'; 12]);
    }

    /// Opens a file with this header and `data` bytes after it.
    fn open(header: &str, data: usize) -> Result<Reader, CheckpointError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        std::fs::write(&path, bytes).unwrap();
        Reader::open(&path)
    }

    const META: &str = r#""__metadata__":{"format":"1","genotype":"{}","epoch":"0","step":"0"}"#;

    #[test]
    fn header_sizes_do_not_overflow() {
        let tensors = (0..16usize).map(|at| {
            let (start, end) = (at << 60, if at == 15 { usize::MAX } else { (at + 1) << 60 });
            let shape = end - start;
            format!(r#""t{at:02}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{start},{end}]}}"#)
        });
        let header = format!("{{{META},{}}}", tensors.collect::<Vec<_>>().join(","));
        let error = open(&header, 5).unwrap_err().to_string();
        assert!(error.contains("5 bytes of tensor data instead of 18446744073709551615"), "{error}");
    }

    #[test]
    fn missing_tensor_does_not_allocate() {
        let reader = open(&format!("{{{META}}}"), 0).unwrap();
        let error = reader.bytes(&entry("model/a", &[1 << 40, 1 << 10])).unwrap_err();
        assert!(matches!(error, CheckpointError::Tensor { .. }), "{error}");
    }

    #[test]
    fn header_holds_ten_thousand_file_names_and_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let with = |count: usize| {
            let name = |number| format!("0123/07/{number:010}-{:032x}.episode", number * number);
            let meta = Meta { files: (0..count).map(name).collect(), ..meta() };
            let mut file = File::create(&path).unwrap();
            let written = write(&mut file, &meta, vec![], |_, _| Ok::<_, io::Error>(()));
            written.map(|written| (written, meta))
        };
        let (written, meta) = with(10_000).unwrap();
        assert!(written.size < 800 << 10, "{written:?}");
        assert_eq!(Reader::open(&path).unwrap().meta(), &meta);
        assert!(with(200_000).unwrap_err().to_string().contains("is too long"));
    }

    #[test]
    fn digest_format_is_checked() {
        let digest = Digest::of(b"x");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        for wrong in [text.replace("blake3:", ""), text.to_uppercase(), "\"blake3:../../x\"".into()] {
            assert!(serde_json::from_str::<Digest>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn damage_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let (bytes, _) = sample();
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Reader::open(&path).map(|_| ()).unwrap_err().to_string()
        };
        assert!(open(&bytes[..4]).contains("header is truncated"));
        assert!(open(&bytes[..bytes.len() - 1]).contains("instead of"));
        assert!(open(&[0xff; 64]).contains("invalid header length"));
        let mut flipped = bytes.clone();
        flipped[9] = b'!';
        assert!(open(&flipped).contains("invalid header"));
    }
}

//! The fuzz targets, one file each, and their shared folder. A panic is a finding. `tests/it/fuzz.rs` replays the inputs in
//! `corpus`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub mod checkpoint;
pub mod command;
pub mod config;
#[cfg(feature = "torch")]
pub mod data;
pub mod records;
pub mod scheduler;
pub mod script;
pub mod space;

/// This process's folder in memory, created at its first use; scripts/fuzz removes it.
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("pbtnas-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for files");
        folder
    });
    &FOLDER
}

/// Writes a file in [`folder`].
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// A safetensors file. Input that begins with `{` is a header up to the first line break, followed by data: the length of the
/// header is prepended and the data padded with zeros to the size in the header, since few inputs would otherwise pass the
/// check of the file's size.
pub fn safetensors(input: &[u8]) -> Vec<u8> {
    if input.first() != Some(&b'{') {
        return input.to_vec();
    }
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (header, data) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    let start = bytes.len();
    bytes.extend_from_slice(data);
    if let Ok(metadata) = serde_json::from_slice::<safetensors::tensor::Metadata>(header)
        && metadata.data_len() < 1 << 18
    {
        bytes.resize(start + metadata.data_len(), 0);
    }
    bytes
}

//! What the targets share: an allocator that refuses to be led astray, and a folder for files.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A single allocation of more is a failure: nothing that a small input says may ask for so much memory.
const LARGEST: usize = 256 << 20;

/// libFuzzer's `-malloc_limit_mb` works with a sanitizer's allocator only; this one does the same without.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// Safety: all is left to the system's allocator; a larger request ends the process before it gets there.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

fn check(size: usize) {
    if size > LARGEST {
        eprintln!("an allocation of {size} bytes");
        std::process::abort();
    }
}

/// A folder of this process in memory, made at its first use; scripts/fuzz removes what is left of it.
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

/// Writes a file there.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// A safetensors file. Input that begins with `{` is a header up to the first line break and data behind it, to
/// which the length of the header is added, and zeros as far as the header announces them: else few inputs would
/// get beyond the file's size.
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

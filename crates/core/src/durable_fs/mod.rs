//! Crash-safe files: publication whole and once under the final name, advisory locks, digests, and reads that bypass an
//! NFS client's cache.

mod digest;
mod error;
pub mod failpoint;
mod lock;
mod process;
mod publish;
mod read;

pub use digest::{Digest, FileDigest, digest_file};
pub use error::StorageError;
pub use lock::Lock;
pub use process::{host, is_gone, machine};
pub use publish::{
    Draft, Published, Staged, TEMPORARY, ensure_dir, ensure_dirs, is_abandoned, link, publish_bytes,
    quarantine, quarantined_name, remove, replace_bytes, stage, stage_link, temporary_name,
};
pub use read::{exists, find_bytes, names_in, refresh};

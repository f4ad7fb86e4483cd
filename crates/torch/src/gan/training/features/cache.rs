//! Statistics of real images, cached for other runs in `$PBTNAS_CACHE`, `$XDG_CACHE_HOME/pbtnas` or `~/.cache/pbtnas`.
//! The name of a file is a digest of everything that the statistics depend on.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::gan::GanConfig;
use crate::gan::data::Images;
use pbtnas_core::durable_fs::digest_file;

/// The cache file for these images and this network; `None` without a cache folder.
pub fn place(config: &GanConfig, images: &Images, network: &Path) -> Result<Option<PathBuf>> {
    let Some(folder) = folder() else { return Ok(None) };
    let mut hasher = blake3::Hasher::new_derive_key("pbtnas 2026 feature statistics v1");
    for path in images.paths().chain([network.to_owned()]) {
        hasher.update(digest_file(&path)?.digest.to_string().as_bytes());
    }
    for size in [images.len(), config.image_size] {
        hasher.update(&(size as u64).to_le_bytes());
    }
    let name: String = hasher.finalize().to_hex().chars().take(32).collect();
    Ok(Some(folder.join(format!("statistics-{name}.safetensors"))))
}

fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("PBTNAS_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("pbtnas")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/pbtnas")))
}

/// Copies a file from the cache if it exists and can be read. Returns whether it did.
pub fn take(cached: &Path, to: &Path) -> bool {
    super::saved::load(cached, tch::Device::Cpu).is_ok() && std::fs::copy(cached, to).is_ok()
}

/// Copies a file to the cache, atomically. A failure is reported and costs the next run the computation only.
pub fn put(from: &Path, cached: &Path) {
    let put = || {
        let Some(folder) = cached.parent() else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let aside = cached.with_extension(format!("{}.new", std::process::id()));
        std::fs::copy(from, &aside)?;
        std::fs::rename(aside, cached)
    };
    if let Err(error) = put() {
        tracing::warn!("failed to cache the statistics in {}: {error}", cached.display());
    }
}

//! The result of `pbtnas features check`.

use std::path::PathBuf;

use pbtnas_core::durable_fs::Digest;
use schemars::JsonSchema;
use serde::Serialize;

/// The kind of an Inception file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InceptionFile {
    /// `inception-2015-12-05.pt`.
    TorchScript,
    /// Weights with pytorch-fid's names.
    Safetensors,
}

impl std::fmt::Display for InceptionFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TorchScript => "TorchScript",
            Self::Safetensors => "safetensors with pytorch-fid's names",
        })
    }
}

/// The result of a check of a valid Inception file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InceptionReport {
    /// The file.
    pub path: PathBuf,
    /// The kind of file.
    pub kind: InceptionFile,
    /// Digest of the file, in the form in which run records hold it.
    pub digest: Digest,
    /// Size of the file.
    pub bytes: u64,
    /// Device of the check, `Cpu` or `Cuda(number)`.
    pub device: String,
    /// CPU threads of libtorch.
    pub threads: i32,
    /// Number of test images.
    pub images: usize,
    /// Milliseconds per image of the largest batch, after a warm-up.
    pub milliseconds: f64,
    /// Largest change of an image's features with the other images of its batch, relative to the largest feature.
    pub moved: f64,
}

//! Checkpoints: safetensors files, read and written tensor by tensor, whatever their size.
//!
//! Tensor names: `model/PATH`, `average/PATH`, `optimizer/NETWORK/MOMENT/REST` (where `NETWORK/REST` is the
//! parameter's PATH). The header's metadata holds the genotype, the position in training, the format,
//! and the names of collected files that go with it.

mod elements;
mod file;
mod init;
mod meta;
mod soup;
mod surgery;

pub use file::{CheckpointError, Digest, Entry, Reader, Written, digest_file, write};
pub use init::{Fresh, Init, TensorSpec, fresh, tensors_in};
pub use meta::Meta;
pub use soup::soup;
pub use surgery::{ShrinkPerturb, Surgery, offspring};

/// Prefix of the tensors of the networks themselves.
pub const MODEL: &str = "model/";
/// Prefix of the averaged copies.
pub const AVERAGE: &str = "average/";
/// Prefix of the optimizers' state.
pub const OPTIMIZER: &str = "optimizer/";

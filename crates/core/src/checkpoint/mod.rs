//! Checkpoints: safetensors files that are read and written tensor by tensor, so memory does not depend on their size.
//!
//! Tensor names: `model/PATH`, `average/PATH`, `optimizer/NETWORK/MOMENT/REST` (where `NETWORK/REST` is the
//! parameter's PATH). The header's metadata holds the format, the genotype, the position in training and the names of
//! the collected files that the checkpoint needs.

mod elements;
mod file;
mod init;
mod meta;
mod soup;
mod surgery;

pub use file::{CheckpointError, Entry, Reader, write};
pub use init::{Average, Init, InitialTensors, TensorSpec, fresh, tensors_in};
pub use meta::Meta;
pub use soup::soup;
pub use surgery::{ShrinkPerturb, Surgery, offspring};

/// Name prefix of the networks' tensors.
pub const MODEL: &str = "model/";
/// Name prefix of averaged copies (exponential moving averages, for example).
pub const AVERAGE: &str = "average/";
/// Name prefix of optimizer state.
pub const OPTIMIZER: &str = "optimizer/";

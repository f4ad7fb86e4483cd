//! What the tasks that train networks themselves have in common: tensors by name, their optimizer, their way to
//! checkpoints and devices.

mod optimizer;
mod options;
mod scope;
mod transfer;
mod weights;

pub use optimizer::{AdamW, Moments};
pub use options::{names, option, value};
pub use scope::{Role, Scope, Values};
pub use transfer::{bytes_of, channels_last, compute_kind, normal, to_device, uniform};
pub use weights::Weights;

//! Shared by the tasks that train networks themselves: tensors by name, the optimizer, and transfers to checkpoints and
//! devices.
//!
//! A network is described once, for two uses: to declare its tensors, which needs no libtorch, and to compute with
//! them. Without the feature `libtorch`, [`Tensor`] and [`Kind`] stand in for libtorch's types and hold nothing.

#[cfg(not(feature = "libtorch"))]
mod declared;
#[cfg(feature = "libtorch")]
mod optimizer;
mod options;
mod scope;
#[cfg(feature = "libtorch")]
mod transfer;
#[cfg(feature = "libtorch")]
mod weights;

#[cfg(not(feature = "libtorch"))]
pub use declared::{Kind, Tensor};
#[cfg(feature = "libtorch")]
pub use optimizer::{AdamW, Moments};
pub use options::{names, value};
pub use scope::{Role, Scope, Values};
#[cfg(feature = "libtorch")]
pub use tch::{Kind, Tensor};
#[cfg(feature = "libtorch")]
pub use transfer::{bytes_of, channels_last, compute_kind, normal, to_device, uniform};
#[cfg(feature = "libtorch")]
pub use weights::Weights;

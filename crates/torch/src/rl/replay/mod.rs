//! The replay buffer, on disk (facts: RL task). It does not depend on networks or physics.
//!
//! The current episode is a `Recording`. When it ends, a `Store` writes it to a file, an `Episode`, which is added to the `Pool` of
//! finished episodes. From the pool, a `Sampler` draws `Batch`es of n-step transitions ahead of the learner.
//!
//! An episode of T transitions has T + 1 frames; transition i starts at frame i with action i and reward i, and its observation is
//! the [`STACK`] frames that end with frame i.

#[cfg(feature = "libtorch")]
mod batch;
#[cfg(feature = "libtorch")]
mod episode;
#[cfg(feature = "libtorch")]
mod frame;
mod inherit;
#[cfg(feature = "libtorch")]
mod pool;
#[cfg(feature = "libtorch")]
mod recording;
#[cfg(feature = "libtorch")]
mod sampler;
mod share;
#[cfg(feature = "libtorch")]
mod store;
#[cfg(test)]
#[cfg(feature = "libtorch")]
mod testing;

#[cfg(test)]
#[cfg(feature = "libtorch")]
pub(super) use batch::shifted;
#[cfg(feature = "libtorch")]
pub use batch::{Batch, Sampling};
#[cfg(feature = "libtorch")]
pub use episode::{Episode, EpisodeError};
#[cfg(feature = "libtorch")]
pub use frame::{Packer, Unpacker};
pub use inherit::{Inherit, inherit};
#[cfg(feature = "libtorch")]
pub use pool::EpisodePool;
#[cfg(feature = "libtorch")]
pub use recording::Recording;
#[cfg(feature = "libtorch")]
pub use sampler::Sampler;
pub use share::Share;
#[cfg(feature = "libtorch")]
pub use store::Store;

/// Bytes of a frame, `(3, 84, 84)`.
pub use super::environment::PICTURE as FRAME;
pub use super::environment::{COLOURS, SIDE};

/// Frames per observation.
pub const STACK: usize = 3;
/// Bytes of an observation, `(9, 84, 84)`, the oldest frame first.
pub const OBSERVATION: usize = STACK * FRAME;

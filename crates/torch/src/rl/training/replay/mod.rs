//! The replay buffer, on disk (facts: RL task). It does not depend on networks or physics.
//!
//! The current episode is a `Recording`. When it ends, a `Store` writes it to a file, an `Episode`, which is added to
//! the `EpisodePool` of finished episodes. From the pool, a `Sampler` draws `Batch`es of n-step transitions ahead of
//! the learner.
//!
//! An episode of T transitions has T + 1 frames; transition i starts at frame i with action i and reward i, and its
//! observation is the [`STACK`] frames that end with frame i.

mod batch;
mod episode;
mod frame;
mod pool;
mod recording;
mod sampler;
mod store;
#[cfg(test)]
mod testing;

#[cfg(test)]
pub(super) use batch::shifted;
pub use batch::{Batch, Sampling};
pub use episode::{Episode, EpisodeError};
pub use frame::{Packer, Unpacker};
pub use pool::EpisodePool;
pub use recording::Recording;
pub use sampler::Sampler;
pub use store::Store;

use crate::rl::STACK;
use crate::rl::environment::{PICTURE as FRAME, SIDE};
use crate::rl::share::Share;

/// Bytes of an observation, `(9, 84, 84)`, the oldest frame first.
pub const OBSERVATION: usize = STACK * FRAME;

//! What an agent has lived through, on disk (facts: RL task).
//!
//! A [`Recording`] is the episode being lived; when it ends it becomes a file, an [`Episode`], in a [`Store`], and
//! joins the [`Pool`] of finished episodes out of which [`Batch`]es of n-step transitions are drawn. A [`Sampler`]
//! makes batches ahead of the learner. Nothing here knows networks or physics.
//!
//! Words: an episode of T transitions has T + 1 frames; transition i starts at frame i with action i and reward i,
//! and its observation is the [`STACK`] frames that end with frame i.

mod batch;
mod episode;
mod frame;
mod inherit;
mod pool;
mod publish;
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
pub use inherit::{Inherit, inherit};
pub use pool::Pool;
pub use recording::Recording;
pub use sampler::Sampler;
pub use store::{Share, Store};

/// A frame is a picture: its bytes, `(3, 84, 84)`.
pub use super::environment::PICTURE as FRAME;
pub use super::environment::{COLOURS, SIDE};

/// Frames that an agent sees at a time.
pub const STACK: usize = 3;
/// Bytes of an observation, `(9, 84, 84)`: the oldest frame first.
pub const OBSERVATION: usize = STACK * FRAME;

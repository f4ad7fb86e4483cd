//! Reinforcement learning from pixels: DrQ-v2 on the DeepMind Control suite (paper, section 4.3; facts: RL task).
//!
//! What is searched and how it is trained is written down, with sources, in [`RlConfig`] and [`space`].

mod agent;
mod config;
pub mod environment;
mod layers;
mod networks;
pub mod replay;
mod space;

pub use config::RlConfig;
pub use space::space;

use crate::search::Space;

/// Channels, height and width of an observation: three frames of three colours.
pub const OBSERVATION: [i64; 3] = [networks::OBSERVATION_CHANNELS, 84, 84];

/// See the module.
pub struct RlTask {
    config: RlConfig,
    space: Space,
}

impl RlTask {
    /// The task.
    pub fn new(config: RlConfig) -> Self {
        Self { space: config.search_space(), config }
    }

    /// Numbers in an action.
    fn actions(&self) -> i64 {
        self.config.environment.action_size() as i64
    }
}

//! Reinforcement learning from pixels: DrQ-v2 on the DeepMind Control suite (paper, section 4.3; facts: RL task).
//!
//! What is searched and how it is trained is written down, with sources, in [`RlConfig`] and [`space()`].

mod agent;
mod config;
mod drawing;
pub mod environment;
mod evaluation;
mod layers;
mod networks;
#[cfg(test)]
mod parity_tests;
pub mod replay;
mod session;
#[cfg(test)]
#[cfg(feature = "rl")]
mod session_tests;
mod space;
mod stage;
pub mod video;
mod words;

use std::path::Path;

use anyhow::{Context, Result};

pub use config::RlConfig;
pub use space::space;

use super::{Diagram, Part, Place, Session, Start, Task, Words};
use crate::checkpoint::{Fresh, Meta, Reader, TensorSpec};
use crate::search::{Genotype, Space};
use environment::{ACTION_REPEAT, Environment, PICTURE};

/// Channels, height and width of an observation: three frames of three colours.
pub const OBSERVATION: [i64; 3] =
    [(replay::STACK * replay::COLOURS) as i64, replay::SIDE as i64, replay::SIDE as i64];

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

    /// All tensors of the networks of an architecture, with the distributions of a fresh initialisation.
    pub fn tensors(&self, genotype: &Genotype) -> Result<Vec<TensorSpec>> {
        agent::tensors(self, genotype)
    }

    /// Numbers in an action.
    fn actions(&self) -> i64 {
        self.config.environment.action_size() as i64
    }
}

impl Task for RlTask {
    fn space(&self) -> &Space {
        &self.space
    }

    fn fresh(&self, genotype: &Genotype, _: &Place) -> Result<Fresh> {
        Ok(Fresh::drawn(self.tensors(genotype)?))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        self.tensors(&checkpoint.meta().genotype)
    }

    fn check(&self) -> Result<()> {
        Environment::check(self.config.environment, &self.config.models)
    }

    fn inherit(&self, base: &Meta, donor: Option<&Meta>) -> Vec<String> {
        // The parent of a mutation is its only one.
        replay::inherit(self.config.inherit, &base.files, &donor.unwrap_or(base).files)
    }

    /// A frame of each transition, compressed to a third.
    fn collects(&self, members: u64, epochs: u32) -> u64 {
        let seen = self.config.frames_per_epoch.saturating_mul(u64::from(epochs)) / u64::from(ACTION_REPEAT);
        let (kept, buffers) = match self.config.share {
            replay::Share::None => (seen, members),
            // One on each machine, or one in all.
            replay::Share::Node | replay::Share::Run => (seen.saturating_mul(members), 1),
        };
        let transitions = kept.min(self.config.replay_capacity as u64).saturating_mul(buffers);
        transitions.saturating_mul(PICTURE as u64 / 3)
    }

    fn parts(&self) -> Vec<Part> {
        ["encoder", "actor"].map(|name| Part { name, prefixes: vec![format!("{name}/")] }).into()
    }

    fn final_samples(&self) -> usize {
        self.config.final_episodes
    }

    fn prepare(&self, _: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn diagram(&self, genotype: &Genotype) -> Result<Diagram> {
        drawing::diagram(self, genotype)
    }

    fn variable_in_words(&self, variable: &str) -> Words {
        words::variable(variable)
    }

    fn value_in_words(&self, variable: &str, value: &str) -> String {
        words::value(variable, value)
    }

    fn session<'a>(&'a self, start: Start<'a>, place: Place) -> Result<Box<dyn Session + 'a>> {
        tch::set_num_threads(self.config.threads);
        let session = session::RlSession::new(self, start, place);
        Ok(Box::new(session.context("failed to set up the agent")?))
    }
}

//! Reinforcement learning from pixels: DrQ-v2 on the DeepMind Control suite (paper, section 4.3; facts: RL task).
//!
//! Sources of the search space and of the training settings are given in [`RlConfig`] and [`space()`].

mod config;
mod drawing;
pub mod environment;
mod inherit;
mod layers;
mod networks;
mod share;
mod space;
#[cfg(feature = "mujoco")]
mod training;
mod words;

use std::path::Path;

#[cfg(feature = "mujoco")]
use anyhow::Context;
use anyhow::Result;

pub use config::{RlConfig, RlKind};
pub use inherit::Inherit;
pub use layers::SpectralInit;
pub use share::Share;
pub use space::space;

use crate::nn::Scope;
use environment::{ACTION_REPEAT, COLOURS, PICTURE, SIDE};
use networks::{Actor, Critic, Encoder};
use pbtnas_core::checkpoint::{InitialTensors, Meta, Reader, TensorSpec};
use pbtnas_core::search::{Genotype, Space};
use pbtnas_engine::task::{Diagram, MemberContext, Part, Session, Start, Task};

/// Frames per observation.
const STACK: usize = 3;
/// Channels, height and width of an observation: three frames of three colours.
const OBSERVATION: [i64; 3] = [(STACK * COLOURS) as i64, SIDE as i64, SIDE as i64];

pub struct RlTask {
    config: RlConfig,
    space: Space,
}

impl RlTask {
    pub fn new(config: RlConfig) -> Self {
        Self { space: config.search_space(), config }
    }

    /// All tensors of the networks of an architecture, with the distributions of a fresh initialisation.
    pub fn tensors(&self, genotype: &Genotype) -> Result<Vec<TensorSpec>> {
        let mut scope = Scope::declare();
        self.networks(genotype, &mut scope)?;
        Ok(scope.into_specs())
    }

    /// Declares or builds all networks of an architecture.
    fn networks(&self, genotype: &Genotype, scope: &mut Scope) -> Result<(Encoder, Actor, Critic)> {
        let config = &self.config;
        Ok((
            Encoder::new(config, genotype, scope)?,
            Actor::new(config, genotype, scope)?,
            Critic::new(config, genotype, scope)?,
        ))
    }

    /// Size of an action.
    fn actions(&self) -> i64 {
        self.config.environment.action_size() as i64
    }
}

impl Task for RlTask {
    fn space(&self) -> &Space {
        &self.space
    }

    fn fresh(&self, genotype: &Genotype, _: &MemberContext) -> Result<InitialTensors> {
        Ok(InitialTensors::sampled(self.tensors(genotype)?))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        self.tensors(&checkpoint.meta().genotype)
    }

    fn check(&self) -> Result<()> {
        #[cfg(feature = "mujoco")]
        return training::Environment::check(self.config.environment, &self.config.models);
        #[cfg(not(feature = "mujoco"))]
        Err(crate::built_without("rl"))
    }

    #[cfg(feature = "mujoco")]
    fn self_tests(&self) -> Vec<pbtnas_engine::task::SelfTest> {
        let mut tests = crate::device_tests(self.config.device);
        tests.push(training::test(self.config.environment, &self.config.models));
        tests
    }

    fn inherit(&self, base: &Meta, donor: Option<&Meta>) -> Vec<String> {
        // An offspring by mutation has one parent.
        inherit::inherit(self.config.inherit, &base.files, &donor.unwrap_or(base).files)
    }

    /// Each transition takes one frame, compressed to a third.
    fn collects(&self, members: u64, epochs: u32) -> u64 {
        let seen = self.config.frames_per_epoch.saturating_mul(u64::from(epochs)) / u64::from(ACTION_REPEAT);
        let (kept, buffers) = match self.config.share {
            Share::None => (seen, members),
            // One per machine, or one for the run.
            Share::Node | Share::Run => (seen.saturating_mul(members), 1),
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

    #[cfg(not(feature = "mujoco"))]
    fn session<'a>(&'a self, _: Start<'a>, _: MemberContext) -> Result<Box<dyn Session + 'a>> {
        Err(crate::built_without("rl"))
    }

    #[cfg(feature = "mujoco")]
    fn session<'a>(&'a self, start: Start<'a>, place: MemberContext) -> Result<Box<dyn Session + 'a>> {
        tch::set_num_threads(self.config.threads);
        let session = training::RlSession::new(self, start, place);
        Ok(Box::new(session.context("failed to set up the agent")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_inherits_from_its_only_parent() {
        let meta = |files: &[&str]| Meta {
            genotype: Genotype::new([]),
            epoch: 1,
            step: 0,
            files: files.iter().map(|name| (*name).to_owned()).collect(),
        };
        let (base, donor) = (meta(&["a", "b"]), meta(&["c"]));
        let none: &[&str] = &[];
        for (inherit, of_mix, of_mutation) in [
            (Inherit::Base, &["a", "b"][..], &["a", "b"][..]),
            (Inherit::Donor, &["c"], &["a", "b"]),
            (Inherit::None, none, none),
        ] {
            let task = RlTask::new(RlConfig { inherit, ..RlConfig::default() });
            assert_eq!(task.inherit(&base, None), of_mutation);
            assert_eq!(task.inherit(&base, Some(&donor)), of_mix);
        }
    }
}

//! The section `[rl]`: environment, sizes and optimisation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::environment::{ACTION_REPEAT, EnvironmentKind};
use super::{Inherit, Share, SpectralInit};
use super::{RlTask, space};
use pbtnas_core::run::BestOf;
use pbtnas_core::search::{Genotype, Space};
use pbtnas_engine::config::{BadValue, SearchConfig, TrainingConfig, absolute};
use pbtnas_engine::device::{Compute, DeviceChoice, Precision};
use pbtnas_engine::task::{Hyperparameter, Task, TaskConfig, TaskKind, read_section, section_table};

/// Settings of the RL task. Defaults are the paper's for Quadruped (facts: RL task). A frame is a step of the
/// environment; an agent acts on every second frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RlConfig {
    /// `walker-run`, `quadruped-run` or `humanoid-run`.
    pub environment: EnvironmentKind,
    /// Folder with the models of the DeepMind Control suite; a relative path is relative to the folder of the
    /// configuration.
    pub models: PathBuf,
    /// Frames of an episode.
    pub episode_frames: u32,
    /// Frames of an epoch: a multiple of `episode_frames`.
    pub frames_per_epoch: u64,
    /// Frames before the first update.
    pub seed_frames: u64,
    /// Initial frames with uniformly random actions.
    pub random_frames: u64,
    /// Steps of the agent per update.
    pub update_every: u64,
    /// Width of the hidden layers of actor and critic.
    pub hidden: usize,
    /// First weights of layers under a spectral norm: `uniform` (PyTorch's default, as the paper's code has it) or
    /// `orthogonal`, as all others.
    pub spectral_init: SpectralInit,
    /// Transitions in a batch of an update.
    pub batch: usize,
    /// Rewards that are summed before the critic's estimate is added (n-step returns).
    pub n_step: usize,
    /// Discount factor per step of the agent.
    pub discount: f64,
    /// Learning rate of AdamW, for all networks. A range makes it a searched hyperparameter.
    pub learning_rate: Hyperparameter,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Added to AdamW's denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Rate at which the target network follows the critic, per update.
    pub target_tau: f64,
    /// Standard deviation of the exploration noise at the start.
    pub exploration_start: f64,
    /// Standard deviation of the exploration noise at the end.
    pub exploration_end: f64,
    /// Steps of the agent over which the noise changes linearly from start to end.
    pub exploration_steps: u64,
    /// Limit of the exploration noise in updates.
    pub exploration_clip: f64,
    /// Capacity of a replay buffer in transitions; the oldest are removed first.
    pub replay_capacity: usize,
    /// The experience that an agent learns from: its own (`none`), that of all members on its machine (`node`) or of
    /// all members (`run`). Only `none` makes a run reproducible bit for bit.
    pub share: Share,
    /// With `share = "none"`: the parent whose experience an offspring inherits, `base`, `donor`, `both` or `none`.
    pub inherit: Inherit,
    /// Episodes of an evaluation, with mean actions.
    pub evaluation_episodes: usize,
    /// Episodes of a final evaluation (`pbtnas evaluate`).
    pub final_episodes: usize,
    /// `auto`, `cpu` or `cuda`.
    pub device: DeviceChoice,
    /// `float32`, `tf32` or `bf16`.
    pub precision: Precision,
    /// CPU threads of a member's networks. Results depend on it in the last bits.
    pub threads: i32,
    /// Threads that unpack batches ahead of the learner; results do not depend on it.
    pub replay_threads: usize,
}

impl Default for RlConfig {
    fn default() -> Self {
        Self {
            environment: EnvironmentKind::QuadrupedRun,
            models: "../.deps/data/dm-control".into(),
            episode_frames: 1000,
            frames_per_epoch: 10_000,
            seed_frames: 4000,
            random_frames: 4000,
            update_every: 2,
            hidden: 1024,
            spectral_init: SpectralInit::Uniform,
            batch: 256,
            n_step: 3,
            discount: 0.99,
            learning_rate: Hyperparameter::Fixed(1e-4),
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            target_tau: 0.01,
            exploration_start: 1.0,
            exploration_end: 0.1,
            exploration_steps: 500_000,
            exploration_clip: 0.3,
            replay_capacity: 100_000,
            share: Share::None,
            inherit: Inherit::Base,
            evaluation_episodes: 10,
            final_episodes: 10,
            device: DeviceChoice::Auto,
            precision: Precision::Float32,
            threads: 1,
            replay_threads: 2,
        }
    }
}

/// Steps of the agent in a number of frames.
pub(super) fn steps(frames: u64) -> u64 {
    frames / u64::from(ACTION_REPEAT)
}

const LEARNING_RATE: &str = "learning_rate";

impl RlConfig {
    /// The 36 variables, followed by the learning rate if it is searched.
    pub fn search_space(&self) -> Space {
        let mut space = space();
        space.variables.extend(self.learning_rate.variable(LEARNING_RATE));
        space
    }

    pub(super) fn learning_rate(&self, genotype: &Genotype) -> anyhow::Result<f64> {
        self.learning_rate.of(LEARNING_RATE, genotype)
    }

    /// Steps of the agent in an episode.
    pub(super) fn episode_steps(&self) -> u64 {
        steps(self.episode_frames.into())
    }

    /// Steps of the agent in an epoch.
    pub(super) fn epoch_steps(&self) -> u64 {
        steps(self.frames_per_epoch)
    }

    /// Standard deviation of the exploration noise at a step of the agent.
    pub(super) fn exploration(&self, step: u64) -> f64 {
        let part = (step as f64 / self.exploration_steps.max(1) as f64).min(1.0);
        (1.0 - part) * self.exploration_start + part * self.exploration_end
    }

    /// Fails with the key of the first invalid value and the reason.
    pub(super) fn first_bad_value(&self) -> Result<(), (&'static str, String)> {
        // The upper bounds exceed what can be trained, and sizes computed from them do not overflow.
        let between = [
            ("episode_frames", self.episode_frames.into(), 2, 1 << 20),
            ("frames_per_epoch", self.frames_per_epoch, 2, 1 << 40),
            ("seed_frames", self.seed_frames, 0, 1 << 40),
            ("random_frames", self.random_frames, 0, 1 << 40),
            ("update_every", self.update_every, 1, 1 << 20),
            ("hidden", self.hidden as u64, 2, 1 << 14),
            ("batch", self.batch as u64, 1, 1 << 14),
            ("n_step", self.n_step as u64, 1, 1 << 10),
            ("exploration_steps", self.exploration_steps, 1, 1 << 40),
            ("replay_threads", self.replay_threads as u64, 1, 1 << 10),
            ("replay_capacity", self.replay_capacity as u64, 1, 1 << 40),
            ("evaluation_episodes", self.evaluation_episodes as u64, 1, 1 << 10),
            ("final_episodes", self.final_episodes as u64, 1, 1 << 10),
        ];
        for (key, value, least, most) in between {
            if value < least || value > most {
                return Err((key, format!("must be between {least} and {most}")));
            }
        }
        let repeat = u64::from(ACTION_REPEAT);
        if !u64::from(self.episode_frames).is_multiple_of(repeat) {
            return Err(("episode_frames", format!("must be a multiple of {repeat}, the action repeat")));
        }
        if !self.frames_per_epoch.is_multiple_of(self.episode_frames.into()) {
            let frames = self.episode_frames;
            return Err((
                "frames_per_epoch",
                format!("must be a multiple of episode_frames, which is {frames}"),
            ));
        }
        let episode = self.episode_steps();
        if self.n_step as u64 > episode {
            return Err(("n_step", format!("must be at most {episode}, the steps of an episode")));
        }
        if (self.replay_capacity as u64) < episode {
            return Err(("replay_capacity", format!("must be at least {episode}, the steps of an episode")));
        }
        if !(1..=1024).contains(&self.threads) {
            return Err(("threads", "must be between 1 and 1024".into()));
        }
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err((key, "must be at least 0 and less than 1".into()));
            }
        }
        for (key, value) in [("discount", self.discount), ("target_tau", self.target_tau)] {
            if !(0.0..=1.0).contains(&value) {
                return Err((key, "must be between 0 and 1".into()));
            }
        }
        let (low, high) = self.learning_rate.bounds();
        for (key, low, high) in [
            (LEARNING_RATE, low, high),
            ("epsilon", self.epsilon, self.epsilon),
            ("weight_decay", self.weight_decay, self.weight_decay),
            ("exploration_start", self.exploration_start, self.exploration_start),
            ("exploration_end", self.exploration_end, self.exploration_end),
            ("exploration_clip", self.exploration_clip, self.exploration_clip),
        ] {
            if !(low >= 0.0 && high.is_finite()) {
                return Err((key, "must be a number that is not negative".into()));
            }
        }
        Ok(())
    }
}

pub struct RlKind;

impl TaskKind for RlKind {
    fn name(&self) -> &'static str {
        "rl"
    }

    fn read(
        &self,
        section: Option<ValueDeserializer>,
    ) -> Result<Option<Arc<dyn TaskConfig>>, toml::de::Error> {
        Ok(Some(Arc::new(read_section::<RlConfig>(section)?)))
    }

    fn paths(&self) -> &'static [&'static str] {
        &["models"]
    }
}

impl TaskConfig for RlConfig {
    fn check(&self, _: &SearchConfig) -> Result<(), BadValue> {
        self.first_bad_value().map_err(BadValue::below("rl"))
    }

    fn space(&self) -> Space {
        self.search_space()
    }

    fn task(self: Arc<Self>, _: &TrainingConfig) -> Box<dyn Task> {
        Box::new(RlTask::new(Self::clone(&self)))
    }

    fn to_table(&self) -> Result<toml::Table, toml::ser::Error> {
        section_table(self)
    }

    fn resolve(&self, folder: &Path) -> Arc<dyn TaskConfig> {
        Arc::new(Self { models: absolute(&folder.join(&self.models)), ..self.clone() })
    }

    /// Few episodes measure fitness, so the best ever would often be the luckiest.
    fn best_of(&self) -> BestOf {
        BestOf::LastGeneration
    }

    fn compute(&self) -> Option<Compute> {
        let threads = self.threads.max(1).unsigned_abs().into();
        Some(Compute { device: self.device, threads, precision: Some(self.precision) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_falls_linearly_and_then_stays() {
        let config = RlConfig::default();
        assert_eq!(config.exploration(0), 1.0);
        assert!((config.exploration(250_000) - 0.55).abs() < 1e-12);
        assert!((config.exploration(500_000) - 0.1).abs() < 1e-12);
        assert!((config.exploration(9_000_000) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn error_names_the_key_of_an_invalid_value() {
        let good = RlConfig::default();
        assert_eq!(good.first_bad_value(), Ok(()));
        let key = |config: RlConfig| config.first_bad_value().unwrap_err().0;
        assert_eq!(key(RlConfig { episode_frames: 999, ..good.clone() }), "episode_frames");
        assert_eq!(key(RlConfig { frames_per_epoch: 10_500, ..good.clone() }), "frames_per_epoch");
        assert_eq!(key(RlConfig { n_step: 501, ..good.clone() }), "n_step");
        assert_eq!(key(RlConfig { replay_capacity: 499, ..good.clone() }), "replay_capacity");
        assert_eq!(key(RlConfig { discount: 1.1, ..good.clone() }), "discount");
        assert_eq!(key(RlConfig { epsilon: f64::NAN, ..good.clone() }), "epsilon");
        assert_eq!(key(RlConfig { batch: 0, ..good }), "batch");
    }
}

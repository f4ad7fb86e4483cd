//! DrQ-v2 (Yarats et al., 2021): an agent's networks, its actions, and an update on a batch, after `update`,
//! `update_critic` and `update_actor` of the published code.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Reduction, Tensor, no_grad};

use crate::nn::{AdamW, Scope, Weights, compute_kind, normal, to_device};
use crate::rl::networks::{Actor, Critic, Encoder};
use crate::rl::training::replay::Batch;
use crate::rl::{OBSERVATION, RlTask};
use pbtnas_core::search::Genotype;
use pbtnas_engine::task::{Seeds, Start};

/// Distance of actions from the limits -1 and 1.
pub const MARGIN: f64 = 1e-6;

/// Encoder, actor, critic and the critic's target.
pub struct Agent {
    /// The tensors of all networks; the averages are those of the target.
    pub weights: Weights,
    pub(super) encoder: Encoder,
    pub(super) actor: Actor,
    pub(super) critic: Critic,
    pub(super) target: Critic,
    adam: AdamW,
    settings: UpdateSettings,
    device: Device,
}

/// Settings of an update.
#[derive(Debug, Clone, Copy)]
struct UpdateSettings {
    target_tau: f64,
    clip: f64,
}

/// A batch of transitions as tensors.
pub struct Transitions {
    /// `(n, 9, 84, 84)`, pixels of 0 to 255, shifted at random.
    pub observations: Tensor,
    /// `(n, actions)`.
    pub actions: Tensor,
    /// `(n, 1)`: discounted sums over n-step windows.
    pub rewards: Tensor,
    /// `(n, 1)`: the weights of the critic's estimates after those steps.
    pub discounts: Tensor,
    /// The observations after those steps, as `observations`.
    pub next_observations: Tensor,
}

impl Transitions {
    /// Copies a batch to a device.
    pub fn new(batch: &Batch, actions: i64, device: Device) -> Self {
        let pixels = |bytes: &[u8]| {
            let shape = [-1, OBSERVATION[0], OBSERVATION[1], OBSERVATION[2]];
            to_device(Tensor::from_slice(bytes).reshape(shape), device).to_kind(Kind::Float)
        };
        let numbers =
            |values: &[f32], width| to_device(Tensor::from_slice(values).reshape([-1, width]), device);
        Self {
            observations: pixels(&batch.observations),
            actions: numbers(&batch.actions, actions),
            rewards: numbers(&batch.rewards, 1),
            discounts: numbers(&batch.discounts, 1),
            next_observations: pixels(&batch.next_observations),
        }
    }
}

/// Standard normal numbers `(n, actions)` of an update.
pub struct Noise {
    /// For the actions after a transition.
    pub next: Tensor,
    /// For the actions in the loss of the actor.
    pub own: Tensor,
}

/// The metrics of an update, as tensors on the device, so that the learner need not wait for them.
pub struct Losses {
    pub critic: Tensor,
    pub actor: Tensor,
    /// Mean of the first estimate of the return.
    pub q: Tensor,
}

impl Agent {
    /// With fresh weights or those of a checkpoint.
    pub fn new(
        task: &RlTask,
        genotype: &Genotype,
        start: Start,
        seeds: &Seeds,
        device: Device,
    ) -> Result<Self> {
        let weights = Weights::new(task.tensors(genotype)?, start, seeds, device)?;
        Self::with(task, genotype, weights, device)
    }

    /// With these weights.
    pub(super) fn with(task: &RlTask, genotype: &Genotype, weights: Weights, device: Device) -> Result<Self> {
        let config = &task.config;
        let kind = compute_kind(config.precision);
        let mut scope = Scope::load(&weights.values).computing_in(kind);
        let (encoder, actor, critic) = task.networks(genotype, &mut scope)?;
        let mut scope = Scope::load(&weights.averages).computing_in(kind);
        let target = Critic::new(config, genotype, &mut scope)?;
        let adam = AdamW {
            learning_rate: config.learning_rate(genotype)?,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
        };
        let settings = UpdateSettings { target_tau: config.target_tau, clip: config.exploration_clip };
        Ok(Self { weights, encoder, actor, critic, target, adam, settings, device })
    }

    /// Mean actions `(n, actions)` of observations `(n, 9, 84, 84)`, as bytes in row-major order.
    pub fn act(&self, observations: &[u8]) -> Vec<f32> {
        let shape = [-1, OBSERVATION[0], OBSERVATION[1], OBSERVATION[2]];
        let mean = no_grad(|| {
            let pixels = to_device(Tensor::from_slice(observations).reshape(shape), self.device);
            self.actor.forward(&self.encoder.forward(&pixels.to_kind(Kind::Float), false), false)
        });
        let mean = mean.to_device(Device::Cpu).contiguous();
        let mut actions = vec![0f32; mean.numel()];
        mean.copy_data(&mut actions, mean.numel());
        actions
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Updates encoder, critic, actor and target; `deviation` is the standard deviation of the exploration noise.
    pub fn update(&mut self, batch: &Transitions, deviation: f64, noise: &Noise) -> Losses {
        let features = self.encoder.forward(&batch.observations, true);
        let next_features = no_grad(|| self.encoder.forward(&batch.next_observations, true));

        let target = no_grad(|| {
            let actions = self.explore(&self.actor.forward(&next_features, true), deviation, &noise.next);
            let (q1, q2) = self.target.forward(&next_features, &actions, true);
            &batch.rewards + &batch.discounts * q1.minimum(&q2)
        });
        let (q1, q2) = self.critic.forward(&features, &batch.actions, true);
        let critic: Tensor = q1.mse_loss(&target, Reduction::Mean) + q2.mse_loss(&target, Reduction::Mean);
        self.weights.update(&["critic", "encoder"], &self.adam, &critic);

        let features = features.detach();
        let actions = self.explore(&self.actor.forward(&features, true), deviation, &noise.own);
        let (own1, own2) = self.critic.forward(&features, &actions, true);
        let actor = -own1.minimum(&own2).mean(None::<Kind>);
        self.weights.update(&["actor"], &self.adam, &actor);

        self.follow();
        Losses { critic: critic.detach(), actor: actor.detach(), q: q1.detach().mean(None::<Kind>) }
    }

    /// Actions with clipped noise. The gradient ignores the limits of actions.
    pub(super) fn explore(&self, mean: &Tensor, deviation: f64, noise: &Tensor) -> Tensor {
        let actions: Tensor = mean + (noise * deviation).clamp(-self.settings.clip, self.settings.clip);
        let limited = actions.detach().clamp(-1.0 + MARGIN, 1.0 - MARGIN);
        &actions - actions.detach() + limited
    }

    /// Moves the target towards the critic, except for the vectors of its spectral norms, which are its own.
    fn follow(&mut self) {
        let tau = self.settings.target_tau;
        no_grad(|| {
            for (name, target) in &mut self.weights.averages {
                let Some(value) = self.weights.values.get(name).filter(|value| value.requires_grad()) else {
                    continue;
                };
                let _ = target.lerp_(value, tau);
            }
        });
    }

    /// Standard normal numbers for an update of a batch of `count`.
    pub fn noise(&self, rng: &mut ChaCha8Rng, count: usize, actions: i64) -> Noise {
        let mut draw = || normal(rng, &[count as i64, actions], self.device);
        Noise { next: draw(), own: draw() }
    }
}

//! An environment: physics and a camera.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::Rng;

use super::physics::Physics;
use super::picture::Camera;
use super::{ACTION_REPEAT, EnvironmentKind, PICTURE, SIDE, model};

/// A simulated body with rewards and images.
///
/// Because of the renderer it can only be used in the thread that created it. A process may have any number.
pub struct Environment {
    physics: Physics,
    camera: Camera,
    limit: u32,
    /// Environment steps of this episode so far.
    steps: u32,
}

impl Environment {
    /// Loads a model from the folder that `scripts/setup rl` creates. An episode has `limit` environment steps
    /// ([`super::EPISODE`] in the suite). Call [`Environment::reset`] or [`Environment::restore`] first.
    ///
    /// Fails if the model is missing or invalid, or if no device can render.
    pub fn new(kind: EnvironmentKind, models: &Path, limit: u32) -> Result<Self> {
        let model = model::load(kind, models)?;
        let camera = Camera::new(&model, kind.camera())?;
        Ok(Self { physics: Physics::new(kind, model)?, camera, limit, steps: limit })
    }

    /// Checks that the model exists and is valid, without a renderer, which a login node may lack.
    pub fn check(kind: EnvironmentKind, models: &Path) -> Result<()> {
        Physics::new(kind, model::load(kind, models)?).map(|_| ())
    }

    /// Begins an episode in a random state from the suite's distribution.
    pub fn reset(&mut self, rng: &mut impl Rng) -> Result<()> {
        self.steps = 0;
        self.physics.reset(rng)
    }

    /// Applies an action ([`EnvironmentKind::action_size`] numbers, clipped to [-1, 1]) for [`ACTION_REPEAT`]
    /// environment steps, or up to the end of the episode. Returns the sum of the rewards, each in [0, 1].
    ///
    /// Fails with [`super::Diverged`] if the state has become invalid; the environment must be reset or restored then.
    pub fn step(&mut self, action: &[f32]) -> Result<f64> {
        ensure!(!self.is_over(), "the episode is over: the environment must be reset");
        self.physics.set_action(action)?;
        let mut reward = 0.0;
        for _ in 0..ACTION_REPEAT.min(self.limit - self.steps) {
            reward += self.physics.step()?;
            self.steps += 1;
        }
        Ok(reward)
    }

    pub fn is_over(&self) -> bool {
        self.steps >= self.limit
    }

    /// Renders the agent's image `(3, SIDE, SIDE)`: [`PICTURE`] bytes, planes of red, green and blue, the top row
    /// first.
    pub fn pixels(&mut self, out: &mut [u8]) -> Result<()> {
        ensure!(out.len() == PICTURE, "an image has {PICTURE} bytes, not {}", out.len());
        let image = self.camera.draw(self.physics.data())?;
        let plane = SIDE * SIDE;
        for (channel, out) in out.chunks_exact_mut(plane).enumerate() {
            // OpenGL's rows begin at the bottom.
            for (row, out) in image.chunks_exact(3 * SIDE).rev().zip(out.chunks_exact_mut(SIDE)) {
                for (pixel, out) in row.chunks_exact(3).zip(out) {
                    *out = pixel[channel];
                }
            }
        }
        Ok(())
    }

    /// Renders an image `(side, side, 3)` for films, the top row first.
    pub fn image(&mut self, side: u32) -> Result<Vec<u8>> {
        let image = self.camera.draw_large(self.physics.data(), side)?;
        Ok(image.chunks_exact(3 * side as usize).rev().flatten().copied().collect())
    }

    /// The complete state: an environment of this kind that is restored to it continues bit for bit.
    pub fn state(&self) -> Vec<f64> {
        let mut state = self.physics.state();
        state.push(f64::from(self.steps));
        state
    }

    /// Restores a state of [`Environment::state`].
    pub fn restore(&mut self, state: &[f64]) -> Result<()> {
        let (&steps, state) = state.split_last().context("the state of the environment is empty")?;
        ensure!(
            (0.0..=f64::from(self.limit)).contains(&steps) && steps.fract() == 0.0,
            "the state of the environment has {steps} of {} steps",
            self.limit
        );
        self.steps = steps as u32;
        self.physics.restore(state)
    }
}

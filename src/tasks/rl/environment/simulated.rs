//! An environment: physics, and a camera that looks at it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::Rng;

use super::physics::Physics;
use super::picture::Camera;
use super::{ACTION_REPEAT, EnvironmentKind, PICTURE, SIDE, model};

/// A world with a body in it, which acts, earns rewards, and is seen.
///
/// It belongs to the thread that made it, as what draws does. Any number may live in threads of one process.
pub struct Environment {
    physics: Physics,
    camera: Camera,
    limit: u32,
    /// Environment steps of this episode so far.
    steps: u32,
}

impl Environment {
    /// From the folder of models that `scripts/setup rl` makes. An episode has `limit` environment steps
    /// ([`super::EPISODE`] in the suite). [`Environment::reset`] or [`Environment::restore`] comes first.
    ///
    /// Fails if a model is missing or broken, or if there is nothing to draw with.
    pub fn new(kind: EnvironmentKind, models: &Path, limit: u32) -> Result<Self> {
        let model = model::load(kind, models)?;
        let camera = Camera::new(&model, kind.camera())?;
        Ok(Self { physics: Physics::new(kind, model)?, camera, limit, steps: limit })
    }

    /// Whether the model is there and sound. Nothing is drawn: a login node may have nothing to draw with.
    pub fn check(kind: EnvironmentKind, models: &Path) -> Result<()> {
        Physics::new(kind, model::load(kind, models)?).map(|_| ())
    }

    /// Begins an episode in a random state, of the suite's distribution.
    pub fn reset(&mut self, rng: &mut impl Rng) -> Result<()> {
        self.steps = 0;
        self.physics.reset(rng)
    }

    /// Acts ([`EnvironmentKind::action_size`] numbers, clipped to [-1, 1]) for [`ACTION_REPEAT`] environment steps, or
    /// up to the episode's end; the sum of the rewards, each in [0, 1].
    ///
    /// Fails with [`super::Diverged`] if the state is no longer one; then only a reset or restore helps.
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

    /// Whether the episode is over.
    pub fn is_over(&self) -> bool {
        self.steps >= self.limit
    }

    /// What the agent sees now: red, green and blue, each [`SIDE`] rows from the top, in [`PICTURE`] bytes.
    pub fn pixels(&mut self, out: &mut [u8]) -> Result<()> {
        ensure!(out.len() == PICTURE, "a picture has {PICTURE} bytes, not {}", out.len());
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

    /// A picture for people, of `side` rows from the top, each of `side` pixels of three bytes.
    pub fn image(&mut self, side: u32) -> Result<Vec<u8>> {
        let image = self.camera.draw_large(self.physics.data(), side)?;
        Ok(image.chunks_exact(3 * side as usize).rev().flatten().copied().collect())
    }

    /// All that the future depends on: an environment of this kind restored to it goes on bit for bit.
    pub fn state(&self) -> Vec<f64> {
        let mut state = self.physics.state();
        state.push(f64::from(self.steps));
        state
    }

    /// Goes on from a state of [`Environment::state`].
    pub fn restore(&mut self, state: &[f64]) -> Result<()> {
        let (&steps, state) = state.split_last().context("the state of the environment is empty")?;
        ensure!(
            (0.0..=f64::from(self.limit)).contains(&steps) && steps.fract() == 0.0,
            "the state of the environment says {steps} steps of {} are done",
            self.limit
        );
        self.steps = steps as u32;
        self.physics.restore(state)
    }
}

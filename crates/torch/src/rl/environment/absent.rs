//! Stands for the environments in a build without MuJoCo.

use std::path::Path;

use anyhow::{Result, bail};
use rand::Rng;

use super::EnvironmentKind;

/// An environment, which cannot be created in this build.
#[derive(Debug)]
pub enum Environment {}

impl Environment {
    /// Fails; the message says how to build pbtnas with environments.
    pub fn new(_kind: EnvironmentKind, _models: &Path, _limit: u32) -> Result<Self> {
        bail!(
            "this pbtnas was built without reinforcement learning. Install EGL (Debian's libegl1 libegl-mesa0 \
             libgl1-mesa-dri, or the driver of an NVIDIA GPU), call `scripts/setup rl`, and build it again: \
             cargo build --release --locked --features rl"
        )
    }

    /// Fails, as [`Environment::new`] does.
    pub fn check(kind: EnvironmentKind, models: &Path) -> Result<()> {
        Self::new(kind, models, super::EPISODE).map(|_| ())
    }

    pub fn reset(&mut self, _rng: &mut impl Rng) -> Result<()> {
        match *self {}
    }

    pub fn step(&mut self, _action: &[f32]) -> Result<f64> {
        match *self {}
    }

    pub fn is_over(&self) -> bool {
        match *self {}
    }

    pub fn pixels(&mut self, _out: &mut [u8]) -> Result<()> {
        match *self {}
    }

    pub fn image(&mut self, _side: u32) -> Result<Vec<u8>> {
        match *self {}
    }

    pub fn state(&self) -> Vec<f64> {
        match *self {}
    }

    pub fn restore(&mut self, _state: &[f64]) -> Result<()> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_says_what_to_install() {
        let error = Environment::new(EnvironmentKind::WalkerRun, Path::new("models"), 1000).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("libegl1") && message.contains("scripts/setup rl"), "{message}");
    }
}

//! Simulates the environments with MuJoCo. Physics, rewards, first states and images are those of dm-control 1.0.50,
//! and tested against it.

mod egl;
mod model;
mod physics;
mod picture;
mod reset;
mod reward;
mod simulated;
#[cfg(test)]
mod tests;

use pbtnas_engine::task::SelfTest;
use rand::SeedableRng;

use crate::rl::environment::{ACTION_REPEAT, EPISODE, EnvironmentKind, PICTURE, SIDE};
pub use simulated::Environment;

/// MuJoCo reported an invalid state (dm-control's `PhysicsError`). The usual cause is a bad network, so it counts as a
/// failure of the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the simulation has diverged ({0})")]
pub struct Diverged(pub String);

/// Tests that MuJoCo simulates and EGL renders an environment on this machine.
pub fn test(kind: EnvironmentKind, models: &std::path::Path) -> SelfTest {
    let look = || -> anyhow::Result<()> {
        let mut environment = Environment::new(kind, models, EPISODE)?;
        environment.reset(&mut rand_chacha::ChaCha8Rng::seed_from_u64(0))?;
        let mut picture = vec![0; PICTURE];
        environment.pixels(&mut picture)?;
        let first = picture.first().copied().unwrap_or(0);
        anyhow::ensure!(picture.iter().any(|byte| *byte != first), "the picture that EGL drew is blank");
        Ok(())
    };
    SelfTest {
        title: "environment",
        outcome: look().map(|()| "MuJoCo moves it, EGL draws it".into()),
        consequence: "Members on machines like this one would fail at once.",
        advice: "`scripts/setup rl` gets MuJoCo and the models. EGL comes with an NVIDIA driver, or as Debian's libegl1 \
                 libegl-mesa0 libgl1-mesa-dri."
            .into(),
        required: true,
        // The models are on the shared filesystem; EGL depends on the machine.
        depends_on_machine: Environment::check(kind, models).is_ok(),
    }
}

//! The environments: three of the `run` tasks of the DeepMind Control suite, with pixels as observations.
//!
//! Physics, rewards, first states and images are those of dm-control 1.0.50, and tested against it.
//! Physics and drawing are MuJoCo's, behind the cargo feature `rl`: [`Environment`] has the same functions without it,
//! but none can be made.

#[cfg(feature = "libtorch")]
use pbtnas_engine::task::SelfTest;
#[cfg(feature = "libtorch")]
use rand::SeedableRng;
use serde::{Deserialize, Serialize};

#[cfg(not(feature = "mujoco"))]
mod absent;
#[cfg(feature = "mujoco")]
mod egl;
#[cfg(feature = "mujoco")]
mod model;
#[cfg(feature = "mujoco")]
mod physics;
#[cfg(feature = "mujoco")]
mod picture;
#[cfg(feature = "mujoco")]
mod reset;
#[cfg(feature = "mujoco")]
mod reward;
#[cfg(feature = "mujoco")]
mod simulated;
#[cfg(test)]
#[cfg(feature = "mujoco")]
mod tests;

#[cfg(not(feature = "mujoco"))]
pub use absent::Environment;
#[cfg(feature = "mujoco")]
pub use simulated::Environment;

/// Width and height of an agent's image.
pub const SIDE: usize = 84;
/// Colour planes of an agent's image: red, green, blue.
pub const COLOURS: usize = 3;
/// Bytes of an agent's image.
pub const PICTURE: usize = COLOURS * SIDE * SIDE;
/// Environment steps per action of the agent.
pub const ACTION_REPEAT: u32 = 2;
/// Environment steps of an episode in the suite.
pub const EPISODE: u32 = 1000;

/// A body and its target speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentKind {
    /// Two legs in a plane, 8 m/s.
    WalkerRun,
    /// Four legs, 5 m/s.
    QuadrupedRun,
    /// A humanoid with 21 joints, 10 m/s.
    HumanoidRun,
}

impl EnvironmentKind {
    /// All environments.
    pub const ALL: [Self; 3] = [Self::WalkerRun, Self::QuadrupedRun, Self::HumanoidRun];

    /// Numbers of an action, each in [-1, 1].
    pub fn action_size(self) -> usize {
        match self {
            Self::WalkerRun => 6,
            Self::QuadrupedRun => 12,
            Self::HumanoidRun => 21,
        }
    }

    /// Environment steps per simulated second.
    pub fn frames_per_second(self) -> u32 {
        match self {
            Self::QuadrupedRun => 50,
            Self::WalkerRun | Self::HumanoidRun => 40,
        }
    }

    /// Index of the agent's camera in the model.
    pub fn camera(self) -> usize {
        match self {
            Self::QuadrupedRun => 2,
            Self::WalkerRun | Self::HumanoidRun => 0,
        }
    }
}

/// MuJoCo reported an invalid state (dm-control's `PhysicsError`). The usual cause is a bad network, so it counts as a failure of
/// the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the simulation has diverged ({0})")]
pub struct Diverged(pub String);

/// Whether MuJoCo moves an environment and EGL draws it here.
#[cfg(feature = "libtorch")]
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
        // Models are on the shared filesystem; EGL is a machine's own.
        depends_on_machine: Environment::check(kind, models).is_ok(),
    }
}

#[cfg(test)]
mod kind_tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_suite() {
        let names = EnvironmentKind::ALL.map(|kind| serde_json::to_string(&kind).unwrap());
        assert_eq!(names, ["\"walker-run\"", "\"quadruped-run\"", "\"humanoid-run\""]);
    }
}

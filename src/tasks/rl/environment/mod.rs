//! The environments: three of the DeepMind Control suite's `run` tasks, seen through a camera.
//!
//! They are what dm-control 1.0.50 makes of its models (physics, rewards, first states, pictures), tested against it.
//! Physics and drawing are MuJoCo's, behind the cargo feature `rl`: [`Environment`] has the same functions without it,
//! but none can be made.

use serde::{Deserialize, Serialize};

#[cfg(not(feature = "rl"))]
mod absent;
#[cfg(feature = "rl")]
mod egl;
#[cfg(feature = "rl")]
mod model;
#[cfg(feature = "rl")]
mod physics;
#[cfg(feature = "rl")]
mod picture;
#[cfg(feature = "rl")]
mod reset;
#[cfg(feature = "rl")]
mod reward;
#[cfg(feature = "rl")]
mod simulated;
#[cfg(test)]
#[cfg(feature = "rl")]
mod tests;

#[cfg(not(feature = "rl"))]
pub use absent::Environment;
#[cfg(feature = "rl")]
pub use simulated::Environment;

/// Width and height of a picture that an agent sees.
pub const SIDE: usize = 84;
/// Colours of a pixel, each in a plane of its own: red, green, blue.
pub const COLOURS: usize = 3;
/// Bytes of such a picture.
pub const PICTURE: usize = COLOURS * SIDE * SIDE;
/// Environment steps that an agent's action lasts.
pub const ACTION_REPEAT: u32 = 2;
/// Environment steps of an episode in the suite.
pub const EPISODE: u32 = 1000;

/// A body, and what it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentKind {
    /// Two legs in a plane, 8 m/s.
    WalkerRun,
    /// Four legs, 5 m/s.
    QuadrupedRun,
    /// A person of 21 joints, 10 m/s.
    HumanoidRun,
}

impl EnvironmentKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WalkerRun, Self::QuadrupedRun, Self::HumanoidRun];

    /// Numbers of an action, each in [-1, 1].
    pub fn action_size(self) -> usize {
        match self {
            Self::WalkerRun => 6,
            Self::QuadrupedRun => 12,
            Self::HumanoidRun => 21,
        }
    }

    /// Environment steps in a second of the simulated world.
    pub fn frames_per_second(self) -> u32 {
        match self {
            Self::QuadrupedRun => 50,
            Self::WalkerRun | Self::HumanoidRun => 40,
        }
    }

    /// Of the model's cameras, the one that an agent looks through.
    pub fn camera(self) -> usize {
        match self {
            Self::QuadrupedRun => 2,
            Self::WalkerRun | Self::HumanoidRun => 0,
        }
    }
}

/// MuJoCo noticed that the state of the world makes no sense any more, as dm-control's `PhysicsError` tells: a bad
/// network is the usual reason, so it is the member's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the simulation has gone astray ({0})")]
pub struct Diverged(pub String);

#[cfg(test)]
mod kind_tests {
    use super::*;

    #[test]
    fn a_configuration_names_an_environment_as_the_suite_does() {
        let names = EnvironmentKind::ALL.map(|kind| serde_json::to_string(&kind).unwrap());
        assert_eq!(names, ["\"walker-run\"", "\"quadruped-run\"", "\"humanoid-run\""]);
    }
}

//! The environments of the task and their sizes: three of the `run` tasks of the DeepMind Control suite, with pixels as
//! observations.

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_suite() {
        let names = EnvironmentKind::ALL.map(|kind| serde_json::to_string(&kind).unwrap());
        assert_eq!(names, ["\"walker-run\"", "\"quadruped-run\"", "\"humanoid-run\""]);
    }
}

//! The key `share`.

use serde::{Deserialize, Serialize};

/// The members that learn from a member's experience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// The member and its offspring. Reproducible bit for bit.
    #[default]
    None,
    /// All members on its machine. The experience of a member depends on the speed of the others.
    Node,
    /// All members of the run, with the same effect.
    Run,
}

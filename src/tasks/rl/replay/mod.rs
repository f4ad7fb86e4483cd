//! What an agent has lived through, on disk.

use serde::{Deserialize, Serialize};

/// Whose experience an agent learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    None,
    Node,
    Run,
}

/// Whose experience an offspring begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inherit {
    Base,
    Donor,
    Both,
    None,
}

/// A batch.
pub struct Batch {
    pub observations: Vec<u8>,
    pub actions: Vec<f32>,
    pub rewards: Vec<f32>,
    pub discounts: Vec<f32>,
    pub next_observations: Vec<u8>,
}

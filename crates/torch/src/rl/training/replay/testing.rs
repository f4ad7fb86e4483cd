//! Episodes for tests.

use std::path::Path;
use std::sync::Arc;

use rand::Rng;

use super::{Episode, FRAME, Recording};
use pbtnas_core::durable_fs::Digest;
use pbtnas_core::search::{RngKey, rng};

/// Size of an action.
pub const ACTION: usize = 2;

/// A random episode. Its frames are noise on a coarse grid, so that they differ everywhere.
pub fn recording(seed: u64, transitions: usize) -> Recording {
    let mut rng = rng(&RngKey { run: seed, generation: 0, member: None, purpose: "test episode" });
    let mut frame = || -> Vec<u8> {
        let cells: Vec<u8> = (0..FRAME / 84).map(|_| rng.random()).collect();
        (0..FRAME).map(|i| cells[i / 84].wrapping_add((i % 84) as u8)).collect()
    };
    let frames: Vec<Vec<u8>> = (0..=transitions).map(|_| frame()).collect();
    let mut recording = Recording::new(&frames[0], ACTION).unwrap();
    for frame in &frames[1..] {
        let action = [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)];
        recording.push(&action, rng.random_range(0.0..2.0), frame).unwrap();
    }
    recording
}

/// Writes a recording to an episode file in `dir`.
pub fn episode(dir: &Path, recording: &Recording) -> Arc<Episode> {
    let bytes = Episode::encode(recording).unwrap();
    let path = dir.join(format!("e-{}.safetensors", Digest::of(&bytes).short()));
    std::fs::write(&path, bytes).unwrap();
    Arc::new(Episode::open(&path).unwrap())
}

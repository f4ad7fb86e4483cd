//! The current episode, in memory.

use anyhow::{Result, bail};

use super::{FRAME, OBSERVATION, STACK};

/// Frames, actions and rewards of an episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    action_size: usize,
    frames: Vec<u8>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
}

impl Recording {
    /// Begins an episode with its first frame `(3, 84, 84)`.
    pub fn new(first: &[u8], action_size: usize) -> Result<Self> {
        Self::from_parts(first.to_vec(), Vec::new(), Vec::new(), action_size)
    }

    /// Restores a recording from [`Recording::frames`], [`Recording::actions`] and [`Recording::rewards`].
    pub fn from_parts(
        frames: Vec<u8>,
        actions: Vec<f32>,
        rewards: Vec<f32>,
        action_size: usize,
    ) -> Result<Self> {
        let steps = rewards.len();
        let fits = frames.len() == (steps + 1) * FRAME && actions.len() == steps * action_size;
        if action_size == 0 || !fits {
            bail!(
                "{} bytes of frames, {} numbers of actions of {action_size} and {steps} rewards do not make an episode",
                frames.len(),
                actions.len(),
            );
        }
        Ok(Self { action_size, frames, actions, rewards })
    }

    /// Adds an action, its reward, and the frame `(3, 84, 84)` that followed.
    pub fn push(&mut self, action: &[f32], reward: f32, frame: &[u8]) -> Result<()> {
        if action.len() != self.action_size || frame.len() != FRAME {
            bail!(
                "an action of {} numbers instead of {}, or a frame of {} bytes instead of {FRAME}",
                action.len(),
                self.action_size,
                frame.len()
            );
        }
        self.actions.extend_from_slice(action);
        self.rewards.push(reward);
        self.frames.extend_from_slice(frame);
        Ok(())
    }

    pub fn transitions(&self) -> usize {
        self.rewards.len()
    }

    /// The current observation `(9, 84, 84)`, the oldest frame first; at the start of an episode the first frame is
    /// repeated.
    pub fn observation(&self) -> Vec<u8> {
        let mut observation = Vec::with_capacity(OBSERVATION);
        for place in 0..STACK {
            let frame = stacked(self.transitions(), place) * FRAME;
            observation.extend_from_slice(&self.frames[frame..frame + FRAME]);
        }
        observation
    }

    /// `(T + 1, 3, 84, 84)`
    pub fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// `(T, A)`
    pub fn actions(&self) -> &[f32] {
        &self.actions
    }

    /// `(T)`
    pub fn rewards(&self) -> &[f32] {
        &self.rewards
    }

    /// Size A of an action.
    pub fn action_size(&self) -> usize {
        self.action_size
    }
}

/// The index of the frame at a position of the stack that ends with frame `last`.
pub(super) fn stacked(last: usize, place: usize) -> usize {
    (last + place).saturating_sub(STACK - 1)
}

#[cfg(test)]
mod tests {
    use super::super::testing::recording;
    use super::*;

    /// The brightness of each frame in an observation.
    fn stack(recording: &Recording) -> Vec<u8> {
        recording.observation().chunks_exact(FRAME).map(|frame| frame[0]).collect()
    }

    #[test]
    fn first_frame_is_repeated() {
        let mut recording = Recording::new(&[1; FRAME], 2).unwrap();
        assert_eq!(stack(&recording), [1, 1, 1]);
        for (frame, expected) in [(2, [1, 1, 2]), (3, [1, 2, 3]), (4, [2, 3, 4])] {
            recording.push(&[0.0, 0.5], 1.0, &[frame; FRAME]).unwrap();
            assert_eq!(stack(&recording), expected);
        }
    }

    #[test]
    fn recording_is_restored_from_its_parts() {
        let recorded = recording(1, 5);
        let (frames, actions, rewards) = (recorded.frames(), recorded.actions(), recorded.rewards());
        let back =
            Recording::from_parts(frames.into(), actions.into(), rewards.into(), recorded.action_size())
                .unwrap();
        assert_eq!(back, recorded);
        let cut = frames[1..].to_vec();
        let error = Recording::from_parts(cut, actions.into(), rewards.into(), 2).unwrap_err().to_string();
        assert!(error.contains("do not make an episode"), "{error}");
        assert!(Recording::new(&[0; FRAME], 0).is_err());
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let mut recorded = recording(1, 2);
        let before = recorded.clone();
        assert!(recorded.push(&[0.0], 0.0, &[0; FRAME]).is_err());
        assert!(recorded.push(&[0.0, 0.0], 0.0, &[0; FRAME - 1]).is_err());
        assert_eq!(recorded, before);
    }
}

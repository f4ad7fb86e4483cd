//! The finished episodes that transitions are drawn from.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Episode;

/// Episodes by name, the oldest first, with room for so many transitions. A copy costs little: episodes are shared.
#[derive(Debug, Clone)]
pub struct Pool {
    capacity: usize,
    transitions: usize,
    episodes: VecDeque<(Arc<str>, Arc<Episode>)>,
}

impl Pool {
    /// Without episodes yet. The capacity is in transitions.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, transitions: 0, episodes: VecDeque::new() }
    }

    /// Adds an episode as the newest. The oldest leave until all fit, but the newest stays whatever its length.
    pub fn push(&mut self, name: &str, episode: Arc<Episode>) {
        self.transitions += episode.transitions();
        self.episodes.push_back((name.into(), episode));
        while self.transitions > self.capacity && self.episodes.len() > 1 {
            let Some((_, oldest)) = self.episodes.pop_front() else { break };
            self.transitions -= oldest.transitions();
        }
    }

    /// The names of its episodes, the oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.episodes.iter().map(|(name, _)| name.as_ref())
    }

    /// Names and episodes.
    pub(super) fn items(&self) -> impl Iterator<Item = (String, Arc<Episode>)> {
        self.episodes.iter().map(|(name, episode)| (name.to_string(), episode.clone()))
    }

    /// Its episodes, the oldest first.
    pub fn episodes(&self) -> impl Iterator<Item = &Arc<Episode>> {
        self.episodes.iter().map(|(_, episode)| episode)
    }

    /// Transitions in it.
    pub fn transitions(&self) -> usize {
        self.transitions
    }

    /// Transitions for which there is room.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many windows of so many transitions there are: what batches are drawn from.
    pub fn windows(&self, steps: usize) -> usize {
        self.episodes().map(|episode| windows(episode, steps)).sum()
    }
}

/// Places of an episode from which so many transitions follow each other.
pub(super) fn windows(episode: &Episode, steps: usize) -> usize {
    (episode.transitions() + 1).saturating_sub(steps)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{episode, recording};
    use super::*;

    #[test]
    fn the_oldest_leave_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = Pool::new(10);
        for (name, steps, expected) in [
            ("a", 4, vec!["a"]),
            ("b", 5, vec!["a", "b"]),
            ("c", 1, vec!["a", "b", "c"]),
            ("d", 1, vec!["b", "c", "d"]),
            ("e", 9, vec!["d", "e"]),
            ("f", 11, vec!["f"]),
        ] {
            pool.push(name, episode(dir.path(), &recording(1, steps)));
            assert_eq!(pool.names().collect::<Vec<_>>(), expected);
            assert_eq!(
                pool.transitions(),
                pool.episodes().map(|episode| episode.transitions()).sum::<usize>()
            );
        }
        assert_eq!((pool.windows(1), pool.windows(3), pool.windows(12)), (11, 9, 0));
    }
}

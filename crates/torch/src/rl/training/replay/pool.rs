//! The finished episodes from which transitions are sampled.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Episode;

/// Episodes by name, the oldest first, with a capacity in transitions. Cloning is cheap, since the episodes are shared.
#[derive(Debug, Clone)]
pub struct EpisodePool {
    capacity: usize,
    transitions: usize,
    episodes: VecDeque<(Arc<str>, Arc<Episode>)>,
}

impl EpisodePool {
    /// An empty pool; the capacity is in transitions.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, transitions: 0, episodes: VecDeque::new() }
    }

    /// Adds an episode as the newest, and removes the oldest until all fit. The newest stays even if it alone is too
    /// long.
    pub fn push(&mut self, name: &str, episode: Arc<Episode>) {
        self.transitions += episode.transitions();
        self.episodes.push_back((name.into(), episode));
        while self.transitions > self.capacity && self.episodes.len() > 1 {
            let Some((_, oldest)) = self.episodes.pop_front() else { break };
            self.transitions -= oldest.transitions();
        }
    }

    /// Names of the episodes, the oldest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.episodes.iter().map(|(name, _)| name.as_ref())
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (String, Arc<Episode>)> {
        self.episodes.iter().map(|(name, episode)| (name.to_string(), episode.clone()))
    }

    /// The episodes, the oldest first.
    pub fn episodes(&self) -> impl Iterator<Item = &Arc<Episode>> {
        self.episodes.iter().map(|(_, episode)| episode)
    }

    pub fn transitions(&self) -> usize {
        self.transitions
    }

    /// Capacity in transitions.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of windows of `steps` consecutive transitions, from which batches are sampled.
    pub fn windows(&self, steps: usize) -> usize {
        self.episodes().map(|episode| windows(episode, steps)).sum()
    }
}

/// Number of windows of `steps` consecutive transitions in an episode.
pub(super) fn windows(episode: &Episode, steps: usize) -> usize {
    (episode.transitions() + 1).saturating_sub(steps)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{episode, recording};
    use super::*;

    #[test]
    fn oldest_are_removed_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = EpisodePool::new(10);
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

//! Batches of n-step transitions, sampled uniformly from a pool, with DrQ's random shifts (Kostrikov et al. 2020,
//! DrQ-v2's augmentation; facts: RL task).
//!
//! An observation is padded by repeating its border, and a window of the original size is cut out at a random position:
//! a shift by whole pixels, the same for all planes. The reference does that on the learner with a bilinear
//! `grid_sample`, which agrees up to rounding. Here it costs nothing, since every row is copied anyway.

use std::io;
use std::thread::Builder;

use anyhow::{Context, Result, anyhow, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::recording::stacked;
use super::{Episode, EpisodePool, FRAME, OBSERVATION, SIDE, STACK, Unpacker, pool};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Transitions per batch, B.
    pub batch: usize,
    /// Number n of rewards that are summed before the critic's estimate is added.
    pub steps: usize,
    /// Discount factor per step.
    pub discount: f32,
    /// Largest shift of an observation in pixels, in each direction; 0 for no augmentation.
    pub pad: usize,
}

/// Transitions for one update.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// `(B, 9, 84, 84)`
    pub observations: Vec<u8>,
    /// `(B, A)`
    pub actions: Vec<f32>,
    /// `(B)`: sum over k < n of discount^k * reward k.
    pub rewards: Vec<f32>,
    /// `(B)`: discount^n, the weight of the critic's estimate. Episodes end by time only, which is not a terminal state
    /// for the critic.
    pub discounts: Vec<f32>,
    /// `(B, 9, 84, 84)`: the observations n steps later.
    pub next_observations: Vec<u8>,
}

/// A shift of an image: the position of the window in the padded image, from the top and from the left.
pub(in crate::rl) type Shift = (usize, usize);

struct SampledTransition<'a> {
    episode: &'a Episode,
    index: usize,
    shift: Shift,
    next_shift: Shift,
}

/// The memory of one transition in a batch.
struct Slot<'a> {
    observation: &'a mut [u8],
    action: &'a mut [f32],
    reward: &'a mut f32,
    discount: &'a mut f32,
    next_observation: &'a mut [u8],
}

impl Batch {
    /// Samples a batch into new memory.
    #[cfg(test)]
    pub fn draw(
        pool: &EpisodePool,
        sampling: &Sampling,
        rng: &mut ChaCha8Rng,
        threads: usize,
    ) -> Result<Self> {
        let mut batch = Self::default();
        batch.redraw(pool, sampling, rng, threads)?;
        Ok(batch)
    }

    /// Samples a batch into the memory of one that is no longer needed. It depends on the pool, the settings and the
    /// generator, but not on the number of threads. Fails if the pool has no episode of n transitions, or a damaged
    /// one.
    pub fn redraw(
        &mut self,
        pool: &EpisodePool,
        sampling: &Sampling,
        rng: &mut ChaCha8Rng,
        threads: usize,
    ) -> Result<()> {
        let draws = draw(pool, sampling, rng)?;
        let action_size = draws.first().map_or(0, |draw| draw.episode.action_size());
        if let Some(other) = draws.iter().find(|draw| draw.episode.action_size() != action_size) {
            let path = other.episode.path().display();
            bail!("the actions of {path} have {} numbers, others {action_size}", other.episode.action_size());
        }
        self.observations.resize(sampling.batch * OBSERVATION, 0);
        self.actions.resize(sampling.batch * action_size, 0.0);
        self.rewards.resize(sampling.batch, 0.0);
        self.discounts.resize(sampling.batch, 0.0);
        self.next_observations.resize(sampling.batch * OBSERVATION, 0);

        let slots = self
            .observations
            .chunks_exact_mut(OBSERVATION)
            .zip(self.actions.chunks_exact_mut(action_size.max(1)))
            .zip(self.rewards.iter_mut().zip(&mut self.discounts))
            .zip(self.next_observations.chunks_exact_mut(OBSERVATION));
        let mut work: Vec<(SampledTransition, Slot)> = draws
            .into_iter()
            .zip(slots.map(|(((observation, action), (reward, discount)), next_observation)| Slot {
                observation,
                action,
                reward,
                discount,
                next_observation,
            }))
            .collect();
        let share = work.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let start = |work| Builder::new().spawn_scoped(scope, move || fill(sampling, work));
            let workers: io::Result<Vec<_>> = work.chunks_mut(share).map(start).collect();
            let workers = workers.context("failed to start a thread that assembles a batch")?;
            workers.into_iter().try_for_each(|worker| {
                worker.join().map_err(|_| anyhow!("a thread that assembles a batch has panicked"))?
            })
        })
    }
}

/// Draws the random numbers of a batch.
fn draw<'a>(
    pool: &'a EpisodePool,
    sampling: &Sampling,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<SampledTransition<'a>>> {
    let Sampling { batch, steps, pad, .. } = *sampling;
    if steps == 0 || pad >= SIDE {
        bail!(
            "batches of {steps} steps with a shift of {pad} pixels: at least one step, and less than {SIDE} pixels"
        );
    }
    // For each episode, the number of possible transitions in it and all older ones.
    let mut ends = Vec::new();
    for episode in pool.episodes() {
        let before = ends.last().map_or(0, |(end, _): &(usize, _)| *end);
        ends.push((before + pool::windows(episode, steps), episode.as_ref()));
    }
    let all = ends.last().map_or(0, |(end, _)| *end);
    if all == 0 {
        bail!("there is no finished episode of at least {steps} transitions");
    }
    let shift = |rng: &mut ChaCha8Rng| (rng.random_range(0..=2 * pad), rng.random_range(0..=2 * pad));
    let mut draws = Vec::with_capacity(batch);
    for _ in 0..batch {
        let place = rng.random_range(0..all);
        let (shift, next_shift) = (shift(rng), shift(rng));
        let at = ends.partition_point(|(end, _)| *end <= place);
        let (end, episode) = *ends.get(at).context("a place beyond all episodes")?;
        let index = place + pool::windows(episode, steps) - end;
        draws.push(SampledTransition { episode, index, shift, next_shift });
    }
    Ok(draws)
}

/// Fills the slots of one thread.
fn fill(sampling: &Sampling, work: &mut [(SampledTransition, Slot)]) -> Result<()> {
    let mut filler = Filler::new(sampling)?;
    work.iter_mut().try_for_each(|(draw, slot)| filler.fill(draw, slot))
}

/// The buffers of a thread that fills slots.
struct Filler {
    sampling: Sampling,
    unpacker: Unpacker,
    frame: Vec<u8>,
}

impl Filler {
    fn new(sampling: &Sampling) -> Result<Self> {
        Ok(Self { sampling: *sampling, unpacker: Unpacker::new()?, frame: vec![0; FRAME] })
    }

    fn fill(&mut self, draw: &SampledTransition, slot: &mut Slot) -> Result<()> {
        let Sampling { steps, discount, pad, .. } = self.sampling;
        let SampledTransition { episode, index, .. } = *draw;
        episode.action(index, slot.action)?;
        (*slot.reward, *slot.discount) = (0.0, 1.0);
        for step in 0..steps {
            *slot.reward += *slot.discount * episode.reward(index + step)?;
            *slot.discount *= discount;
        }
        // Each frame is unpacked only once.
        for frame in stacked(index, 0)..=index + steps {
            let goes = |last: usize| (0..STACK).filter(move |place| stacked(last, *place) == frame);
            if goes(index).chain(goes(index + steps)).next().is_none() {
                continue;
            }
            episode.frame(frame, &mut self.unpacker, &mut self.frame)?;
            for place in goes(index) {
                shifted(&self.frame, draw.shift, pad, &mut slot.observation[place * FRAME..][..FRAME]);
            }
            for place in goes(index + steps) {
                shifted(
                    &self.frame,
                    draw.next_shift,
                    pad,
                    &mut slot.next_observation[place * FRAME..][..FRAME],
                );
            }
        }
        Ok(())
    }
}

/// The window at `(top, left)` of a frame that is padded by `pad` repeated pixels on each side.
pub(in crate::rl) fn shifted(frame: &[u8], (top, left): Shift, pad: usize, out: &mut [u8]) {
    for (plane, out) in frame.chunks_exact(SIDE * SIDE).zip(out.chunks_exact_mut(SIDE * SIDE)) {
        for (y, out) in out.chunks_exact_mut(SIDE).enumerate() {
            let y = (y + top).saturating_sub(pad).min(SIDE - 1);
            let row = &plane[y * SIDE..][..SIDE];
            if left >= pad {
                let (copied, repeated) = out.split_at_mut(SIDE - (left - pad));
                copied.copy_from_slice(&row[left - pad..]);
                repeated.fill(row[SIDE - 1]);
            } else {
                let (repeated, copied) = out.split_at_mut(pad - left);
                repeated.fill(row[0]);
                copied.copy_from_slice(&row[..SIDE - (pad - left)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Recording;
    use super::super::testing::{ACTION, episode, recording};
    use super::*;
    use pbtnas_core::search::{RngKey, rng};
    use proptest::prelude::*;

    const PLAIN: Sampling = Sampling { batch: 64, steps: 3, discount: 0.9, pad: 0 };

    fn generator(seed: u64) -> ChaCha8Rng {
        rng(&RngKey { run: seed, generation: 0, member: None, purpose: "batch" })
    }

    /// A pool of episodes of these lengths, and their recordings.
    fn pool(dir: &tempfile::TempDir, lengths: &[usize]) -> (EpisodePool, Vec<Recording>) {
        let recorded: Vec<_> =
            lengths.iter().enumerate().map(|(seed, &length)| recording(seed as u64, length)).collect();
        let mut pool = EpisodePool::new(usize::MAX);
        for (seed, recording) in recorded.iter().enumerate() {
            pool.push(&seed.to_string(), episode(dir.path(), recording));
        }
        (pool, recorded)
    }

    /// The episode and the index of an action.
    fn origin(recorded: &[Recording], action: &[f32]) -> (usize, usize) {
        let places = recorded.iter().enumerate().flat_map(|(episode, recorded)| {
            recorded.actions().chunks_exact(ACTION).enumerate().map(move |(index, own)| (episode, index, own))
        });
        let (episode, index, _) = places.clone().find(|(.., own)| *own == action).unwrap();
        (episode, index)
    }

    /// The observation that ends with frame `last`.
    fn observation(recorded: &Recording, last: usize) -> Vec<u8> {
        let frames: Vec<&[u8]> = recorded.frames().chunks_exact(FRAME).collect();
        let at = |back: usize| frames[last.saturating_sub(back)];
        [at(2), at(1), at(0)].concat()
    }

    /// The reference for [`shifted`]: pads, then crops.
    fn pad_and_crop(observation: &[u8], (top, left): Shift, pad: usize) -> Vec<u8> {
        let wide = SIDE + 2 * pad;
        let inside = |i: usize| (i as isize - pad as isize).clamp(0, SIDE as isize - 1) as usize;
        let mut cropped = Vec::new();
        for plane in observation.chunks_exact(SIDE * SIDE) {
            let padded: Vec<u8> =
                (0..wide * wide).map(|i| plane[inside(i / wide) * SIDE + inside(i % wide)]).collect();
            for y in top..top + SIDE {
                cropped.extend_from_slice(&padded[y * wide + left..][..SIDE]);
            }
        }
        cropped
    }

    #[test]
    fn batches_match_the_recordings() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, recorded) = pool(&dir, &[3, 6, 1, 4]);
        let mut starts = std::collections::BTreeSet::new();
        for steps in 1..=4 {
            let sampling = Sampling { steps, ..PLAIN };
            let batch = Batch::draw(&pool, &sampling, &mut generator(steps as u64), 2).unwrap();
            for b in 0..sampling.batch {
                let (episode, index) = origin(&recorded, &batch.actions[b * ACTION..][..ACTION]);
                let recorded = &recorded[episode];
                assert_eq!(
                    batch.observations[b * OBSERVATION..][..OBSERVATION],
                    observation(recorded, index)
                );
                let next = &batch.next_observations[b * OBSERVATION..][..OBSERVATION];
                assert_eq!(next, observation(recorded, index + steps));
                let reward: f64 = (0..steps)
                    .map(|k| 0.9f64.powi(k as i32) * f64::from(recorded.rewards()[index + k]))
                    .sum();
                assert!((f64::from(batch.rewards[b]) - reward).abs() < 1e-5);
                assert!((f64::from(batch.discounts[b]) - 0.9f64.powi(steps as i32)).abs() < 1e-6);
                if steps == 1 {
                    starts.insert((episode, index));
                }
            }
        }
        // With 64 samples of 14 transitions, each one occurs, and so does the first of an episode with its repeated
        // frames.
        assert_eq!(starts.len(), 14);
    }

    /// Chi-square with 24 degrees of freedom: 1 in 1000 such sums is over 51.2.
    #[test]
    fn transitions_are_sampled_uniformly() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, _) = pool(&dir, &[3, 20, 2, 1, 8]);
        let sampling = Sampling { batch: 25_000, ..PLAIN };
        let draws = draw(&pool, &sampling, &mut generator(1)).unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for draw in &draws {
            *counts.entry((draw.episode.path(), draw.index)).or_insert(0.0) += 1.0;
        }
        // 1 + 18 + 6 places; the episodes of two and one transitions have none.
        assert_eq!(counts.len(), 25);
        let squares: f64 = counts.values().map(|count: &f64| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!(squares < 51.2, "{squares}");
    }

    /// Chi-square with 80 degrees of freedom: 1 in 1000 is over 124.8.
    #[test]
    fn shifts_are_uniform_and_independent() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, _) = pool(&dir, &[3]);
        let sampling = Sampling { batch: 81_000, pad: 4, ..PLAIN };
        let draws = draw(&pool, &sampling, &mut generator(2)).unwrap();
        let chi_square = |cell: &dyn Fn(&SampledTransition) -> Shift| {
            let mut counts = [[0.0; 9]; 9];
            for draw in &draws {
                let (a, b) = cell(draw);
                counts[a][b] += 1.0;
            }
            counts.as_flattened().iter().map(|count: &f64| (count - 1000.0).powi(2) / 1000.0).sum::<f64>()
        };
        for sum in [
            chi_square(&|draw| draw.shift),
            chi_square(&|draw| draw.next_shift),
            chi_square(&|draw| (draw.shift.0, draw.next_shift.0)),
            chi_square(&|draw| (draw.shift.1, draw.next_shift.1)),
        ] {
            assert!(sum < 124.8, "{sum}");
        }
    }

    #[test]
    fn observation_and_next_observation_are_shifted_separately() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, recorded) = pool(&dir, &[5]);
        let sampling = Sampling { pad: 4, ..PLAIN };
        let draws = draw(&pool, &sampling, &mut generator(3)).unwrap();
        let batch = Batch::draw(&pool, &sampling, &mut generator(3), 1).unwrap();
        for (b, draw) in draws.iter().enumerate() {
            let seen = pad_and_crop(&observation(&recorded[0], draw.index), draw.shift, 4);
            assert_eq!(batch.observations[b * OBSERVATION..][..OBSERVATION], seen);
            let next = pad_and_crop(&observation(&recorded[0], draw.index + 3), draw.next_shift, 4);
            assert_eq!(batch.next_observations[b * OBSERVATION..][..OBSERVATION], next);
        }
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_threads() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, _) = pool(&dir, &[5, 9]);
        let sampling = Sampling { batch: 13, pad: 4, ..PLAIN };
        let one = Batch::draw(&pool, &sampling, &mut generator(1), 1).unwrap();
        for threads in [0, 2, 5, 13, 40] {
            assert_eq!(Batch::draw(&pool, &sampling, &mut generator(1), threads).unwrap(), one);
        }
        assert_ne!(Batch::draw(&pool, &sampling, &mut generator(2), 1).unwrap(), one);
        // Nor on the previous contents of the memory.
        let mut used = Batch::draw(&pool, &Sampling { batch: 30, ..sampling }, &mut generator(5), 2).unwrap();
        used.redraw(&pool, &sampling, &mut generator(1), 2).unwrap();
        assert_eq!(used, one);
    }

    #[test]
    fn sampling_without_episodes_fails() {
        let dir = tempfile::tempdir().unwrap();
        for lengths in [&[][..], &[2, 1]] {
            let error = Batch::draw(&pool(&dir, lengths).0, &PLAIN, &mut generator(1), 1).unwrap_err();
            assert!(error.to_string().contains("no finished episode of at least 3"), "{error}");
        }
        let wrong = Sampling { pad: SIDE, ..PLAIN };
        assert!(Batch::draw(&pool(&dir, &[5]).0, &wrong, &mut generator(1), 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn shifting_matches_pad_and_crop(seed: u64, pad in 0usize..12, top in 0.0..1.0, left in 0.0..1.0) {
            let place = |part: f64| (part * (2 * pad + 1) as f64) as usize;
            let shift = (place(top), place(left));
            let frame = &recording(seed, 0).frames()[..FRAME].to_vec();
            let mut out = vec![0; FRAME];
            shifted(frame, shift, pad, &mut out);
            prop_assert_eq!(out, pad_and_crop(frame, shift, pad));
        }
    }
}

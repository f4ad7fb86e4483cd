//! Samples batches in the background while the learner uses earlier ones.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;

use super::{Batch, EpisodePool, Sampling};

/// A request for a batch.
struct Order {
    pool: Arc<EpisodePool>,
    sampling: Sampling,
    rng: ChaCha8Rng,
}

/// Samples batches in the background in the order of the requests, each with several threads. The results are those of
/// [`Batch::redraw`].
pub struct Sampler {
    orders: Option<Sender<Order>>,
    batches: Option<Receiver<Result<Batch>>>,
    used: Option<Sender<Batch>>,
    worker: Option<JoinHandle<()>>,
    /// Number of batches that were requested and not yet taken.
    waiting: usize,
}

impl Sampler {
    /// `threads` is the number of threads per batch.
    pub fn new(threads: usize) -> Result<Self> {
        let (orders, to_make) = channel::<Order>();
        let (done, batches) = channel();
        let (used, spare) = channel::<Batch>();
        let work = move || {
            for mut order in to_make {
                let mut batch = spare.try_recv().unwrap_or_default();
                let made = batch.redraw(&order.pool, &order.sampling, &mut order.rng, threads);
                if done.send(made.map(|()| batch)).is_err() {
                    break;
                }
            }
        };
        let worker = std::thread::Builder::new().name("batches".into()).spawn(work);
        let worker = Some(worker.context("failed to start the thread that samples batches")?);
        Ok(Self { orders: Some(orders), batches: Some(batches), used: Some(used), worker, waiting: 0 })
    }

    /// Requests a batch. The learner requests batches ahead, so that they are ready in time.
    pub fn ask(&mut self, pool: Arc<EpisodePool>, sampling: Sampling, rng: ChaCha8Rng) {
        self.waiting += 1;
        if let Some(orders) = &self.orders {
            // If the thread has ended, `take` fails.
            let _ = orders.send(Order { pool, sampling, rng });
        }
    }

    /// Waits for the oldest batch that was requested and not yet taken. Fails if sampling it failed.
    pub fn take(&mut self) -> Result<Batch> {
        self.waiting = self.waiting.checked_sub(1).context("a batch was taken without a request")?;
        let batch = self.batches.as_ref().and_then(|batches| batches.recv().ok());
        batch.context("the thread that samples batches has ended")?
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns a batch that is no longer needed, so that its memory can be reused.
    pub fn recycle(&self, batch: Batch) {
        let _ = self.used.as_ref().map(|used| used.send(batch));
    }
}

impl Drop for Sampler {
    /// Waits for the batch that is being sampled, and drops later requests.
    fn drop(&mut self) {
        drop((self.batches.take(), self.orders.take(), self.used.take()));
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{episode, recording};
    use super::*;
    use pbtnas_core::search::{RngKey, rng};

    const SAMPLING: Sampling = Sampling { batch: 8, steps: 3, discount: 0.99, pad: 4 };

    fn generator(seed: u64) -> ChaCha8Rng {
        rng(&RngKey { run: seed, generation: 0, member: None, purpose: "sampler" })
    }

    #[test]
    fn batches_are_in_the_order_of_requests() {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = EpisodePool::new(100);
        pool.push("a", episode(dir.path(), &recording(1, 9)));
        let small = Arc::new(pool.clone());
        pool.push("b", episode(dir.path(), &recording(2, 9)));
        let large = Arc::new(pool);
        let mut sampler = Sampler::new(2).unwrap();
        let pool = |number: u64| if number < 7 { &small } else { &large };
        let ask = |sampler: &mut Sampler, number| {
            sampler.ask(pool(number).clone(), SAMPLING, generator(number));
        };
        (0..2).for_each(|number| ask(&mut sampler, number));
        for number in 0..12 {
            ask(&mut sampler, number + 2);
            assert_eq!(sampler.waiting(), 3);
            let batch = sampler.take().unwrap();
            assert_eq!(batch, Batch::draw(pool(number), &SAMPLING, &mut generator(number), 1).unwrap());
            sampler.recycle(batch);
        }
        // The sampler is dropped with pending requests.
    }

    #[test]
    fn error_reaches_the_learner_and_the_next_batch_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = EpisodePool::new(100);
        let mut sampler = Sampler::new(1).unwrap();
        sampler.ask(Arc::new(pool.clone()), SAMPLING, generator(1));
        pool.push("a", episode(dir.path(), &recording(1, 9)));
        sampler.ask(Arc::new(pool), SAMPLING, generator(2));
        assert!(sampler.take().unwrap_err().to_string().contains("no finished episode"));
        assert!(sampler.take().is_ok());
        assert!(sampler.take().unwrap_err().to_string().contains("without a request"));
    }
}

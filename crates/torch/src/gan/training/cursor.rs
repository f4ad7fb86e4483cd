//! The position of a member in its data: the images of each optimizer step, and the key of its random numbers.

use std::path::Path;

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use crate::gan::GanConfig;
use crate::gan::data::Images;
use pbtnas_core::search::{Genotype, rng};
use pbtnas_engine::task::{Seeds, Start};

pub struct DataCursor {
    pub images: Images,
    batch: usize,
    steps_per_epoch: u64,
    seeds: Seeds,
    /// Completed epochs.
    pub epoch: u32,
    /// Completed steps of the current epoch.
    pub step: u64,
    /// An epoch, and the indices of the images in its shuffled order.
    pub order: Option<(u32, Vec<i64>)>,
}

impl DataCursor {
    /// The architecture, and the position of `start`: the beginning, or that of a checkpoint. `least` is the size of the
    /// smallest batch that can be trained on.
    pub fn new(
        config: &GanConfig,
        start: Start,
        seeds: Seeds,
        shared: &Path,
        least: usize,
    ) -> Result<(Genotype, Self)> {
        let images = Images::open(config, shared)?;
        let steps_per_epoch = batches(images.len(), config.batch, least);
        let (genotype, epoch, step) = start.origin(steps_per_epoch)?;
        Ok((genotype, Self { images, batch: config.batch, steps_per_epoch, seeds, epoch, step, order: None }))
    }

    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Whether the generators are trained in the current step, too: in the first of an epoch, and in every n-th after it.
    pub fn trains_generator(&self, discriminator_steps: u64) -> bool {
        self.step.is_multiple_of(discriminator_steps)
    }

    /// The real images of the current step, in [-1, 1]; in the last one of an epoch there may be fewer.
    pub fn real(&mut self, device: Device) -> Result<Tensor> {
        if self.order.as_ref().is_none_or(|(epoch, _)| *epoch != self.epoch) {
            let mut order: Vec<i64> = (0..self.images.len() as i64).collect();
            order.shuffle(&mut rng(&self.seeds.at(&format!("data order {}", self.epoch))));
            self.order = Some((self.epoch, order));
        }
        let (_, order) = self.order.as_ref().context("the data has no order")?;
        let first = self.step as usize * self.batch;
        let last = (first + self.batch).min(order.len());
        Ok(self.images.batch(&order[first..last], device))
    }

    /// The random numbers of the current step.
    pub fn rng(&self) -> ChaCha8Rng {
        rng(&self.seeds.at(&format!("step {} {}", self.epoch, self.step)))
    }

    /// Advances by a step.
    pub fn advance(&mut self) {
        self.step += 1;
        if self.step == self.steps_per_epoch() {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
    }
}

/// The batches of an epoch: complete ones, and a smaller one if at least that many images remain.
fn batches(images: usize, batch: usize, least: usize) -> u64 {
    (images / batch + usize::from(images % batch >= least.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Facts (What is reported): the 105 000 images of STL-10 take 821 steps of the discriminator.
    #[test]
    fn last_batch_of_an_epoch_is_smaller() {
        assert_eq!(batches(105_000, 128, 1), 821);
        assert_eq!(batches(50_000, 40, 1), 1250);
        assert_eq!((batches(41, 40, 1), batches(41, 40, 2)), (2, 1));
    }
}

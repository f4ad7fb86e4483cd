//! Where a member is in its data: the images of each step, and the address of its random numbers.

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use super::GanConfig;
use super::data::Images;
use crate::search::{Genotype, rng};
use crate::tasks::{Seeds, Start};

/// See the module.
pub struct Course {
    /// All real images.
    pub images: Images,
    batch: usize,
    seeds: Seeds,
    /// Epochs that are complete.
    pub epoch: u32,
    /// Steps done in the next one.
    pub step: u64,
    /// Positions of the images in the order of an epoch.
    pub order: Option<(u32, Vec<i64>)>,
}

impl Course {
    /// At the beginning, or where a checkpoint is; and the architecture.
    pub fn new(config: &GanConfig, start: Start, seeds: Seeds) -> Result<(Genotype, Self)> {
        let images = Images::open(config)?;
        let (genotype, epoch, step) = start.origin((images.len() / config.batch) as u64)?;
        Ok((genotype, Self { images, batch: config.batch, seeds, epoch, step, order: None }))
    }

    /// Whole batches of the data set.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.images.len() / self.batch) as u64
    }

    /// Steps since the first epoch began.
    pub fn steps(&self) -> u64 {
        u64::from(self.epoch) * self.steps_per_epoch() + self.step
    }

    /// The real images of the step.
    pub fn real(&mut self, device: Device) -> Result<Tensor> {
        if self.order.as_ref().is_none_or(|(epoch, _)| *epoch != self.epoch) {
            let mut order: Vec<i64> = (0..self.images.len() as i64).collect();
            order.shuffle(&mut rng(&self.seeds.at(&format!("data order {}", self.epoch))));
            self.order = Some((self.epoch, order));
        }
        let (_, order) = self.order.as_ref().context("the data has no order")?;
        let first = self.step as usize * self.batch;
        Ok(self.images.batch(&order[first..first + self.batch], device))
    }

    /// The random numbers of the step.
    pub fn rng(&self) -> ChaCha8Rng {
        rng(&self.seeds.at(&format!("step {} {}", self.epoch, self.step)))
    }

    /// The step is done.
    pub fn go_on(&mut self) {
        self.step += 1;
        if self.step == self.steps_per_epoch() {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
    }
}

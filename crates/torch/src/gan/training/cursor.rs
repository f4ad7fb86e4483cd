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
    seeds: Seeds,
    /// Completed epochs.
    pub epoch: u32,
    /// Completed steps of the current epoch.
    pub step: u64,
    /// An epoch, and the indices of the images in its shuffled order.
    pub order: Option<(u32, Vec<i64>)>,
}

impl DataCursor {
    /// The architecture, and the position of `start`: the beginning, or that of a checkpoint.
    pub fn new(config: &GanConfig, start: Start, seeds: Seeds, shared: &Path) -> Result<(Genotype, Self)> {
        let images = Images::open(config, shared)?;
        let (genotype, epoch, step) = start.origin((images.len() / config.batch) as u64)?;
        Ok((genotype, Self { images, batch: config.batch, seeds, epoch, step, order: None }))
    }

    /// Number of complete batches in the data set; the remaining images are not used in that epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.images.len() / self.batch) as u64
    }

    /// Completed steps of all epochs.
    pub fn steps(&self) -> u64 {
        u64::from(self.epoch) * self.steps_per_epoch() + self.step
    }

    /// The real images of the current step, in [-1, 1].
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

//! The feature space in which generated images are compared with real ones: Inception's, or that of a small
//! classifier; and the statistics of the real images there.

mod cache;
mod classifier;
mod saved;

use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::{Device, Tensor};

use super::GanConfig;
use super::data::Images;
use super::frechet::Statistics;
use super::inception::Inception;
use super::scope::Values;
use crate::gpu::device;
use classifier::Classifier;

pub use saved::bytes_of;

/// Statistics of the real images, and the classifier if there is one, among the files that members share.
const FEATURES: &str = "features.safetensors";
/// The Inception network, as the user gave it.
const INCEPTION: &str = "inception";
/// Images that go through a network at a time.
const BATCH: usize = 100;

enum Network {
    Classifier(Classifier),
    Inception(Box<Inception>),
}

/// See the module.
pub struct Features {
    network: Network,
    /// Mean and covariance of the training images' features, in double precision.
    pub real: (Tensor, Tensor),
    device: Device,
}

impl Features {
    /// Loads what [`prepare`] made in the folder that members share.
    pub fn load(shared: &Path, config: &GanConfig, channels: i64, device: Device) -> Result<Self> {
        let values = saved::load(&shared.join(FEATURES), device)?;
        let statistic = |name: &str| {
            let found = values.get(name).map(|value| value.to_device(Device::Cpu));
            found.with_context(|| format!("{} has no {name}", shared.join(FEATURES).display()))
        };
        let real = (statistic("statistics/mean")?, statistic("statistics/covariance")?);
        let network = match config.inception {
            Some(_) => Network::Inception(Box::new(Inception::load(&shared.join(INCEPTION), device)?)),
            None => Network::Classifier(Classifier::load(&values, config, channels)),
        };
        Ok(Self { network, real, device })
    }

    /// Features `(n, dimension)` and class probabilities `(n, classes)` of 8-bit images
    /// `(n, channels, size, size)`.
    pub fn of(&self, pixels: &Tensor) -> Result<(Tensor, Tensor)> {
        match &self.network {
            Network::Classifier(classifier) => Ok(classifier.of(&pixels.to_device(self.device))),
            Network::Inception(inception) => inception.features_and_probabilities(pixels),
        }
    }
}

/// Makes the files that [`Features::load`] reads in a folder; their names.
///
/// The statistics of real images in Inception's features are taken from the cache if the same images went
/// through the same network before: on a CPU that takes an hour.
pub fn prepare(config: &GanConfig, images: &Images, dir: &Path) -> Result<Vec<String>> {
    let device = device(config.device)?;
    let file = dir.join(FEATURES);
    let Some(inception) = &config.inception else {
        let mut values = classifier::train(config, images)?;
        let network = Network::Classifier(Classifier::load(&values, config, images.channels()));
        let (mean, covariance) = statistics(&network, images, device)?;
        values.insert("statistics/mean".into(), mean);
        values.insert("statistics/covariance".into(), covariance);
        saved::save(&file, &values)?;
        return Ok(vec![FEATURES.into()]);
    };
    let copy = dir.join(INCEPTION);
    std::fs::copy(inception, &copy).with_context(|| format!("failed to copy {}", inception.display()))?;
    let network = Network::Inception(Box::new(Inception::load(&copy, device)?));
    let cached = cache::place(config, images, &copy)?;
    if let Some(cached) = cached.as_ref().filter(|cached| cache::take(cached, &file)) {
        eprintln!("statistics of the real images: {}", cached.display());
    } else {
        let (mean, covariance) = statistics(&network, images, device)?;
        let values = Values::from([
            ("statistics/mean".to_owned(), mean),
            ("statistics/covariance".to_owned(), covariance),
        ]);
        saved::save(&file, &values)?;
        if let Some(cached) = cached {
            cache::put(&file, &cached);
        }
    }
    Ok(vec![FEATURES.into(), INCEPTION.into()])
}

/// Mean and covariance of the features of all images.
fn statistics(network: &Network, images: &Images, device: Device) -> Result<(Tensor, Tensor)> {
    let mut statistics: Option<Statistics> = None;
    let positions: Vec<i64> = (0..images.len() as i64).collect();
    let begun = std::time::Instant::now();
    let mut told = begun;
    for batch in positions.chunks(BATCH) {
        let pixels = images.pixels(batch);
        let (features, _) = match network {
            Network::Classifier(classifier) => classifier.of(&pixels.to_device(device)),
            Network::Inception(inception) => inception.features_and_probabilities(&pixels)?,
        };
        let statistics = statistics.get_or_insert_with(|| Statistics::new(features.size()[1]));
        statistics.add(&features);
        if told.elapsed().as_secs() >= 30 {
            told = std::time::Instant::now();
            let done = batch.last().copied().unwrap_or(0) + 1;
            eprintln!(
                "statistics of the real images: {done} of {} after {} s",
                images.len(),
                begun.elapsed().as_secs()
            );
        }
    }
    match statistics {
        Some(statistics) => statistics.finish(),
        None => bail!("there are no real images"),
    }
}

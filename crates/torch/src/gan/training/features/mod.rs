//! The feature space in which generated images are compared with real ones (Inception's, or that of a small
//! classifier), and the statistics of the real images in it.

mod cache;
mod classifier;
mod saved;

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use tch::{Device, Kind, Tensor};

use crate::device::device;
use crate::gan::GanConfig;
use crate::gan::data::Images;
use crate::gan::training::frechet::Statistics;
use crate::gan::training::inception::{self, Inception};
use crate::nn::Values;
use classifier::Classifier;

/// File of the statistics of the real images, and of the classifier if there is one.
const FEATURES: &str = "features.safetensors";
/// Copy of the Inception network.
const INCEPTION: &str = "inception";
/// Images per forward pass.
const BATCH: usize = 100;

enum FeatureNetwork {
    Classifier(Classifier),
    Inception(Box<Inception>),
}

/// A feature network, and the statistics of the real images.
pub struct Features {
    network: FeatureNetwork,
    /// Mean and covariance of the features of the training images, in double precision.
    pub real: (Tensor, Tensor),
    device: Device,
}

impl Features {
    /// Loads what [`prepare`] wrote to the folder that members share.
    pub fn load(shared: &Path, config: &GanConfig, channels: i64, device: Device) -> Result<Self> {
        let path = shared.join(FEATURES);
        let values = saved::load(&path, device)?;
        let (network, dimension) = match config.inception {
            Some(_) => {
                let inception = Inception::load(&shared.join(INCEPTION), device)?;
                (FeatureNetwork::Inception(Box::new(inception)), inception::FEATURES)
            }
            None => {
                let classifier = Classifier::load(&values, config, channels);
                let classifier = classifier.with_context(|| format!("{} is damaged", path.display()))?;
                (FeatureNetwork::Classifier(classifier), classifier::DIMENSION)
            }
        };
        let statistic = |name: &str, shape: &[i64]| {
            let found =
                values.get(name).filter(|value| value.size() == shape && value.kind() == Kind::Double);
            let found = found.map(|value| value.to_device(Device::Cpu));
            found.with_context(|| format!("{} has no {name} of shape {shape:?}", path.display()))
        };
        let mean = statistic("statistics/mean", &[dimension])?;
        let real = (mean, statistic("statistics/covariance", &[dimension, dimension])?);
        Ok(Self { network, real, device })
    }

    /// Features `(n, dimension)` and class probabilities `(n, classes)` of 8-bit images
    /// `(n, channels, size, size)`.
    pub fn of(&self, pixels: &Tensor) -> Result<(Tensor, Tensor)> {
        match &self.network {
            FeatureNetwork::Classifier(classifier) => Ok(classifier.of(&pixels.to_device(self.device))),
            FeatureNetwork::Inception(inception) => inception.features_and_probabilities(pixels),
        }
    }
}

/// Writes the files that [`Features::load`] reads to `dir`, and returns their names.
///
/// The statistics of Inception's features take an hour on a CPU, so they are cached for other runs with the same images
/// and the same network.
pub fn prepare(config: &GanConfig, images: &Images, dir: &Path) -> Result<Vec<String>> {
    let device = device(config.device)?;
    let file = dir.join(FEATURES);
    let Some(inception) = &config.inception else {
        let mut values = classifier::train(config, images)?;
        let network = FeatureNetwork::Classifier(Classifier::load(&values, config, images.channels())?);
        let (mean, covariance) = statistics(&network, images, device)?;
        values.insert("statistics/mean".into(), mean);
        values.insert("statistics/covariance".into(), covariance);
        saved::save(&file, &values)?;
        return Ok(vec![FEATURES.into()]);
    };
    let copy = dir.join(INCEPTION);
    std::fs::copy(inception, &copy).with_context(|| format!("failed to copy {}", inception.display()))?;
    let loaded = Inception::load(&copy, device).map_err(|error| {
        // The copy is in a temporary folder: the message names the original.
        let (copy, inception) = (copy.display().to_string(), inception.display().to_string());
        anyhow!(format!("{error:#}").replace(&copy, &inception))
    });
    let network = FeatureNetwork::Inception(Box::new(loaded?));
    let cached = cache::place(config, images, &copy)?;
    if let Some(cached) = cached.as_ref().filter(|cached| cache::take(cached, &file)) {
        tracing::info!("statistics of the real images: {}", cached.display());
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
fn statistics(network: &FeatureNetwork, images: &Images, device: Device) -> Result<(Tensor, Tensor)> {
    let mut statistics: Option<Statistics> = None;
    let positions: Vec<i64> = (0..images.len() as i64).collect();
    let begun = std::time::Instant::now();
    let mut reported = begun;
    for batch in positions.chunks(BATCH) {
        let pixels = images.pixels(batch);
        let (features, _) = match network {
            FeatureNetwork::Classifier(classifier) => classifier.of(&pixels.to_device(device)),
            FeatureNetwork::Inception(inception) => inception.features_and_probabilities(&pixels)?,
        };
        let statistics = statistics.get_or_insert_with(|| Statistics::new(features.size()[1]));
        statistics.add(&features);
        if reported.elapsed().as_secs() >= 30 {
            reported = std::time::Instant::now();
            let done = batch.last().copied().unwrap_or(0) + 1;
            tracing::info!(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gan::data::tests::write_data_set;

    #[test]
    fn file_with_other_tensors_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write_data_set(dir.path(), 48);
        let (image_size, bottom_width) = (8, 1);
        let config =
            GanConfig { data: dir.path().into(), image_size, bottom_width, batch: 4, ..GanConfig::default() };
        let path = dir.path().join(
            prepare(&config, &Images::open(&config, dir.path()).unwrap(), dir.path()).unwrap().remove(0),
        );
        let good = saved::load(&path, Device::Cpu).unwrap();
        let load = || Features::load(dir.path(), &config, 1, Device::Cpu).map(drop);
        load().unwrap();
        let double = |shape: &[i64]| Tensor::zeros(shape, (tch::Kind::Double, Device::Cpu));
        let float = |shape: &[i64]| Tensor::zeros(shape, (tch::Kind::Float, Device::Cpu));
        for (name, wrong) in [
            ("statistics/mean", double(&[])),
            ("statistics/mean", double(&[63])),
            ("statistics/mean", float(&[64])),
            ("statistics/covariance", double(&[64])),
            ("features/classes/bias", float(&[])),
            ("features/classes/bias", float(&[0])),
            ("features/classes/bias", double(&[10])),
            ("features/classes/weight", float(&[10, 63])),
            ("features/conv1/weight", float(&[16, 3, 3, 3])),
        ] {
            let mut values: Values = good.iter().map(|(name, value)| (name.clone(), value.copy())).collect();
            values.insert(name.into(), wrong);
            saved::save(&path, &values).unwrap();
            let error = format!("{:#}", load().unwrap_err());
            assert!(error.contains("features.safetensors"), "{name}: {error}");
            values.remove(name);
            saved::save(&path, &values).unwrap();
            load().unwrap_err();
        }
        // As a signed integer, libtorch's type, the size is negative.
        let header = r#"{"__metadata__":{"format":"1","genotype":"{}","epoch":"0","step":"0"},"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}"#;
        std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
        assert!(format!("{:#}", load().unwrap_err()).contains("has a bad \"a\""));
    }
}

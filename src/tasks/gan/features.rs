//! The feature space of the Fréchet distance: a small classifier, trained once on the data's own labels.
//!
//! Everything that depends on this network goes through [`Features`]; another network needs another way to
//! build one, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;
use safetensors::Dtype;
use tch::{Device, Kind, Tensor, no_grad};

use super::GanConfig;
use super::data::{Images, scale};
use super::frechet::Statistics;
use super::layers::{Conv, Linear, Shape};
use super::optimizer::AdamW;
use super::scope::{Role, Scope, Values};
use crate::checkpoint::{CheckpointError, Entry, Meta, Reader, TensorSpec, fresh, write};
use crate::gpu::device;
use crate::search::{Address, Genotype, rng};

/// Dimension of the features.
pub const DIMENSION: i64 = 64;
/// Images for which features are computed at a time.
const BATCH: i64 = 250;

/// Three convolutions, each followed by ReLU and halving, a linear layer to the features, one to the classes.
struct Classifier {
    convs: Vec<Conv>,
    features: Linear,
    classes: Linear,
}

impl Classifier {
    fn new(scope: &mut Scope, channels: i64, side: i64, classes: i64) -> Self {
        let widths = [channels, 16, 32, 64];
        let convs = (0..3)
            .map(|i| {
                let path = format!("features/conv{}", i + 1);
                Conv::new(scope, &path, Shape::plain(widths[i], widths[i + 1], 3), Role::Parameter, true)
            })
            .collect();
        let pooled = side / 8;
        Self {
            convs,
            features: Linear::new(scope, "features/linear", 64 * pooled * pooled, DIMENSION, Role::Parameter),
            classes: Linear::new(scope, "features/classes", DIMENSION, classes, Role::Parameter),
        }
    }

    /// Features `(n, 64)` of images in [-1, 1].
    fn features(&self, images: &Tensor) -> Tensor {
        let mut x = images.shallow_clone();
        for conv in &self.convs {
            x = conv.forward(&x, false).relu().max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
        }
        self.features.forward(&x.flatten(1, -1), false).relu()
    }
}

/// A network that maps 8-bit images to features, and the statistics of the real images there.
pub struct Features {
    classifier: Classifier,
    /// Mean and covariance of the training images' features, in double precision.
    pub real: (Tensor, Tensor),
    device: Device,
}

impl Features {
    /// Loads what [`prepare`] wrote.
    pub fn load(path: &Path, config: &GanConfig, channels: i64, device: Device) -> Result<Self> {
        let reader = Reader::open(path)?;
        let classes = reader.entry("model/features/classes/bias").map_or(10, |(_, shape)| shape[0] as i64);
        let mut values = Values::new();
        for spec in specs(config, channels, classes) {
            let shape = spec.shape.clone();
            let value = read(&reader, &format!("model/{}", spec.name), Dtype::F32, &shape)?;
            values.insert(spec.name, value.to_device(device));
        }
        let side = config.image_size as i64;
        let classifier = Classifier::new(&mut Scope::load(&values), channels, side, classes);
        let dimension = DIMENSION as usize;
        let mean = read(&reader, "statistics/mean", Dtype::F64, &[dimension])?;
        let covariance = read(&reader, "statistics/covariance", Dtype::F64, &[dimension, dimension])?;
        Ok(Self { classifier, real: (mean, covariance), device })
    }

    /// Features `(n, 64)` of 8-bit images `(n, channels, size, size)`.
    pub fn of(&self, pixels: &Tensor) -> Tensor {
        no_grad(|| self.classifier.features(&scale(&pixels.to_device(self.device))))
    }
}

fn specs(config: &GanConfig, channels: i64, classes: i64) -> Vec<TensorSpec> {
    let mut scope = Scope::declare();
    Classifier::new(&mut scope, channels, config.image_size as i64, classes);
    scope.into_specs()
}

fn read(reader: &Reader, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Tensor, CheckpointError> {
    let bytes = reader.bytes(&Entry { name: name.into(), dtype, shape: shape.to_vec() })?;
    let kind = if dtype == Dtype::F64 { Kind::Double } else { Kind::Float };
    let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    Ok(Tensor::from_data_size(&bytes, &shape, kind))
}

/// The little-endian bytes of a tensor.
pub fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Trains the classifier on nine tenths of the images, prints its accuracy on the rest, and writes it with
/// the statistics of all images. The same seed gives the same file (on one CPU type).
pub fn prepare(config: &GanConfig, images: &Images, run_seed: u64, path: &Path) -> Result<()> {
    let device = device(config.device)?;
    let channels = images.channels();
    let labels = images.labels();
    let Some(classes) = labels.iter().max().map(|class| class + 1) else {
        bail!("the feature network learns from labels, but there are none among the images in use");
    };
    let network = Address { run: run_seed, generation: 0, member: None, purpose: "features" };
    let mut values = Values::new();
    for spec in specs(config, channels, classes) {
        let numbers: Vec<f32> = fresh(&spec, &network).collect();
        let shape: Vec<i64> = spec.shape.iter().map(|&size| size as i64).collect();
        let value = Tensor::from_slice(&numbers).reshape(shape).to_device(device).set_requires_grad(true);
        values.insert(spec.name, value);
    }
    let classifier = Classifier::new(&mut Scope::load(&values), channels, config.image_size as i64, classes);
    let parameters: Vec<(String, Tensor)> =
        values.iter().map(|(name, value)| (name.clone(), value.shallow_clone())).collect();
    let leaves: Vec<&Tensor> = parameters.iter().map(|(_, value)| value).collect();
    let adam = AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut state = BTreeMap::new();

    let held_out = labels.len() / 10;
    let mut order: Vec<i64> = (0..(labels.len() - held_out) as i64).collect();
    for epoch in 0..config.feature_epochs {
        let purpose = format!("features order {epoch}");
        order.shuffle(&mut rng(&Address { purpose: &purpose, ..network }));
        for batch in order.chunks(64) {
            let x = images.batch(batch, device);
            let classes: Vec<i64> = batch.iter().map(|&position| labels[position as usize]).collect();
            let classes = Tensor::from_slice(&classes).to_device(device);
            let logits = classifier.classes.forward(&classifier.features(&x), false);
            let loss = logits.cross_entropy_for_logits(&classes);
            let gradients = Tensor::run_backward(&[&loss], &leaves, false, false);
            adam.step(&mut state, &parameters, &gradients);
        }
    }

    let mut statistics = Statistics::new(DIMENSION);
    let mut right = 0;
    no_grad(|| -> Result<()> {
        let positions: Vec<i64> = (0..images.len() as i64).collect();
        for batch in positions.chunks(BATCH as usize) {
            let features = classifier.features(&images.batch(batch, device));
            let guesses = classifier.classes.forward(&features, false).argmax(1, false);
            let guesses = Vec::<i64>::try_from(&guesses)?;
            right += batch
                .iter()
                .zip(guesses)
                .filter(|&(&position, guess)| {
                    let position = position as usize;
                    position >= labels.len() - held_out && labels.get(position) == Some(&guess)
                })
                .count();
            statistics.add(&features);
        }
        Ok(())
    })?;
    eprintln!(
        "feature network: {:.1} % of {held_out} held-out images classified right",
        100.0 * right as f64 / held_out.max(1) as f64
    );
    let (mean, covariance) = statistics.finish()?;
    values.insert("statistics/mean".into(), mean);
    values.insert("statistics/covariance".into(), covariance);
    save(path, &values)
}

fn save(path: &Path, values: &Values) -> Result<()> {
    let named: BTreeMap<String, &Tensor> = values
        .iter()
        .map(|(name, value)| {
            let full = if name.starts_with("statistics/") { name.clone() } else { format!("model/{name}") };
            (full, value)
        })
        .collect();
    let entries = named
        .iter()
        .map(|(name, value)| Entry {
            name: name.clone(),
            dtype: if value.kind() == Kind::Double { Dtype::F64 } else { Dtype::F32 },
            shape: value.size().iter().map(|&size| size.unsigned_abs() as usize).collect(),
        })
        .collect();
    let mut file =
        std::fs::File::create(path).with_context(|| format!("failed to write {}", path.display()))?;
    let meta = Meta { genotype: Genotype::new([]), epoch: 0, step: 0 };
    write(&mut file, &meta, entries, |entry, out| match named.get(&entry.name) {
        Some(value) => out.write_all(&bytes_of(value)),
        None => Ok(()),
    })
    .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(())
}

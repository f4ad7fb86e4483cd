//! A small classifier, trained once on the labels of the data set. Its features are used if Inception's do not suit the
//! data, or if Inception is not available.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rand::seq::SliceRandom;
use tch::{Kind, Tensor, no_grad};

use crate::device::device;
use crate::gan::GanConfig;
use crate::gan::data::{Images, scale};
use crate::gan::layers::{Conv, Linear, Shape};
use crate::nn::AdamW;
use crate::nn::{Role, Scope, Values};
use pbtnas_core::checkpoint::{TensorSpec, fresh};
use pbtnas_core::search::{RngKey, rng};

/// Dimension of the features.
pub const DIMENSION: i64 = 64;

/// Three convolutions, each followed by ReLU and halving, a linear layer to the features, one to the classes.
pub struct Classifier {
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

impl Classifier {
    /// Builds the classifier from the values that [`train`] returned, or that were saved. Fails if one is missing or
    /// has another shape.
    pub fn load(values: &Values, config: &GanConfig, channels: i64) -> Result<Self> {
        let classes = values.get("features/classes/bias").map(Tensor::size);
        let Some(&[classes]) = classes.as_deref() else { bail!("the feature network has no classes") };
        for spec in specs(config, channels, classes) {
            let fits = |value: &Tensor| {
                let same =
                    value.size().iter().map(|size| size.unsigned_abs() as usize).eq(spec.shape.clone());
                same && value.kind() == Kind::Float
            };
            if !values.get(&spec.name).is_some_and(fits) {
                bail!("the feature network has no {:?} of shape {:?}", spec.name, spec.shape);
            }
        }
        Ok(Self::new(&mut Scope::load(values), channels, config.image_size as i64, classes))
    }

    /// Features `(n, 64)` and class probabilities of 8-bit images `(n, channels, size, size)` on its device.
    pub fn of(&self, pixels: &Tensor) -> (Tensor, Tensor) {
        no_grad(|| {
            let features = self.features(&scale(pixels));
            let probabilities = self.classes.forward(&features, false).softmax(1, Kind::Float);
            (features, probabilities)
        })
    }
}

/// The tensors of a saved classifier: names and shapes.
pub fn specs(config: &GanConfig, channels: i64, classes: i64) -> Vec<TensorSpec> {
    let mut scope = Scope::declare();
    Classifier::new(&mut scope, channels, config.image_size as i64, classes);
    scope.into_specs()
}

/// Trains a classifier on nine tenths of the labelled images, and reports its accuracy on the rest. It does not depend
/// on the seed of the run: the same data and sizes give the same weights (on one type of CPU), so that the fitness of
/// different runs can be compared.
pub fn train(config: &GanConfig, images: &Images) -> Result<Values> {
    let device = device(config.device)?;
    let channels = images.channels();
    let labels = images.labels();
    let Some(classes) = labels.iter().max().map(|class| class + 1) else {
        bail!(
            "the feature network is trained on labels, but the images in use have none: set [gan] inception, or use labelled \
             images (with dataset = \"folder\", a sub-folder for each class)"
        );
    };
    let network = RngKey { run: 0, generation: 0, member: None, purpose: "features" };
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
        order.shuffle(&mut rng(&RngKey { purpose: &purpose, ..network }));
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

    let first = labels.len() - held_out;
    let test: Vec<i64> = (first as i64..labels.len() as i64).collect();
    let mut right = 0;
    for batch in test.chunks(250) {
        let guesses = no_grad(|| {
            let features = classifier.features(&images.batch(batch, device));
            classifier.classes.forward(&features, false).argmax(1, false)
        });
        let guesses = Vec::<i64>::try_from(&guesses)?;
        right += batch.iter().zip(guesses).filter(|&(&at, guess)| labels[at as usize] == guess).count();
    }
    tracing::info!(
        "feature network: {:.1} % of {held_out} held-out images classified correctly",
        100.0 * right as f64 / held_out.max(1) as f64
    );
    Ok(values)
}

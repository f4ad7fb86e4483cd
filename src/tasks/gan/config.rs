//! `[gan]`: data, sizes and optimisation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DataSet, SpaceKind, SupernetConfig, space};
use crate::gpu::{DeviceChoice, Precision};
use crate::search::{Genotype, Space};
use crate::tasks::Hyperparameter;
use crate::tasks::nn::AdamW;

/// Settings of the GAN task. Defaults are the paper's for CIFAR-10 (facts: GAN task), at a width that trains
/// on a CPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GanConfig {
    /// `gan` (21 variables) or `gan-hard` (72).
    pub space: SpaceKind,
    /// `idx`, `cifar-10` or `stl-10`: the format of the files in `data`.
    pub dataset: DataSet,
    /// Folder with the files; a relative path is relative to the configuration's own folder.
    pub data: PathBuf,
    /// Number of images to use, the first ones; 0 for all.
    pub subset: usize,
    /// Width and height that the networks see: 8 times `bottom_width`. Smaller images get a black border,
    /// larger ones are scaled down.
    pub image_size: usize,
    /// Width of the generator's first feature map.
    pub bottom_width: usize,
    /// gf_dim, channels in the generator.
    pub generator_width: usize,
    /// df_dim, channels in the discriminator.
    pub discriminator_width: usize,
    /// Size of the latent vector; a multiple of the number of projections.
    pub latent: usize,
    /// In the space `gan`, linear layers from a part of the latent: 3 (CIFAR-10; one for each cell) or 2
    /// (STL-10; the last cell has none). In `gan-hard` there are always 3.
    pub projections: usize,
    /// Real images in a discriminator step, and as many generated ones.
    pub batch: usize,
    /// Images in a generator step.
    pub generator_batch: usize,
    /// Discriminator steps for each generator step.
    pub discriminator_steps: u64,
    /// Of AdamW, for both networks, as are the four after the next. A range makes it a hyperparameter that is
    /// searched.
    pub learning_rate: Hyperparameter,
    /// The discriminator's, if it is not the same; a range too, or a number (two time-scale update rule: Heusel et al.,
    /// 2017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discriminator_learning_rate: Option<Hyperparameter>,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the moving average of the generator's parameters, for each generator step.
    pub average_decay: f64,
    /// Generated images for the Fréchet distance during the search.
    pub evaluation_images: usize,
    /// Generated images for a final evaluation (`pbtnas evaluate`).
    pub final_images: usize,
    /// The Inception network for FID and IS: `inception-2015-12-05.pt` (TorchScript) or a safetensors file
    /// with pytorch-fid's names. Without it, a small classifier is trained on the data's own labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception: Option<PathBuf>,
    /// Epochs for which that classifier is trained.
    pub feature_epochs: usize,
    /// `auto`, `cpu` or `cuda`.
    pub device: DeviceChoice,
    /// `float32`, `tf32` or `bf16`.
    pub precision: Precision,
    /// CPU threads of a member. The same number gives the same numbers.
    pub threads: i32,
    /// Of `algorithm = "adversarial-nas"`.
    pub supernet: SupernetConfig,
}

impl Default for GanConfig {
    fn default() -> Self {
        Self {
            space: SpaceKind::Gan,
            dataset: DataSet::Idx,
            data: "../.deps/data/fashion-mnist".into(),
            subset: 0,
            image_size: 32,
            bottom_width: 4,
            generator_width: 32,
            discriminator_width: 32,
            latent: 120,
            projections: 3,
            batch: 40,
            generator_batch: 80,
            discriminator_steps: 5,
            learning_rate: Hyperparameter::Fixed(2e-4),
            discriminator_learning_rate: None,
            beta1: 0.0,
            beta2: 0.9,
            epsilon: 1e-4,
            weight_decay: 0.0,
            average_decay: 0.999,
            evaluation_images: 5000,
            final_images: 50_000,
            inception: None,
            feature_epochs: 3,
            device: DeviceChoice::Auto,
            precision: Precision::Float32,
            threads: 1,
            supernet: SupernetConfig::default(),
        }
    }
}

const LEARNING_RATE: &str = "learning_rate";
const DISCRIMINATOR_LEARNING_RATE: &str = "discriminator_learning_rate";

impl GanConfig {
    /// The numbers that may be searched, by key.
    fn hyperparameters(&self) -> impl Iterator<Item = (&'static str, &Hyperparameter)> {
        let discriminator = self.discriminator_learning_rate.as_ref();
        [(LEARNING_RATE, Some(&self.learning_rate)), (DISCRIMINATOR_LEARNING_RATE, discriminator)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }

    /// The variables of the space, and behind them the hyperparameters that are searched.
    pub fn search_space(&self) -> Space {
        let mut space = space(self.space);
        space.variables.extend(self.hyperparameters().filter_map(|(key, value)| value.variable(key)));
        space
    }

    /// The optimizer of both networks.
    pub(super) fn optimizer(&self, learning_rate: f64) -> AdamW {
        AdamW {
            learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
        }
    }

    /// The same with the sizes of the supernet.
    pub(super) fn supernet_sizes(&self) -> Self {
        Self {
            generator_width: self.supernet.generator_width,
            discriminator_width: self.supernet.discriminator_width,
            batch: self.supernet.batch,
            generator_batch: self.supernet.generator_batch,
            ..self.clone()
        }
    }

    /// The learning rates of generator and discriminator.
    pub(super) fn learning_rates(&self, genotype: &Genotype) -> anyhow::Result<(f64, f64)> {
        let generator = self.learning_rate.of(LEARNING_RATE, genotype)?;
        let discriminator = match &self.discriminator_learning_rate {
            Some(rate) => rate.of(DISCRIMINATOR_LEARNING_RATE, genotype)?,
            None => generator,
        };
        Ok((generator, discriminator))
    }

    /// The first value that cannot be used: its key and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        // Far more than can be trained, and little enough that no size that follows from them runs over.
        let between = [
            ("bottom_width", self.bottom_width, 1, 128),
            ("generator_width", self.generator_width, 1, 4096),
            ("discriminator_width", self.discriminator_width, 1, 4096),
            ("latent", self.latent, 1, 1 << 16),
            ("subset", self.subset, 0, 1 << 40),
            ("batch", self.batch, 1, 1 << 16),
            ("generator_batch", self.generator_batch, 1, 1 << 16),
            ("feature_epochs", self.feature_epochs, 1, 1 << 20),
            ("evaluation_images", self.evaluation_images, 2, 1 << 40),
            ("final_images", self.final_images, 2, 1 << 40),
        ];
        for (key, value, least, most) in between {
            if value < least || value > most {
                return Err((key, format!("must be between {least} and {most}")));
            }
        }
        if self.image_size != 8 * self.bottom_width {
            let size = 8 * self.bottom_width;
            return Err(("image_size", format!("must be 8 times bottom_width, which is {size}")));
        }
        if !(2..=3).contains(&self.projections) {
            return Err(("projections", "must be 2 or 3".into()));
        }
        let parts = if self.space == SpaceKind::GanHard { 3 } else { self.projections };
        if !self.latent.is_multiple_of(parts) {
            return Err(("latent", format!("must be a multiple of {parts}, the number of projections")));
        }
        if !(1..=1 << 20).contains(&self.discriminator_steps) {
            return Err(("discriminator_steps", format!("must be between 1 and {}", 1 << 20)));
        }
        if !(1..=1024).contains(&self.threads) {
            return Err(("threads", "must be between 1 and 1024".into()));
        }
        let decays = [("beta1", self.beta1), ("beta2", self.beta2), ("average_decay", self.average_decay)];
        for (key, value) in decays {
            if !(0.0..1.0).contains(&value) {
                return Err((key, "must be at least 0 and less than 1".into()));
            }
        }
        let searchable = self.hyperparameters().map(|(key, value)| (key, value.bounds()));
        let others = [("epsilon", self.epsilon), ("weight_decay", self.weight_decay)];
        for (key, (low, high)) in searchable.chain(others.map(|(key, value)| (key, (value, value)))) {
            if !(low >= 0.0 && high.is_finite()) {
                return Err((key, "must be a number that is not negative".into()));
            }
        }
        Ok(())
    }
}

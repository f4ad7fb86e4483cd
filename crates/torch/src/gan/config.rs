//! The section `[gan]`: data, sizes and optimisation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::{DataSet, GanTask, SpaceKind, SupernetConfig, derive, space};
#[cfg(feature = "libtorch")]
use crate::nn::AdamW;
use pbtnas_core::run::Supernet;
use pbtnas_core::search::{Algorithm, Genotype, Space};
use pbtnas_engine::config::{BadValue, SearchConfig, TrainingConfig, absolute};
use pbtnas_engine::device::{Compute, DeviceChoice, Precision};
use pbtnas_engine::task::{Hyperparameter, Task, TaskConfig, TaskKind, read_section, section_table};

/// Settings of the GAN task. Defaults are the paper's for CIFAR-10 (facts: GAN task), at a width that can be trained on
/// a CPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GanConfig {
    /// `gan` (21 variables) or `gan-hard` (72).
    pub space: SpaceKind,
    /// Format of the files in `data`: `idx`, `cifar-10`, `stl-10` or `folder`.
    pub dataset: DataSet,
    /// Folder with the files; a relative path is relative to the folder of the configuration.
    pub data: PathBuf,
    /// Number of images to use, the first ones (of a folder, random ones); 0 for all.
    pub subset: usize,
    /// Width and height of the networks' images: 8 times `bottom_width`. Smaller images get a black border, larger ones
    /// are scaled down.
    pub image_size: usize,
    /// Width of the generator's first feature map.
    pub bottom_width: usize,
    /// gf_dim, channels in the generator.
    pub generator_width: usize,
    /// df_dim, channels in the discriminator.
    pub discriminator_width: usize,
    /// Size of the latent vector; a multiple of the number of projections.
    pub latent: usize,
    /// In the space `gan`, the number of linear layers from a part of the latent: 3 (CIFAR-10; one for each cell) or 2
    /// (STL-10; none for the last cell). In `gan-hard` it is always 3.
    pub projections: usize,
    /// Real images in a discriminator step, which uses as many generated ones.
    pub batch: usize,
    /// Images in a generator step.
    pub generator_batch: usize,
    /// Discriminator steps for each generator step.
    pub discriminator_steps: u64,
    /// Learning rate of AdamW, for both networks. A range makes it a searched hyperparameter.
    pub learning_rate: Hyperparameter,
    /// The discriminator's learning rate if it differs, a number or a range (two time-scale update rule: Heusel et al.,
    /// 2017).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discriminator_learning_rate: Option<Hyperparameter>,
    /// Decay of AdamW's first moment, for both networks.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Added to AdamW's denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the moving average of the generator's parameters, per generator step.
    pub average_decay: f64,
    /// Generated images for the Fréchet distance during the search.
    pub evaluation_images: usize,
    /// Generated images for a final evaluation (`pbtnas evaluate`).
    pub final_images: usize,
    /// The Inception network for FID and IS: `inception-2015-12-05.pt` (TorchScript) or a safetensors file
    /// with pytorch-fid's names. Without it, a small classifier is trained on the data's own labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception: Option<PathBuf>,
    /// Epochs of training of that classifier.
    pub feature_epochs: usize,
    /// `auto`, `cpu` or `cuda`.
    pub device: DeviceChoice,
    /// `float32`, `tf32` or `bf16`.
    pub precision: Precision,
    /// CPU threads of a member. Results depend on it in the last bits.
    pub threads: i32,
    /// Settings of `algorithm = "adversarial-nas"`.
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
    /// The values that can be searched, by key.
    fn hyperparameters(&self) -> impl Iterator<Item = (&'static str, &Hyperparameter)> {
        let discriminator = self.discriminator_learning_rate.as_ref();
        [(LEARNING_RATE, Some(&self.learning_rate)), (DISCRIMINATOR_LEARNING_RATE, discriminator)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }

    /// The variables of the space, followed by the searched hyperparameters.
    pub fn search_space(&self) -> Space {
        let mut space = space(self.space);
        space.variables.extend(self.hyperparameters().filter_map(|(key, value)| value.variable(key)));
        space
    }

    /// The optimizer of both networks.
    #[cfg(feature = "libtorch")]
    pub(super) fn optimizer(&self, learning_rate: f64) -> AdamW {
        AdamW {
            learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
        }
    }

    /// A copy with the sizes of the supernet.
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

    /// Fails with the key of the first invalid value and the reason.
    fn first_bad_value(&self) -> Result<(), (&'static str, String)> {
        // The upper bounds exceed what can be trained, and sizes computed from them do not overflow.
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

pub struct GanKind;

impl TaskKind for GanKind {
    fn name(&self) -> &'static str {
        "gan"
    }

    fn read(
        &self,
        section: Option<ValueDeserializer>,
    ) -> Result<Option<Arc<dyn TaskConfig>>, toml::de::Error> {
        Ok(Some(Arc::new(read_section::<GanConfig>(section)?)))
    }

    fn paths(&self) -> &'static [&'static str] {
        &["data", "inception"]
    }
}

impl TaskConfig for GanConfig {
    fn check(&self, _: &SearchConfig) -> Result<(), BadValue> {
        self.first_bad_value().map_err(BadValue::below("gan"))?;
        self.supernet.first_bad_value().map_err(BadValue::below("gan.supernet"))
    }

    fn check_chosen(&self, search: &SearchConfig) -> Result<(), BadValue> {
        match search.algorithm {
            Algorithm::AdversarialNas => self.check_supernet(search),
            _ => Ok(()),
        }
    }

    fn space(&self) -> Space {
        self.search_space()
    }

    fn task(self: Arc<Self>, _: &TrainingConfig) -> Box<dyn Task> {
        Box::new(GanTask::new(Self::clone(&self)))
    }

    fn to_table(&self) -> Result<toml::Table, toml::ser::Error> {
        section_table(self)
    }

    fn resolve(&self, folder: &Path) -> Arc<dyn TaskConfig> {
        Arc::new(Self { data: absolute(&folder.join(&self.data)), ..self.clone() })
    }

    fn compute(&self) -> Option<Compute> {
        let threads = self.threads.max(1).unsigned_abs().into();
        Some(Compute { device: self.device, threads, precision: Some(self.precision) })
    }

    fn supernet(&self) -> Option<Supernet> {
        Some(Supernet { epochs: self.supernet.epochs, derive })
    }

    fn algorithm_section(&self) -> Option<(Algorithm, &'static str)> {
        Some((Algorithm::AdversarialNas, "supernet"))
    }
}

impl GanConfig {
    /// Checks that a supernet can be built of the space, and that epochs are left for the network derived from it.
    fn check_supernet(&self, search: &SearchConfig) -> Result<(), BadValue> {
        let algorithm = format!("algorithm {:?}", search.algorithm.to_string());
        if self.space != SpaceKind::Gan {
            let why = "in \"gan-hard\" there are options whose outputs differ in shape (to downsample or not, say), which \
                       cannot be summed in a supernet; it searches the space \"gan\"";
            return Err(BadValue::new("gan.space", format!("{algorithm} cannot search it: {why}")));
        }
        let space = self.search_space();
        if let Some(variable) = space.variables.iter().find(|variable| variable.as_range().is_some()) {
            let message =
                format!("{algorithm} searches architectures only: give a number instead of a range");
            return Err(BadValue::new(format!("gan.{}", variable.name), message));
        }
        let (images, batch) = (self.subset, self.supernet.batch);
        if images != 0 && images < batch {
            let message = format!("is more than the images in use: gan.subset = {images}");
            return Err(BadValue::new("gan.supernet.batch", message));
        }
        let epochs = self.supernet.epochs;
        let schedule = search
            .schedule()
            .map_err(|error| BadValue::new("search.epochs_per_generation", error.to_string()))?;
        let mut ends = std::iter::successors(schedule.next_boundary(0), |&end| schedule.next_boundary(end));
        if epochs >= search.epochs || !ends.any(|end| end == epochs) {
            let message = format!(
                "a generation must end after epoch {epochs}, and epochs must be left for the network that is derived then: \
                 see search.epochs ({}) and search.epochs_per_generation",
                search.epochs
            );
            return Err(BadValue::new("gan.supernet.epochs", message));
        }
        Ok(())
    }
}

//! Image generation with GANs: the Gan space of the paper (section 4.2), its generator and its training.
//!
//! Sources of the search space and of the training settings are given in [`GanConfig`] and [`space`].

mod config;
mod data;
mod discriminator;
mod discriminator_cell;
mod drawing;
mod generator;
mod inception_report;
mod layers;
mod projection;
mod space;
mod supernet;
#[cfg(feature = "libtorch")]
mod training;
mod words;

use std::path::Path;

use anyhow::Result;
#[cfg(feature = "libtorch")]
use anyhow::{Context, bail};

pub use config::{GanConfig, GanKind};
pub use data::DataSet;
#[cfg(feature = "libtorch")]
pub use data::{Images, map};
pub use inception_report::InceptionReport;
pub use space::{SpaceKind, space};
pub use supernet::{SupernetConfig, derive};
#[cfg(feature = "libtorch")]
pub use training::{Features, Statistics, check_inception, frechet_distance};

use crate::nn::Scope;
use discriminator::Discriminator;
use generator::Generator;
use pbtnas_core::checkpoint::{InitialTensors, Reader, TensorSpec};
use pbtnas_core::search::{Genotype, Space};
use pbtnas_engine::task::{Diagram, MemberContext, Part, Session, Start, Task};

pub struct GanTask {
    config: GanConfig,
    space: Space,
    channels: i64,
}

impl GanTask {
    /// Does not access the data.
    pub fn new(config: GanConfig) -> Self {
        Self { space: config.search_space(), channels: config.dataset.channels(), config }
    }

    /// Both networks: declared, or built from the values in the scope.
    fn networks(&self, genotype: &Genotype, scope: &mut Scope) -> Result<(Generator, Discriminator)> {
        let generator = Generator::new(&self.config, self.channels, genotype, scope)?;
        let discriminator = Discriminator::new(&self.config, self.channels, genotype, scope)?;
        Ok((generator, discriminator))
    }

    /// All tensors of both networks of an architecture, with the distributions of a fresh initialisation.
    pub fn tensors(&self, genotype: &Genotype) -> Result<Vec<TensorSpec>> {
        let mut scope = Scope::declare();
        if genotype.is_supernet() {
            supernet::networks(&self.config.supernet_sizes(), self.channels, genotype, &mut scope)?;
        } else {
            self.networks(genotype, &mut scope)?;
        }
        Ok(scope.into_specs())
    }
}

impl Task for GanTask {
    fn space(&self) -> &Space {
        &self.space
    }

    fn fresh(&self, genotype: &Genotype, _: &MemberContext) -> Result<InitialTensors> {
        Ok(InitialTensors::sampled(self.tensors(genotype)?))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        self.tensors(&checkpoint.meta().genotype)
    }

    #[cfg(not(feature = "libtorch"))]
    fn check(&self) -> Result<()> {
        Err(crate::built_without("torch"))
    }

    #[cfg(feature = "libtorch")]
    fn check(&self) -> Result<()> {
        self.config.dataset.check(&self.config.data)?;
        if let Some(inception) = self.config.inception.as_ref().filter(|path| !path.is_file()) {
            bail!(
                "[gan] inception names {}, which does not exist: use inception-2015-12-05.pt, the TensorFlow network \
                 of 2015 as a TorchScript file, or remove the key to use a small classifier instead",
                inception.display()
            );
        }
        Ok(())
    }

    #[cfg(feature = "libtorch")]
    fn self_tests(&self) -> Vec<pbtnas_engine::task::SelfTest> {
        crate::device_tests(self.config.device)
    }

    fn parts(&self) -> Vec<Part> {
        [("generator", "generator/"), ("discriminator", "discriminator/")]
            .map(|(name, prefix)| Part { name, prefixes: vec![prefix.into()] })
            .into()
    }

    fn final_samples(&self) -> usize {
        self.config.final_images
    }

    #[cfg(not(feature = "libtorch"))]
    fn prepare(&self, _: &Path) -> Result<Vec<String>> {
        Err(crate::built_without("torch"))
    }

    #[cfg(feature = "libtorch")]
    fn prepare(&self, dir: &Path) -> Result<Vec<String>> {
        tch::set_num_threads(self.config.threads);
        let mut names = self.config.dataset.prepare(&self.config, dir)?;
        let images = Images::open(&self.config, dir)?;
        names.extend(training::prepare_features(&self.config, &images, dir)?);
        Ok(names)
    }

    fn diagram(&self, genotype: &Genotype) -> Result<Diagram> {
        drawing::diagram(&self.config, self.channels, genotype)
    }

    #[cfg(not(feature = "libtorch"))]
    fn session<'a>(&'a self, _: Start<'a>, _: MemberContext) -> Result<Box<dyn Session + 'a>> {
        Err(crate::built_without("torch"))
    }

    #[cfg(feature = "libtorch")]
    fn session<'a>(&'a self, start: Start<'a>, place: MemberContext) -> Result<Box<dyn Session + 'a>> {
        tch::set_num_threads(self.config.threads);
        if start.genotype().is_supernet() {
            let session = training::SupernetSession::new(self, start, place.seeds, place.shared);
            return Ok(Box::new(session.context("failed to set up the supernet of [gan.supernet]")?));
        }
        let session = training::GanSession::new(self, start, place.seeds, place.shared);
        Ok(Box::new(session.context("failed to set up the GAN")?))
    }
}

//! Image generation with GANs: the Gan space of the paper (section 4.2), its generator and its training.
//!
//! What is searched and how it is trained is written down, with sources, in [`GanConfig`] and [`space`].

mod config;
mod course;
mod data;
mod discriminator;
mod discriminator_cell;
mod drawing;
mod evaluation;
mod features;
mod frechet;
mod generator;
mod grid;
mod inception;
mod inception_score;
mod layers;
mod projection;
mod session;
mod space;
mod supernet;
mod words;

#[cfg(test)]
mod networks_tests;
#[cfg(test)]
mod parity_tests;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub use config::GanConfig;
pub use data::{DataSet, Images, map};
pub use features::Features;
pub use frechet::{Statistics, frechet_distance};
pub use inception::{InceptionReport, check_inception};
pub use space::{SpaceKind, space};
pub use supernet::{SupernetConfig, derive};

use super::{Diagram, Part, Place, Session, Start, Task, Words};
use crate::checkpoint::{Fresh, Reader, TensorSpec};
use crate::search::{Genotype, Space};
use crate::tasks::nn::Scope;
use discriminator::Discriminator;
use generator::Generator;

/// See the module.
pub struct GanTask {
    config: GanConfig,
    space: Space,
    channels: i64,
}

impl GanTask {
    /// The task; no data is looked for yet.
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

    fn fresh(&self, genotype: &Genotype, _: &Place) -> Result<Fresh> {
        Ok(Fresh::drawn(self.tensors(genotype)?))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        self.tensors(&checkpoint.meta().genotype)
    }

    fn check(&self) -> Result<()> {
        self.config.dataset.check(&self.config.data)?;
        if let Some(inception) = self.config.inception.as_ref().filter(|path| !path.is_file()) {
            bail!(
                "[gan] inception names {}, which is no file: get inception-2015-12-05.pt, the TensorFlow network \
                 of 2015 as a TorchScript file, or leave the key out to use a small classifier instead",
                inception.display()
            );
        }
        Ok(())
    }

    fn parts(&self) -> Vec<Part> {
        [("generator", "generator/"), ("discriminator", "discriminator/")]
            .map(|(name, prefix)| Part { name, prefixes: vec![prefix.into()] })
            .into()
    }

    fn final_samples(&self) -> usize {
        self.config.final_images
    }

    fn prepare(&self, dir: &Path) -> Result<Vec<String>> {
        tch::set_num_threads(self.config.threads);
        let images = Images::open(&self.config)?;
        features::prepare(&self.config, &images, dir)
    }

    fn diagram(&self, genotype: &Genotype) -> Result<Diagram> {
        drawing::diagram(&self.config, self.channels, genotype)
    }

    fn variable_in_words(&self, variable: &str) -> Words {
        words::variable(variable)
    }

    fn value_in_words(&self, variable: &str, value: &str) -> String {
        words::value(variable, value)
    }

    fn session<'a>(&'a self, start: Start<'a>, place: Place) -> Result<Box<dyn Session + 'a>> {
        tch::set_num_threads(self.config.threads);
        if start.genotype().is_supernet() {
            let session = supernet::SupernetSession::new(self, start, place.seeds, place.shared);
            return Ok(Box::new(session.context("failed to set up the supernet of [gan.supernet]")?));
        }
        let session = session::GanSession::new(self, start, place.seeds, place.shared);
        Ok(Box::new(session.context("failed to set up the GAN")?))
    }
}

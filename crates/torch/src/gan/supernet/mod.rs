//! The supernet of AdversarialNAS (Gao et al., 2020; facts: AdversarialNAS): all architectures of the space Gan in one
//! network, in which every edge is a weighted sum of all its options. The weights of generator and discriminator and
//! their architecture parameters are trained alternately and adversarially, and at the end one architecture is derived.
//! The supernet's genotype is [`Genotype::supernet`].
//!
//! The published code can also correct the gradients of the architecture parameters by a finite-difference term
//! (`amending_coefficient`), which is off by default and not implemented here.

mod config;
mod derive;
pub(super) mod discriminator;
pub(super) mod generator;
pub(super) mod mixed;

use anyhow::Result;

pub use config::SupernetConfig;
pub use derive::derive;

use super::GanConfig;
use crate::nn::Scope;
use discriminator::SupernetDiscriminator;
use generator::SupernetGenerator;
use pbtnas_core::search::Genotype;

/// Both networks: declared, or built from the values in the scope. The sizes are those of `config`.
pub fn networks(
    config: &GanConfig,
    channels: i64,
    genotype: &Genotype,
    scope: &mut Scope,
) -> Result<(SupernetGenerator, SupernetDiscriminator)> {
    let generator = SupernetGenerator::new(config, channels, genotype, scope)?;
    Ok((generator, SupernetDiscriminator::new(config, channels, scope)))
}

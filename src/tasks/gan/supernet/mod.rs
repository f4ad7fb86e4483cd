//! All architectures of the space Gan in one network, as AdversarialNAS searches them (Gao et al., 2020; facts:
//! AdversarialNAS): every edge is a weighted sum of all its options. The weights of generator and discriminator and the
//! parameters of their architectures are trained in turn, adversarially, and in the end one architecture is derived.
//! Its genotype is [`Genotype::supernet`].
//!
//! The published code can also correct the gradients of architectures by a finite-difference term (`amending_coefficient`), but
//! does not by default.

mod config;
mod derive;
mod discriminator;
mod generator;
mod mixed;
mod session;
#[cfg(test)]
mod tests;

use anyhow::Result;

pub use config::SupernetConfig;
pub use derive::derive;
pub use session::SupernetSession;

use super::GanConfig;
use crate::search::Genotype;
use crate::tasks::nn::Scope;
use discriminator::Discriminator;
use generator::Generator;

/// Both networks: declared, or built from the values in the scope. The sizes are those of `config`.
pub fn networks(
    config: &GanConfig,
    channels: i64,
    genotype: &Genotype,
    scope: &mut Scope,
) -> Result<(Generator, Discriminator)> {
    let generator = Generator::new(config, channels, genotype, scope)?;
    Ok((generator, Discriminator::new(config, channels, scope)))
}

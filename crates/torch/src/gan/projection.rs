//! Linear layers from the latent to the inputs of the generator's cells (facts: Projections).

use crate::nn::Tensor;
use anyhow::Result;

use super::GanConfig;
use super::layers::GENERATOR_ROLE;
use super::layers::Linear;
#[cfg(feature = "libtorch")]
use super::layers::resize;
use super::space::{CELLS, Projected, Side, SpaceKind, bilinear, dropout, enabled, projected};
use crate::nn::Scope;
#[cfg(feature = "libtorch")]
use crate::nn::channels_last;
use pbtnas_core::search::Genotype;

/// The mode of a forward pass.
pub enum Mode<'a> {
    /// Normalisation uses the statistics of the batch and updates the running ones. The function returns the random
    /// numbers of dropout, uniform in [0, 1), for a shape.
    Training(&'a mut dyn FnMut(&[i64]) -> Tensor),
    /// Normalisation uses the running statistics, and there is no dropout.
    Evaluation,
}

/// From latents `(n, latent)` to a part of a cell's input, `(n, width, side, side)`.
pub struct Projection {
    linear: Linear,
    /// First column of the latent that is read, counted from 0, and the number of columns.
    pub columns: (i64, i64),
    /// Channels of the linear layer's output.
    pub channels: i64,
    /// Width and height of the linear layer's output.
    pub made: i64,
    /// Width and height of the cell's input.
    pub target: i64,
    /// Whether the output is resized bilinearly, instead of by nearest neighbours.
    pub bilinear: bool,
    /// The probability of dropping an element in training.
    pub dropout: f64,
    pub enabled: bool,
}

impl Projection {
    /// Declares or builds the projections of all cells, under `generator/projection1` and so on.
    pub fn all(config: &GanConfig, genotype: &Genotype, scope: &mut Scope) -> Result<Vec<Self>> {
        let count = match config.space {
            SpaceKind::Gan => config.projections,
            SpaceKind::GanHard => CELLS,
        };
        (0..count).map(|cell| Self::new(config, genotype, scope, cell, count)).collect()
    }

    fn new(
        config: &GanConfig,
        genotype: &Genotype,
        scope: &mut Scope,
        cell: usize,
        count: usize,
    ) -> Result<Self> {
        let path = format!("generator/projection{}", cell + 1);
        let variable = |name: &str| format!("{path}/{name}");
        let hard = config.space == SpaceKind::GanHard;
        let Projected { whole, side } = match hard {
            true => projected(genotype, &variable("linear"))?,
            false => Projected { whole: false, side: Side::Target },
        };
        let (latent, channels) = (config.latent as i64, config.generator_width as i64);
        let bottom = config.bottom_width as i64;
        let target = bottom << cell;
        let made = match side {
            Side::Bottom => bottom,
            Side::Previous => (target / 2).max(1),
            Side::Target => target,
        };
        let part = latent / count as i64;
        let columns = if whole { (0, latent) } else { (cell as i64 * part, part) };
        let outputs = channels * made * made;
        Ok(Self {
            linear: Linear::new(scope, &variable("linear"), columns.1, outputs, GENERATOR_ROLE),
            columns,
            channels,
            made,
            target,
            bilinear: hard && bilinear(genotype, &variable("upsampling"))?,
            dropout: if hard { dropout(genotype, &variable("dropout"))? } else { 0.0 },
            enabled: !hard || cell == 0 || enabled(genotype, &variable("enabled"))?,
        })
    }
}

#[cfg(feature = "libtorch")]
impl Projection {
    /// `None` if the projection is disabled.
    pub fn forward(&self, latents: &Tensor, mode: &mut Mode) -> Option<Tensor> {
        if !self.enabled {
            return None;
        }
        let part = latents.narrow(1, self.columns.0, self.columns.1);
        let x = self.linear.forward(&part, true).view([-1, self.channels, self.made, self.made]);
        let mut x = channels_last(&x);
        if self.made != self.target {
            x = resize(&x, self.target, self.bilinear);
        }
        match mode {
            Mode::Training(uniform) if self.dropout > 0.0 => {
                let kept = uniform(&x.size()).ge(self.dropout).to_kind(x.kind());
                Some(x * (kept / (1.0 - self.dropout)))
            }
            _ => Some(x),
        }
    }
}

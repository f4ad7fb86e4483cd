//! Linear layers from the latent to the inputs of the generator's cells (facts: Projections).

use anyhow::Result;
use tch::Tensor;

use super::GanConfig;
use super::generator::{ROLE, resize};
use super::layers::Linear;
use super::space::{CELLS, Projected, Side, SpaceKind, bilinear, dropout, enabled, projected};
use crate::search::Genotype;
use crate::tasks::nn::{Scope, channels_last};

/// What a forward pass is for.
pub enum Mode<'a> {
    /// Normalisation uses (and updates) the statistics of the batch; dropout takes its numbers, uniform in
    /// [0, 1) and of the shape that it asks for, from here.
    Training(&'a mut dyn FnMut(&[i64]) -> Tensor),
    /// Running statistics, no dropout.
    Evaluation,
}

/// From latents `(n, latent)` to a part of a cell's input, `(n, width, side, side)`.
pub struct Projection {
    linear: Linear,
    /// First column of the latent that is read, counted from 0, and how many.
    pub columns: (i64, i64),
    /// Channels that the linear layer makes.
    pub channels: i64,
    /// Width and height that the linear layer makes.
    pub made: i64,
    /// Those of the cell's input.
    pub target: i64,
    /// How the one becomes the other: bilinearly, or by nearest neighbours.
    pub bilinear: bool,
    /// The probability of dropping an element in training.
    pub dropout: f64,
    /// Whether it is there.
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
            linear: Linear::new(scope, &variable("linear"), columns.1, outputs, ROLE),
            columns,
            channels,
            made,
            target,
            bilinear: hard && bilinear(genotype, &variable("upsampling"))?,
            dropout: if hard { dropout(genotype, &variable("dropout"))? } else { 0.0 },
            enabled: !hard || cell == 0 || enabled(genotype, &variable("enabled"))?,
        })
    }

    /// None if the projection is switched off.
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

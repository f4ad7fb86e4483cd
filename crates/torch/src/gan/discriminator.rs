//! The discriminators (facts: Discriminator): AutoGAN's fixed one of the space Gan, and the searched one of GanHard.
//! All layers are spectrally normalised.

use crate::nn::Tensor;
use anyhow::Result;

use super::GanConfig;
use super::discriminator_cell::DiscriminatorCell;
use super::layers::{Conv, Linear, Shape};
use super::space::{DISCRIMINATOR_CELLS, SpaceKind};
use crate::nn::Scope;
#[cfg(feature = "libtorch")]
use crate::nn::channels_last;
use pbtnas_core::search::Genotype;

/// From images `(n, channels, size, size)` to scores `(n, 1)`.
pub struct Discriminator {
    body: Body,
    linear: Linear,
}

enum Body {
    Fixed(Vec<Block>),
    Searched(Vec<DiscriminatorCell>),
}

/// A residual block of AutoGAN's discriminator.
struct Block {
    conv1: Conv,
    conv2: Conv,
    shortcut: Option<Conv>,
    first: bool,
    down: bool,
}

impl Discriminator {
    /// Declares or builds the discriminator of an architecture, under `discriminator/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let width = config.discriminator_width as i64;
        let body = match config.space {
            SpaceKind::Gan => {
                Body::Fixed((1..=4).map(|number| Block::new(scope, number, channels, width)).collect())
            }
            SpaceKind::GanHard => {
                let cells = 1..=DISCRIMINATOR_CELLS;
                let cells =
                    cells.map(|number| DiscriminatorCell::new(scope, number, channels, width, genotype));
                Body::Searched(cells.collect::<Result<_>>()?)
            }
        };
        Ok(Self { body, linear: Linear::spectral(scope, "discriminator/linear", width, 1) })
    }
}

#[cfg(feature = "libtorch")]
impl Discriminator {
    /// With `train`, every spectral norm in the pass does one power iteration.
    pub fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let image = channels_last(images);
        let x = match &self.body {
            Body::Fixed(blocks) => blocks.iter().fold(image, |x, block| block.forward(&x, train)),
            Body::Searched(cells) => cells.iter().fold(image, |x, cell| cell.forward(&x, train)),
        };
        self.linear.forward(&pooled(&x), train)
    }
}

/// The sum of the activations of each channel.
#[cfg(feature = "libtorch")]
pub fn pooled(x: &Tensor) -> Tensor {
    x.relu().sum_dim_intlist([2i64, 3].as_slice(), false, x.kind())
}

impl Block {
    fn new(scope: &mut Scope, number: usize, channels: i64, width: i64) -> Self {
        let input = if number == 1 { channels } else { width };
        let down = number <= 2;
        let mut conv = |layer: &str, input, kernel| {
            let path = format!("discriminator/block{number}/{layer}");
            Conv::spectral(scope, &path, Shape::plain(input, width, kernel))
        };
        Self {
            conv1: conv("conv1", input, 3),
            conv2: conv("conv2", width, 3),
            shortcut: down.then(|| conv("shortcut", input, 1)),
            first: number == 1,
            down,
        }
    }
}

#[cfg(feature = "libtorch")]
impl Block {
    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        // The first block reads pixels, without an activation.
        let input = if self.first { x.shallow_clone() } else { x.relu() };
        let mut residual = self.conv2.forward(&self.conv1.forward(&input, train).relu(), train);
        if self.down {
            residual = halve(&residual);
        }
        let shortcut = match &self.shortcut {
            None => x.shallow_clone(),
            Some(conv) if self.first => conv.forward(&halve(x), train),
            Some(conv) => halve(&conv.forward(x, train)),
        };
        residual + shortcut
    }
}

#[cfg(feature = "libtorch")]
fn halve(x: &Tensor) -> Tensor {
    x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
}

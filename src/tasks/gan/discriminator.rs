//! The fixed discriminator of AutoGAN (facts: Discriminator): four residual blocks, spectral norm everywhere.

use tch::{Kind, Tensor};

use super::GanConfig;
use super::layers::{Conv, Linear};
use super::scope::Scope;

/// From images `(n, channels, size, size)` to scores `(n, 1)`.
pub struct Discriminator {
    blocks: Vec<Block>,
    linear: Linear,
}

struct Block {
    conv1: Conv,
    conv2: Conv,
    shortcut: Option<Conv>,
    first: bool,
    down: bool,
}

impl Discriminator {
    /// Declares or builds the discriminator, under `discriminator/`.
    pub fn new(config: &GanConfig, channels: i64, scope: &mut Scope) -> Self {
        let width = config.discriminator_width as i64;
        let blocks = (1..=4)
            .map(|number| {
                let path = |layer: &str| format!("discriminator/block{number}/{layer}");
                let input = if number == 1 { channels } else { width };
                let down = number <= 2;
                Block {
                    conv1: Conv::spectral(scope, &path("conv1"), input, width, 3),
                    conv2: Conv::spectral(scope, &path("conv2"), width, width, 3),
                    shortcut: down.then(|| Conv::spectral(scope, &path("shortcut"), input, width, 1)),
                    first: number == 1,
                    down,
                }
            })
            .collect();
        Self { blocks, linear: Linear::spectral(scope, "discriminator/linear", width, 1) }
    }

    /// `train` lets every spectral norm do one power iteration.
    pub fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let mut x = images.shallow_clone();
        for block in &self.blocks {
            x = block.forward(&x, train);
        }
        let pooled = x.relu().sum_dim_intlist([2i64, 3].as_slice(), false, Kind::Float);
        self.linear.forward(&pooled, train)
    }
}

impl Block {
    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        // The first block sees pixels: no activation before its first convolution.
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

fn halve(x: &Tensor) -> Tensor {
    x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
}

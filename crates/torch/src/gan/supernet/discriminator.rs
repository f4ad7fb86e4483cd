//! The discriminator of the supernet: AdversarialNAS' own, four cells of seven mixed edges. It is discarded when the
//! architecture is derived.

use crate::nn::Tensor;

use super::mixed::{MixedEdge, Relax};
use crate::gan::GanConfig;
#[cfg(feature = "libtorch")]
use crate::gan::discriminator::pooled;
use crate::gan::discriminator_cell::{Downsampling, Operation};
use crate::gan::layers::{CellNode, Linear};
use crate::gan::space::{DISCRIMINATOR_CELLS, DOWNS, EDGES};
use crate::nn::Scope;
#[cfg(feature = "libtorch")]
use crate::nn::channels_last;

/// From images `(n, channels, size, size)` to scores `(n, 1)`.
pub struct SupernetDiscriminator {
    cells: Vec<SupernetDiscriminatorCell>,
    linear: Linear,
}

/// Edges c0, c1, c2 lead from the input to nodes 0, 1, 2; c3 and c4 from node 0 to 1 and 2. Nodes 1 and 2 are
/// downsampled and summed.
struct SupernetDiscriminatorCell {
    edges: [MixedEdge<Operation>; 5],
    downs: [MixedEdge<Downsampling>; 2],
}

impl SupernetDiscriminator {
    /// Declares or builds the discriminator, under `discriminator/` and `discriminator_architecture/`.
    pub fn new(config: &GanConfig, channels: i64, scope: &mut Scope) -> Self {
        let width = config.discriminator_width as i64;
        let cells = (1..=DISCRIMINATOR_CELLS)
            .map(|number| SupernetDiscriminatorCell::new(scope, number, channels, width))
            .collect();
        Self { cells, linear: Linear::spectral(scope, "discriminator/linear", width, 1) }
    }
}

#[cfg(feature = "libtorch")]
impl SupernetDiscriminator {
    /// Every spectral norm does one power iteration.
    pub fn forward(&self, images: &Tensor, relax: &Relax) -> Tensor {
        let x = self.cells.iter().fold(channels_last(images), |x, cell| cell.forward(&x, relax));
        self.linear.forward(&pooled(&x), true)
    }
}

impl SupernetDiscriminatorCell {
    fn new(scope: &mut Scope, number: usize, channels: i64, width: i64) -> Self {
        let variable = |name: &str, index: usize| format!("discriminator/cell{number}/{name}{index}");
        let edges = [0, 1, 2, 3, 4].map(|index| {
            // An edge that reads the image is always a convolution, without an activation before it.
            let on_image = number == 1 && index < 3;
            let (options, input) = if on_image { (&EDGES[2..], channels) } else { (&EDGES[..], width) };
            MixedEdge::new(scope, &variable("c", index), options, |scope, path, edge| {
                Operation::new(scope, path, edge, input, width, !on_image)
            })
        });
        let downs = [0, 1].map(|index| {
            // Without the options that downsample at the start.
            MixedEdge::new(scope, &variable("down", index), &DOWNS[2..], |scope, path, down| {
                Downsampling::new(scope, path, down, width)
            })
        });
        Self { edges, downs }
    }
}

#[cfg(feature = "libtorch")]
impl SupernetDiscriminatorCell {
    fn forward(&self, x: &Tensor, relax: &Relax) -> Tensor {
        let along = |edge: usize, node: &CellNode| {
            self.edges[edge].forward(relax, |option| option.forward(node, true))
        };
        let input = CellNode::new(x.shallow_clone());
        let node0 = CellNode::new(along(0, &input));
        let node1 = along(1, &input) + along(3, &node0);
        let node2 = along(2, &input) + along(4, &node0);
        let [down0, down1] = &self.downs;
        let halve = |down: &MixedEdge<Downsampling>, node: &Tensor| {
            down.forward(relax, |option| Some(option.at_end(node, true)))
        };
        halve(down0, &node1) + halve(down1, &node2)
    }
}

//! The generator of the supernet: that of the space Gan, with mixed edges.

use crate::nn::Tensor;
use anyhow::Result;

use super::mixed::{MixedEdge, Relax};
use crate::gan::GanConfig;
use crate::gan::generator::{EdgeLayer, GeneratorFrame, Skips, UpEdge};
use crate::gan::layers::CellNode;
use crate::gan::projection::Mode;
use crate::gan::space::{CELLS, EDGES, UPS};
use crate::nn::Scope;
use pbtnas_core::search::Genotype;

/// From latents `(n, latent)` to images `(n, channels, size, size)` in [-1, 1].
pub struct SupernetGenerator {
    frame: GeneratorFrame,
    cells: Vec<SupernetGeneratorCell>,
}

struct SupernetGeneratorCell {
    ups: [MixedEdge<UpEdge>; 2],
    edges: [MixedEdge<Option<EdgeLayer>>; 5],
    skips: Skips,
}

impl SupernetGenerator {
    /// Declares or builds the generator, under `generator/` and `generator_architecture/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let frame = GeneratorFrame::new(config, channels, genotype, scope)?;
        let width = config.generator_width as i64;
        Ok(Self {
            frame,
            cells: (1..=CELLS).map(|cell| SupernetGeneratorCell::new(scope, cell, width)).collect(),
        })
    }
}

#[cfg(feature = "libtorch")]
impl SupernetGenerator {
    pub fn forward(&self, latents: &Tensor, mode: Mode, relax: &Relax) -> Tensor {
        self.frame
            .forward(latents, mode, &self.cells, |cell, input, skips, _| cell.forward(input, skips, relax))
    }
}

impl SupernetGeneratorCell {
    fn new(scope: &mut Scope, cell: usize, width: i64) -> Self {
        let variable = |name: &str, index: usize| format!("generator/cell{cell}/{name}{index}");
        let ups = [0, 1].map(|index| {
            MixedEdge::new(scope, &variable("up", index), &UPS, |scope, path, up| {
                UpEdge::new(scope, path, up, width)
            })
        });
        let edges = [0, 1, 2, 3, 4].map(|index| {
            MixedEdge::new(scope, &variable("c", index), &EDGES, |scope, path, edge| {
                EdgeLayer::new(scope, path, edge, width)
            })
        });
        Self { ups, edges, skips: Skips::new(scope, cell, width) }
    }
}

#[cfg(feature = "libtorch")]
impl SupernetGeneratorCell {
    /// The skip output (node 2), and the output.
    fn forward(&self, x: &Tensor, skips: &[Tensor], relax: &Relax) -> (Option<Tensor>, Tensor) {
        let along = |edge: &MixedEdge<Option<EdgeLayer>>, node: &CellNode| {
            edge.forward(relax, |option| Some(option.as_ref()?.forward(node)))
        };
        let [node0, node1] =
            [0, 1].map(|up| CellNode::new(self.ups[up].forward(relax, |option| Some(option.forward(x)))));
        let [c0, c1, c2, c3, c4] = &self.edges;
        let node2 = CellNode::new(self.skips.add(&(along(c0, &node0) + along(c1, &node1)), skips));
        let output = along(c2, &node0) + along(c3, &node1) + along(c4, &node2);
        (Some(node2.value), output)
    }
}

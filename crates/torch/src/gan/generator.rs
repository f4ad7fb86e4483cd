//! The generator of both spaces (facts: Generator; its structure is AdversarialNAS').

use crate::nn::Tensor;
use anyhow::Result;

use super::GanConfig;
#[cfg(feature = "libtorch")]
use super::layers::resize;
use super::layers::{BatchNorm, CellNode, Conv, DepthwiseUp, GENERATOR_ROLE, Shape};
use super::projection::{Mode, Projection};
use super::space::{CELLS, EdgeOption, Up, edge, up};
use crate::nn::Scope;
use pbtnas_core::search::Genotype;

/// From latents `(n, latent)` to images `(n, channels, size, size)` in [-1, 1].
pub struct Generator {
    frame: GeneratorFrame,
    cells: Vec<GeneratorCell>,
}

impl Generator {
    /// Declares or builds the generator of an architecture, under `generator/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let frame = GeneratorFrame::new(config, channels, genotype, scope)?;
        let width = config.generator_width as i64;
        let cells = (1..=CELLS)
            .map(|cell| GeneratorCell::new(scope, cell, width, genotype))
            .collect::<Result<_>>()?;
        Ok(Self { frame, cells })
    }
}

#[cfg(feature = "libtorch")]
impl Generator {
    pub fn forward(&self, latents: &Tensor, mode: Mode) -> Tensor {
        self.frame.forward(latents, mode, &self.cells, GeneratorCell::forward)
    }
}

/// The parts around the cells: the projections to their inputs, and the layers from the last output to an image.
pub struct GeneratorFrame {
    projections: Vec<Projection>,
    norm: BatchNorm,
    to_image: Conv,
}

impl GeneratorFrame {
    /// Declares or builds the frame, under `generator/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let width = config.generator_width as i64;
        let projections = Projection::all(config, genotype, scope)?;
        let norm = BatchNorm::new(scope, "generator/norm", width, GENERATOR_ROLE);
        let shape = Shape::plain(width, channels, 3);
        let to_image = Conv::new(scope, "generator/to_image", shape, GENERATOR_ROLE, true);
        Ok(Self { projections, norm, to_image })
    }
}

#[cfg(feature = "libtorch")]
impl GeneratorFrame {
    /// The images of latents. `through` is the forward pass of a cell: from its input, the skip outputs of earlier
    /// cells, and whether it is the last one, to its skip output and its output.
    pub fn forward<C>(
        &self,
        latents: &Tensor,
        mut mode: Mode,
        cells: &[C],
        through: impl Fn(&C, &Tensor, &[Tensor], bool) -> (Option<Tensor>, Tensor),
    ) -> Tensor {
        let mut projected = self
            .projections
            .iter()
            .map(|projection| projection.forward(latents, &mut mode))
            .collect::<Vec<_>>();
        projected.resize_with(cells.len(), || None);
        let mut skips: Vec<Tensor> = Vec::new();
        let mut x: Option<Tensor> = None;
        for (number, (cell, projection)) in cells.iter().zip(projected).enumerate() {
            let Some(input) = sum([x.take(), projection]) else { break };
            let (skip, output) = through(cell, &input, &skips, number + 1 == cells.len());
            skips.extend(skip);
            x = Some(output);
        }
        // The first projection is always enabled, so there is an output.
        let x = x.unwrap_or_else(|| latents.shallow_clone());
        let train = matches!(mode, Mode::Training(_));
        self.to_image.forward(&self.norm.forward(&x, train).relu(), train).tanh()
    }
}

/// The connections of a cell with the skip outputs of earlier ones.
pub struct Skips {
    convs: Vec<Conv>,
    /// Whether they are resized bilinearly, instead of by nearest neighbours.
    bilinear: bool,
}

impl Skips {
    /// `cell` is the number of the cell, counted from 1.
    pub fn new(scope: &mut Scope, cell: usize, width: i64) -> Self {
        let convs = (1..cell).map(|from| {
            let path = format!("generator/cell{cell}/skip{from}");
            Conv::new(scope, &path, Shape::plain(width, width, 1), GENERATOR_ROLE, true)
        });
        Self { convs: convs.collect(), bilinear: cell == 2 }
    }
}

#[cfg(feature = "libtorch")]
impl Skips {
    /// Returns the sum of a node and the connections. A convolution 1x1 commutes with resizing, since the weights of
    /// resizing add up to one; at the smaller size it costs less.
    pub fn add(&self, node: &Tensor, skips: &[Tensor]) -> Tensor {
        let side = node.size()[2];
        self.convs.iter().zip(skips).fold(node.shallow_clone(), |node, (conv, skip)| {
            node + resize(&conv.forward(skip, true), side, self.bilinear)
        })
    }
}

/// A cell, which doubles width and height. Nodes 0 and 1 are the upsampled input, node 2 is computed from 0 and 1, and
/// node 3, the output, from 0, 1 and 2.
struct GeneratorCell {
    ups: [UpEdge; 2],
    edges: [Option<EdgeLayer>; 5],
    skips: Skips,
}

impl GeneratorCell {
    fn new(scope: &mut Scope, cell: usize, width: i64, genotype: &Genotype) -> Result<Self> {
        let mut up_edge = |index| {
            let variable = format!("generator/cell{cell}/up{index}");
            Ok::<_, anyhow::Error>(UpEdge::new(scope, &variable, up(genotype, &variable)?, width))
        };
        let ups = [up_edge(0)?, up_edge(1)?];
        let mut edge_layer = |index| {
            let variable = format!("generator/cell{cell}/c{index}");
            Ok::<_, anyhow::Error>(EdgeLayer::new(scope, &variable, edge(genotype, &variable)?, width))
        };
        let edges = [edge_layer(0)?, edge_layer(1)?, edge_layer(2)?, edge_layer(3)?, edge_layer(4)?];
        Ok(Self { ups, edges, skips: Skips::new(scope, cell, width) })
    }
}

#[cfg(feature = "libtorch")]
impl GeneratorCell {
    /// The skip output, which is node 2 with the skips of earlier cells added (facts: Generator), and the output. No
    /// cell reads the skip output of the `last` one, so it is left out if the output does not need it either.
    fn forward(&self, x: &Tensor, skips: &[Tensor], last: bool) -> (Option<Tensor>, Tensor) {
        let nodes = [self.ups[0].forward(x), self.ups[1].forward(x)].map(CellNode::new);
        let [c0, c1, c2, c3, c4] = &self.edges;
        let along = |edge: &Option<EdgeLayer>, node: &CellNode| edge.as_ref().map(|edge| edge.forward(node));
        let ends_in_node2 = [c2, c3, c4].iter().all(|edge| edge.is_none());
        let node2 = (!last || c4.is_some() || ends_in_node2).then(|| {
            let sum = sum([along(c0, &nodes[0]), along(c1, &nodes[1])])
                .unwrap_or_else(|| &nodes[0].value + &nodes[1].value);
            CellNode::new(self.skips.add(&sum, skips))
        });
        let from_node2 = node2.as_ref().and_then(|node2| along(c4, node2));
        let output = sum([along(c2, &nodes[0]), along(c3, &nodes[1]), from_node2]);
        let skip = node2.map(|node| node.value);
        // At least one of the two exists.
        let output = output.or(skip.as_ref().map(Tensor::shallow_clone)).unwrap_or_else(|| x.shallow_clone());
        (skip, output)
    }
}

/// The sum of the terms that exist.
#[cfg(feature = "libtorch")]
fn sum<const N: usize>(terms: [Option<Tensor>; N]) -> Option<Tensor> {
    terms.into_iter().flatten().reduce(|a, b| a + b)
}

/// An upsampling edge.
pub enum UpEdge {
    Interpolated { bilinear: bool, conv: Conv },
    Transposed { up: DepthwiseUp, conv: Conv },
}

impl UpEdge {
    pub fn new(scope: &mut Scope, path: &str, option: Up, width: i64) -> Self {
        let shape = Shape::plain(width, width, 1);
        match option {
            Up::Nearest | Up::Bilinear => Self::Interpolated {
                bilinear: option == Up::Bilinear,
                conv: Conv::new(scope, &format!("{path}/conv"), shape, GENERATOR_ROLE, true),
            },
            Up::Transposed => Self::Transposed {
                up: DepthwiseUp::new(scope, &format!("{path}/depthwise"), width, GENERATOR_ROLE),
                conv: Conv::new(scope, &format!("{path}/pointwise"), shape, GENERATOR_ROLE, false),
            },
        }
    }
}

#[cfg(feature = "libtorch")]
impl UpEdge {
    /// Doubles width and height.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            // Nearest-neighbour resizing commutes with the convolution 1x1, which costs a quarter at the smaller size.
            Self::Interpolated { bilinear: false, conv } => {
                resize(&conv.forward(&x.relu(), true), 2 * x.size()[2], false)
            }
            Self::Interpolated { bilinear: true, conv } => {
                conv.forward(&resize(x, 2 * x.size()[2], true).relu(), true)
            }
            Self::Transposed { up, conv } => conv.forward(&up.forward(&x.relu()), true),
        }
    }
}

/// An edge between nodes.
pub enum EdgeLayer {
    Skip,
    Conv(Conv),
}

impl EdgeLayer {
    /// `None` if the option is none.
    pub fn new(scope: &mut Scope, variable: &str, option: EdgeOption, width: i64) -> Option<Self> {
        match option {
            EdgeOption::None => None,
            EdgeOption::Skip => Some(Self::Skip),
            EdgeOption::Conv(kernel, dilation) => {
                let shape = Shape { input: width, output: width, kernel, dilation, stride: 1 };
                Some(Self::Conv(Conv::new(scope, &format!("{variable}/conv"), shape, GENERATOR_ROLE, true)))
            }
        }
    }
}

#[cfg(feature = "libtorch")]
impl EdgeLayer {
    pub fn forward(&self, node: &CellNode) -> Tensor {
        match self {
            Self::Skip => node.value.shallow_clone(),
            Self::Conv(conv) => conv.forward(node.activated(), true),
        }
    }
}

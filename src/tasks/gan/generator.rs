//! The generator of both spaces (facts: Generator; its structure is AdversarialNAS').

use anyhow::Result;
use tch::Tensor;

use super::GanConfig;
use super::layers::{BatchNorm, Conv, DepthwiseUp, Node, Shape};
use super::projection::{Mode, Projection};
use super::space::{CELLS, Edge, Up, edge, up};
use crate::search::Genotype;
use crate::tasks::nn::{Role, Scope};

/// All parameters of the generator have an averaged copy.
pub const ROLE: Role = Role::AveragedParameter;

/// From latents `(n, latent)` to images `(n, channels, size, size)` in [-1, 1].
pub struct Generator {
    projections: Vec<Projection>,
    cells: Vec<Cell>,
    norm: BatchNorm,
    to_image: Conv,
}

impl Generator {
    /// Declares or builds the generator of an architecture, under `generator/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let width = config.generator_width as i64;
        let projections = Projection::all(config, genotype, scope)?;
        let cells = (1..=CELLS).map(|cell| Cell::new(scope, cell, width, genotype)).collect::<Result<_>>()?;
        let norm = BatchNorm::new(scope, "generator/norm", width, ROLE);
        let shape = Shape::plain(width, channels, 3);
        let to_image = Conv::new(scope, "generator/to_image", shape, ROLE, true);
        Ok(Self { projections, cells, norm, to_image })
    }

    /// The images of latents.
    pub fn forward(&self, latents: &Tensor, mut mode: Mode) -> Tensor {
        let mut projected = self
            .projections
            .iter()
            .map(|projection| projection.forward(latents, &mut mode))
            .collect::<Vec<_>>();
        projected.resize_with(self.cells.len(), || None);
        let mut skips: Vec<Tensor> = Vec::new();
        let mut x: Option<Tensor> = None;
        for (number, (cell, projection)) in self.cells.iter().zip(projected).enumerate() {
            let Some(input) = sum([x.take(), projection]) else { break };
            let (skip, output) = cell.forward(&input, &skips, number + 1 == self.cells.len());
            skips.extend(skip);
            x = Some(output);
        }
        // The first projection is always there, so that there is an output.
        let x = x.unwrap_or_else(|| latents.shallow_clone());
        let train = matches!(mode, Mode::Training(_));
        self.to_image.forward(&self.norm.forward(&x, train).relu(), train).tanh()
    }
}

/// A cell doubles width and height. Nodes 0 and 1 come from the input by upsampling; node 2 from 0 and 1;
/// node 3, the output, from 0, 1 and 2.
struct Cell {
    ups: [UpEdge; 2],
    edges: [Option<EdgeLayer>; 5],
    skips: Vec<Conv>,
    /// How the skip outputs of earlier cells are resized.
    bilinear_skips: bool,
}

impl Cell {
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
        let skips = (1..cell)
            .map(|from| {
                let path = format!("generator/cell{cell}/skip{from}");
                Conv::new(scope, &path, Shape::plain(width, width, 1), ROLE, true)
            })
            .collect();
        Ok(Self { ups, edges, skips, bilinear_skips: cell == 2 })
    }

    /// The skip output (node 2 before the skips of earlier cells are added), and the output. No cell reads the skip output
    /// of the `last` one: it is left out where the output does not need it either.
    fn forward(&self, x: &Tensor, skips: &[Tensor], last: bool) -> (Option<Tensor>, Tensor) {
        let nodes = [self.ups[0].forward(x), self.ups[1].forward(x)].map(Node::new);
        let [c0, c1, c2, c3, c4] = &self.edges;
        let along = |edge: &Option<EdgeLayer>, node: &Node| edge.as_ref().map(|edge| edge.forward(node));
        let ends_in_node2 = [c2, c3, c4].iter().all(|edge| edge.is_none());
        let node2 = (!last || c4.is_some() || ends_in_node2).then(|| {
            let skip = sum([along(c0, &nodes[0]), along(c1, &nodes[1])])
                .unwrap_or_else(|| &nodes[0].value + &nodes[1].value);
            let side = skip.size()[2];
            // Never in place: `skip` leaves the cell as it is. A convolution 1x1 and a resizing can change places: its
            // weights are the same everywhere, and those of a resizing add up to one. At the smaller size it costs less.
            let node2 = self.skips.iter().zip(skips).fold(skip.shallow_clone(), |node, (conv, skip)| {
                node + resize(&conv.forward(skip, true), side, self.bilinear_skips)
            });
            (skip, Node::new(node2))
        });
        let from_node2 = node2.as_ref().and_then(|(_, node2)| along(c4, node2));
        let output = sum([along(c2, &nodes[0]), along(c3, &nodes[1]), from_node2]);
        let (skip, node2) = node2.unzip();
        // One of the two is there.
        let output = output.or(node2.map(|node| node.value)).unwrap_or_else(|| x.shallow_clone());
        (skip, output)
    }
}

/// The sum of what is there.
fn sum<const N: usize>(terms: [Option<Tensor>; N]) -> Option<Tensor> {
    terms.into_iter().flatten().reduce(|a, b| a + b)
}

/// Brings `(n, c, h, w)` to another width and height.
pub fn resize(x: &Tensor, side: i64, bilinear: bool) -> Tensor {
    if bilinear {
        x.upsample_bilinear2d([side, side], false, None, None)
    } else {
        x.upsample_nearest2d([side, side], None, None)
    }
}

enum UpEdge {
    Interpolated { bilinear: bool, conv: Conv },
    Transposed { up: DepthwiseUp, conv: Conv },
}

impl UpEdge {
    fn new(scope: &mut Scope, path: &str, option: Up, width: i64) -> Self {
        let shape = Shape::plain(width, width, 1);
        match option {
            Up::Nearest | Up::Bilinear => Self::Interpolated {
                bilinear: option == Up::Bilinear,
                conv: Conv::new(scope, &format!("{path}/conv"), shape, ROLE, true),
            },
            Up::Transposed => Self::Transposed {
                up: DepthwiseUp::new(scope, &format!("{path}/depthwise"), width, ROLE),
                conv: Conv::new(scope, &format!("{path}/pointwise"), shape, ROLE, false),
            },
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            // To take the nearest pixel can wait until after the convolution 1x1, which then has a quarter of the work.
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

enum EdgeLayer {
    Skip,
    Conv(Conv),
}

impl EdgeLayer {
    fn new(scope: &mut Scope, variable: &str, option: Edge, width: i64) -> Option<Self> {
        match option {
            Edge::None => None,
            Edge::Skip => Some(Self::Skip),
            Edge::Conv(kernel, dilation) => {
                let shape = Shape { input: width, output: width, kernel, dilation, stride: 1 };
                Some(Self::Conv(Conv::new(scope, &format!("{variable}/conv"), shape, ROLE, true)))
            }
        }
    }

    fn forward(&self, node: &Node) -> Tensor {
        match self {
            Self::Skip => node.value.shallow_clone(),
            Self::Conv(conv) => conv.forward(node.activated(), true),
        }
    }
}

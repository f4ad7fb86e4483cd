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
    frame: Frame,
    cells: Vec<Cell>,
}

impl Generator {
    /// Declares or builds the generator of an architecture, under `generator/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let frame = Frame::new(config, channels, genotype, scope)?;
        let width = config.generator_width as i64;
        let cells = (1..=CELLS).map(|cell| Cell::new(scope, cell, width, genotype)).collect::<Result<_>>()?;
        Ok(Self { frame, cells })
    }

    /// The images of latents.
    pub fn forward(&self, latents: &Tensor, mode: Mode) -> Tensor {
        self.frame.forward(latents, mode, &self.cells, Cell::forward)
    }
}

/// What lies around the cells: the projections to their inputs, and the way from the last output to an image.
pub struct Frame {
    projections: Vec<Projection>,
    norm: BatchNorm,
    to_image: Conv,
}

impl Frame {
    /// Declares or builds it, under `generator/`.
    pub fn new(config: &GanConfig, channels: i64, genotype: &Genotype, scope: &mut Scope) -> Result<Self> {
        let width = config.generator_width as i64;
        let projections = Projection::all(config, genotype, scope)?;
        let norm = BatchNorm::new(scope, "generator/norm", width, ROLE);
        let shape = Shape::plain(width, channels, 3);
        let to_image = Conv::new(scope, "generator/to_image", shape, ROLE, true);
        Ok(Self { projections, norm, to_image })
    }

    /// The images of latents. `through` passes a cell: from its input, the skip outputs of those before it, and whether
    /// it is the last one, to its skip output and its output.
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
        // The first projection is always there, so that there is an output.
        let x = x.unwrap_or_else(|| latents.shallow_clone());
        let train = matches!(mode, Mode::Training(_));
        self.to_image.forward(&self.norm.forward(&x, train).relu(), train).tanh()
    }
}

/// What a cell takes from the skip outputs of earlier ones.
pub struct Skips {
    convs: Vec<Conv>,
    /// How they are resized.
    bilinear: bool,
}

impl Skips {
    /// Declares or builds those of the cell of this number, counted from 1.
    pub fn new(scope: &mut Scope, cell: usize, width: i64) -> Self {
        let convs = (1..cell).map(|from| {
            let path = format!("generator/cell{cell}/skip{from}");
            Conv::new(scope, &path, Shape::plain(width, width, 1), ROLE, true)
        });
        Self { convs: convs.collect(), bilinear: cell == 2 }
    }

    /// Adds them to a node, which stays as it is. A convolution 1x1 and a resizing can change places: its weights are the
    /// same everywhere, and those of a resizing add up to one. At the smaller size it costs less.
    pub fn add(&self, node: &Tensor, skips: &[Tensor]) -> Tensor {
        let side = node.size()[2];
        self.convs.iter().zip(skips).fold(node.shallow_clone(), |node, (conv, skip)| {
            node + resize(&conv.forward(skip, true), side, self.bilinear)
        })
    }
}

/// A cell doubles width and height. Nodes 0 and 1 come from the input by upsampling; node 2 from 0 and 1;
/// node 3, the output, from 0, 1 and 2.
struct Cell {
    ups: [UpEdge; 2],
    edges: [Option<EdgeLayer>; 5],
    skips: Skips,
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
        Ok(Self { ups, edges, skips: Skips::new(scope, cell, width) })
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
            let node2 = self.skips.add(&skip, skips);
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

/// An upsampling edge.
pub enum UpEdge {
    Interpolated { bilinear: bool, conv: Conv },
    Transposed { up: DepthwiseUp, conv: Conv },
}

impl UpEdge {
    /// Declares or builds it.
    pub fn new(scope: &mut Scope, path: &str, option: Up, width: i64) -> Self {
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

    /// Doubles width and height.
    pub fn forward(&self, x: &Tensor) -> Tensor {
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

/// An edge between nodes.
pub enum EdgeLayer {
    Skip,
    Conv(Conv),
}

impl EdgeLayer {
    /// Declares or builds it; none is none.
    pub fn new(scope: &mut Scope, variable: &str, option: Edge, width: i64) -> Option<Self> {
        match option {
            Edge::None => None,
            Edge::Skip => Some(Self::Skip),
            Edge::Conv(kernel, dilation) => {
                let shape = Shape { input: width, output: width, kernel, dilation, stride: 1 };
                Some(Self::Conv(Conv::new(scope, &format!("{variable}/conv"), shape, ROLE, true)))
            }
        }
    }

    /// What it makes of a node.
    pub fn forward(&self, node: &Node) -> Tensor {
        match self {
            Self::Skip => node.value.shallow_clone(),
            Self::Conv(conv) => conv.forward(node.activated(), true),
        }
    }
}

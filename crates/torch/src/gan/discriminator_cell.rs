//! A searched cell of GanHard's discriminator (facts: Discriminator).
//!
//! Edges c0, c1, c2 lead from the input to nodes 0, 1, 2. The two branches begin at nodes 1 and 2; c3 and c4 add node 0
//! to them. c5 and c6 are another operation on each branch (none: no operation), and the branches are summed. A branch
//! whose edge from the input is none is left out. Without both branches the output is node 0, and without that the
//! input.

use crate::nn::Tensor;
use anyhow::Result;

use super::layers::{CellNode, Conv, Shape};
use super::space::{Down, EdgeOption, Pool, down, edge, enabled};
use crate::nn::Scope;
use pbtnas_core::search::Genotype;

/// A searched cell.
pub struct DiscriminatorCell {
    edges: [Operation; 7],
    downs: [Downsampling; 2],
    downsample: bool,
}

impl DiscriminatorCell {
    /// Declares or builds a cell; `number` is counted from 1. The first one reads `channels`, without activations.
    pub fn new(
        scope: &mut Scope,
        number: usize,
        channels: i64,
        width: i64,
        genotype: &Genotype,
    ) -> Result<Self> {
        let variable = |name: String| format!("discriminator/cell{number}/{name}");
        let mut operation = |index| {
            let path = variable(format!("c{index}"));
            let on_image = number == 1 && index < 3;
            let input = if on_image { channels } else { width };
            let option = edge(genotype, &path)?;
            Ok::<_, anyhow::Error>(Operation::new(scope, &path, option, input, width, !on_image))
        };
        let edges = [
            operation(0)?,
            operation(1)?,
            operation(2)?,
            operation(3)?,
            operation(4)?,
            operation(5)?,
            operation(6)?,
        ];
        let mut downsampling = |index| {
            let path = variable(format!("down{index}"));
            Ok::<_, anyhow::Error>(Downsampling::new(scope, &path, down(genotype, &path)?, width))
        };
        let downs = [downsampling(0)?, downsampling(1)?];
        Ok(Self { edges, downs, downsample: enabled(genotype, &variable("downsample".into()))? })
    }
}

#[cfg(feature = "libtorch")]
impl DiscriminatorCell {
    /// With `train`, every spectral norm in the pass does one power iteration.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let along = |edge: usize, node: &CellNode| self.edges[edge].forward(node, train);
        let input = CellNode::new(x.shallow_clone());
        let nodes = [0, 1, 2].map(|edge| along(edge, &input).map(CellNode::new));
        let branches = [(1, 3, 5), (2, 4, 6)].into_iter().zip(&self.downs);
        let branches = branches.filter_map(|((node, from0, last), down)| {
            let down = self.downsample.then_some(down);
            let begin = |x: &Tensor| down.map_or_else(|| x.shallow_clone(), |down| down.at_start(x));
            let branch = begin(&nodes[node].as_ref()?.value);
            // Not in place, since a skip shares the memory of its input.
            let branch = match nodes[0].as_ref().and_then(|node0| along(from0, node0)) {
                Some(more) => &branch + begin(&more),
                None => branch,
            };
            let branch = CellNode::new(branch);
            let branch = along(last, &branch).unwrap_or(branch.value);
            Some(down.map_or_else(|| branch.shallow_clone(), |down| down.at_end(&branch, train)))
        });
        let sum = branches.reduce(|a, b| a + b);
        let [node0, ..] = nodes;
        sum.or(node0.map(|node| node.value)).unwrap_or_else(|| x.shallow_clone())
    }
}

/// An edge between nodes.
pub enum Operation {
    None,
    Skip,
    Conv { conv: Conv, activation: bool },
}

impl Operation {
    /// `activation` puts a ReLU before a convolution.
    pub fn new(
        scope: &mut Scope,
        path: &str,
        option: EdgeOption,
        input: i64,
        output: i64,
        activation: bool,
    ) -> Self {
        match option {
            EdgeOption::None => Self::None,
            EdgeOption::Skip => Self::Skip,
            EdgeOption::Conv(kernel, dilation) => {
                let shape = Shape { input, output, kernel, dilation, stride: 1 };
                Self::Conv { conv: Conv::spectral(scope, &format!("{path}/conv"), shape), activation }
            }
        }
    }
}

#[cfg(feature = "libtorch")]
impl Operation {
    /// `None` if the option is none.
    pub fn forward(&self, node: &CellNode, train: bool) -> Option<Tensor> {
        match self {
            Self::None => None,
            Self::Skip => Some(node.value.shallow_clone()),
            Self::Conv { conv, activation: true } => Some(conv.forward(node.activated(), train)),
            Self::Conv { conv, activation: false } => Some(conv.forward(&node.value, train)),
        }
    }
}

/// The downsampling of a branch.
pub enum Downsampling {
    Start(Pool),
    End(Pool),
    Conv(Conv),
}

impl Downsampling {
    pub fn new(scope: &mut Scope, path: &str, option: Down, width: i64) -> Self {
        match option {
            Down::Start(pool) => Self::Start(pool),
            Down::End(pool) => Self::End(pool),
            Down::Conv(kernel, dilation) => {
                let shape = Shape { input: width, output: width, kernel, dilation, stride: 2 };
                Self::Conv(Conv::spectral(scope, &format!("{path}/conv"), shape))
            }
        }
    }
}

#[cfg(feature = "libtorch")]
impl Downsampling {
    fn at_start(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Start(pool) => halve(x, *pool),
            Self::End(_) | Self::Conv(_) => x.shallow_clone(),
        }
    }

    /// Applied at the end of a branch.
    pub fn at_end(&self, x: &Tensor, train: bool) -> Tensor {
        match self {
            Self::Start(_) => x.shallow_clone(),
            Self::End(pool) => halve(x, *pool),
            Self::Conv(conv) => conv.forward(&x.relu(), train),
        }
    }
}

/// Pools 2x2 pixels. Sizes are rounded up as by a convolution with stride 2, so that they are the same for all options.
#[cfg(feature = "libtorch")]
fn halve(x: &Tensor, pool: Pool) -> Tensor {
    match pool {
        Pool::Average => x.avg_pool2d([2, 2], [2, 2], [0, 0], true, true, None),
        Pool::Max => x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], true),
    }
}

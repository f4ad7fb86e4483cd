//! Diagrams of the discriminators, after the forward passes in `gan/discriminator.rs` and `gan/discriminator_cell.rs`.

use anyhow::Result;

use super::{GanDrawing, shape};
use crate::gan::SpaceKind;
use crate::gan::space::{DISCRIMINATOR_CELLS, Down, EdgeOption, Pool, down, edge, enabled};
use crate::gan::words::{BRANCHES, convolution};
use pbtnas_engine::task::{DiagramLine, NodeKind};

impl GanDrawing<'_> {
    /// Draws the discriminator, and returns the box of its score.
    pub fn discriminator(&mut self) -> Result<usize> {
        let frame = self.diagram.cluster("discriminator (spectral norm)", None);
        let mut side = self.config.image_size as i64;
        let mut last = self.tensor(frame, "image", shape(self.channels, side));
        match self.config.space {
            SpaceKind::Gan => {
                for number in 1..=4 {
                    let block = self.diagram.cluster(format!("block {number}"), Some(frame));
                    if number <= 2 {
                        side /= 2;
                    }
                    last = self.block(block, number, last, side);
                }
            }
            SpaceKind::GanHard => {
                for number in 1..=DISCRIMINATOR_CELLS {
                    (last, side) = self.discriminator_cell(frame, number, last, side)?;
                }
            }
        }
        let head = self.layer(frame, vec!["head".into(), "ReLU, sum of all pixels".into(), "linear".into()]);
        let score = self.diagram.node(Some(frame), NodeKind::Tensor, vec!["score".into()]);
        self.diagram.edge(last, head);
        self.diagram.edge(head, score);
        Ok(score)
    }

    /// Draws a residual block of AutoGAN's discriminator, and returns its output, of width and height `side`.
    fn block(&mut self, frame: usize, number: usize, x: usize, side: i64) -> usize {
        let (first, down) = (number == 1, number <= 2);
        let size = shape(self.config.discriminator_width as i64, side);
        let lines = |texts: &[&str]| texts.iter().map(|text| DiagramLine::from(*text)).collect::<Vec<_>>();
        let before = if first { "convolution 3x3" } else { "ReLU, convolution 3x3" };
        let conv1 = self.layer(frame, lines(&["conv 1", before]));
        let after = ["conv 2", "ReLU, convolution 3x3", "average pooling"];
        let conv2 = self.layer(frame, lines(&after[..if down { 3 } else { 2 }]));
        let output = self.tensor(frame, "output: sum", size);
        self.diagram.edge(x, conv1);
        self.diagram.edge(conv1, conv2);
        self.diagram.edge(conv2, output);
        if down {
            let mut order = ["shortcut", "convolution 1x1", "average pooling"];
            if first {
                order.swap(1, 2);
            }
            let shortcut = self.layer(frame, lines(&order));
            self.diagram.edge(x, shortcut);
            self.diagram.edge(shortcut, output);
        } else {
            self.diagram.labelled(x, output, "skip".into());
        }
        output
    }

    /// Draws a searched cell, and returns its output with the width and height of that.
    fn discriminator_cell(
        &mut self,
        frame: usize,
        number: usize,
        x: usize,
        side: i64,
    ) -> Result<(usize, i64)> {
        let path = |name: String| format!("discriminator/cell{number}/{name}");
        let flag = path("downsample".into());
        let downsample = enabled(self.genotype, &flag)?;
        let half = if downsample { (side + 1) / 2 } else { side };
        let channels = self.config.discriminator_width as i64;
        let label = format!("cell {number}{}", if downsample { ", downsampling" } else { "" });
        let frame = self.diagram.cluster(DiagramLine::of(&flag, label), Some(frame));

        let mut nodes = Vec::new();
        for index in 0..3 {
            let variable = path(format!("c{index}"));
            let option = edge(self.genotype, &variable)?;
            if option == EdgeOption::None {
                nodes.push(None);
                continue;
            }
            let kind = if option == EdgeOption::Skip { NodeKind::Operation } else { NodeKind::Layer };
            let words = DiagramLine::of(variable, format!("c{index}: {}", option.words()));
            let lines = vec![format!("node {index}").into(), words, shape(channels, side).into()];
            let node = self.diagram.node(Some(frame), kind, lines);
            self.diagram.edge(x, node);
            nodes.push(Some(node));
        }
        let mut ends = Vec::new();
        for (index, node) in nodes[1..].iter().enumerate() {
            let Some(node) = *node else { continue };
            let variable = path(format!("down{index}"));
            let way = if downsample { Some(down(self.genotype, &variable)?) } else { None };
            let pool = match way {
                Some(Down::Start(pool)) => Some(pool),
                _ => None,
            };
            let begin = |drawing: &mut Self| pool.map(|pool| drawing.pool(frame, &variable, pool));
            let mut branch = node;
            if let Some(pool) = begin(self) {
                self.diagram.edge(branch, pool);
                branch = pool;
            }
            let from0 = path(format!("c{}", 3 + index));
            if let Some(node0) = nodes[0]
                && edge(self.genotype, &from0)? != EdgeOption::None
            {
                let size = shape(channels, if pool.is_some() { half } else { side });
                let sum = self.tensor(frame, format!("{}: sum", BRANCHES[index]), size);
                self.diagram.edge(branch, sum);
                let to = begin(self).inspect(|&pool| self.diagram.edge(pool, sum)).unwrap_or(sum);
                self.edge(frame, &from0, node0, to)?;
                branch = sum;
            }
            branch = self.last(frame, &path(format!("c{}", 5 + index)), branch)?;
            ends.push(match way {
                None | Some(Down::Start(_)) => branch,
                Some(Down::End(pool)) => {
                    let pool = self.pool(frame, &variable, pool);
                    self.diagram.edge(branch, pool);
                    pool
                }
                Some(Down::Conv(kernel, dilation)) => {
                    let words = DiagramLine::of(&variable, convolution(kernel, dilation));
                    let layer =
                        self.layer(frame, vec![format!("down{index}").into(), words, "stride 2".into()]);
                    self.diagram.edge(branch, layer);
                    layer
                }
            });
        }
        // Without a branch nothing is downsampled, and the output is node 0 or the input.
        let side = if ends.is_empty() { side } else { half };
        let name = match ends[..] {
            [] if downsample => "output: not downsampled, since both branches are missing",
            [_, _] => "output: sum",
            _ => "output",
        };
        if ends.is_empty() {
            ends.push(nodes[0].unwrap_or(x));
        }
        let output = self.tensor(frame, name, shape(channels, side));
        ends.into_iter().for_each(|end| self.diagram.edge(end, output));
        Ok((output, side))
    }

    /// Adds a box of a pooling operation.
    fn pool(&mut self, frame: usize, variable: &str, pool: Pool) -> usize {
        let name = variable.rsplit('/').next().unwrap_or_default();
        let lines = vec![DiagramLine::of(variable, format!("{name}: {}", pool.words()))];
        self.diagram.node(Some(frame), NodeKind::Operation, lines)
    }

    /// Draws the last operation of a branch unless it is none, and returns the end of the branch.
    fn last(&mut self, frame: usize, variable: &str, branch: usize) -> Result<usize> {
        let name = variable.rsplit('/').next().unwrap_or_default();
        let node = match edge(self.genotype, variable)? {
            EdgeOption::None => return Ok(branch),
            EdgeOption::Skip => {
                let lines = vec![DiagramLine::of(variable, format!("{name}: skip"))];
                self.diagram.node(Some(frame), NodeKind::Operation, lines)
            }
            option @ EdgeOption::Conv(..) => {
                self.layer(frame, vec![name.into(), DiagramLine::of(variable, option.words())])
            }
        };
        self.diagram.edge(branch, node);
        Ok(node)
    }
}

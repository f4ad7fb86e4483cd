//! What the forward passes of generator and discriminator do, as a diagram.

mod discriminator;
mod generator;
#[cfg(test)]
mod tests;

use anyhow::Result;

use super::GanConfig;
use super::space::{Edge, edge};
use crate::search::Genotype;
use crate::tasks::{Diagram, Kind, Line};

/// Both networks of an architecture, for images of so many channels.
pub fn diagram(config: &GanConfig, channels: i64, genotype: &Genotype) -> Result<Diagram> {
    let mut drawing = Drawing { diagram: Diagram::default(), config, channels, genotype };
    let outputs = [drawing.generator()?, drawing.discriminator()?];
    drawing.diagram.mark_unused(&outputs);
    drawing.diagram.hyperparameters(&config.search_space(), genotype);
    Ok(drawing.diagram)
}

/// A diagram that grows.
struct Drawing<'a> {
    diagram: Diagram,
    config: &'a GanConfig,
    channels: i64,
    genotype: &'a Genotype,
}

impl Drawing<'_> {
    /// A box that says what it is called, and what flows out of it.
    fn tensor(&mut self, cluster: usize, name: impl Into<Line>, shape: String) -> usize {
        self.diagram.node(Some(cluster), Kind::Tensor, vec![name.into(), shape.into()])
    }

    /// A convolution.
    fn layer(&mut self, cluster: usize, lines: Vec<Line>) -> usize {
        self.diagram.node(Some(cluster), Kind::Layer, lines)
    }

    /// The edge of a variable, between two boxes of a frame; whether there is one.
    fn edge(&mut self, cluster: usize, variable: &str, from: usize, to: usize) -> Result<bool> {
        let name = variable.rsplit('/').next().unwrap_or_default();
        match edge(self.genotype, variable)? {
            Edge::None => return Ok(false),
            Edge::Skip => self.diagram.labelled(from, to, Line::of(variable, format!("{name}: skip"))),
            option @ Edge::Conv(..) => {
                let layer = self.layer(cluster, vec![name.into(), Line::of(variable, option.words())]);
                self.diagram.edge(from, layer);
                self.diagram.edge(layer, to);
            }
        }
        Ok(true)
    }
}

/// Channels, height and width.
fn shape(channels: i64, side: i64) -> String {
    format!("{channels}×{side}×{side}")
}

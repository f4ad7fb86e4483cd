//! Diagrams of the forward passes of generator and discriminator.

mod discriminator;
mod generator;
#[cfg(test)]
#[cfg(feature = "libtorch")]
mod tests;

use anyhow::Result;

use super::GanConfig;
use super::space::{EdgeOption, edge};
use pbtnas_core::search::Genotype;
use pbtnas_engine::task::{Diagram, DiagramLine, NodeKind};

/// Both networks of an architecture.
pub fn diagram(config: &GanConfig, channels: i64, genotype: &Genotype) -> Result<Diagram> {
    let mut drawing = GanDrawing { diagram: Diagram::default(), config, channels, genotype };
    let outputs = [drawing.generator()?, drawing.discriminator()?];
    drawing.diagram.mark_unused(&outputs);
    drawing.diagram.hyperparameters(&config.search_space(), genotype);
    Ok(drawing.diagram)
}

/// A diagram under construction.
struct GanDrawing<'a> {
    diagram: Diagram,
    config: &'a GanConfig,
    channels: i64,
    genotype: &'a Genotype,
}

impl GanDrawing<'_> {
    /// Adds a box with the name of a tensor and its shape.
    fn tensor(&mut self, cluster: usize, name: impl Into<DiagramLine>, shape: String) -> usize {
        self.diagram.node(Some(cluster), NodeKind::Tensor, vec![name.into(), shape.into()])
    }

    /// Adds a box of a layer with weights.
    fn layer(&mut self, cluster: usize, lines: Vec<DiagramLine>) -> usize {
        self.diagram.node(Some(cluster), NodeKind::Layer, lines)
    }

    /// Draws the edge of a variable between two boxes of a frame. Returns false if its option is none.
    fn edge(&mut self, cluster: usize, variable: &str, from: usize, to: usize) -> Result<bool> {
        let name = variable.rsplit('/').next().unwrap_or_default();
        match edge(self.genotype, variable)? {
            EdgeOption::None => return Ok(false),
            EdgeOption::Skip => {
                self.diagram.labelled(from, to, DiagramLine::of(variable, format!("{name}: skip")))
            }
            option @ EdgeOption::Conv(..) => {
                let layer = self.layer(cluster, vec![name.into(), DiagramLine::of(variable, option.words())]);
                self.diagram.edge(from, layer);
                self.diagram.edge(layer, to);
            }
        }
        Ok(true)
    }
}

fn shape(channels: i64, side: i64) -> String {
    format!("{channels}×{side}×{side}")
}

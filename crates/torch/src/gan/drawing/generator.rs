//! Diagram of the generator; each function here draws a forward pass of `gan/generator.rs`.

use anyhow::Result;

use super::{GanDrawing, shape};
use crate::gan::projection::Projection;
use crate::gan::space::{CELLS, Up, up};
use crate::gan::words::GENERATOR_EDGES;
use crate::nn::Scope;
use pbtnas_engine::task::{DiagramLine, NodeKind};

impl GanDrawing<'_> {
    /// Draws the generator, and returns the box of its image.
    pub fn generator(&mut self) -> Result<usize> {
        let frame = self.diagram.cluster("generator", None);
        let width = self.config.generator_width as i64;
        let latent = self.tensor(frame, "latent", self.config.latent.to_string());
        let mut inputs = self.projections(frame, latent)?;
        inputs.resize(CELLS, None);
        let mut skips = Vec::new();
        let mut last = latent;
        for (cell, projected) in (1..).zip(inputs) {
            let number = self.diagram.cluster(format!("cell {cell}"), Some(frame));
            let side = (self.config.bottom_width as i64) << (cell - 1);
            let before = (cell > 1).then_some(last);
            let sum = if before.is_some() && projected.is_some() { "input: sum" } else { "input" };
            let input = self.tensor(number, sum, shape(width, side));
            for source in before.into_iter().chain(projected) {
                self.diagram.edge(source, input);
            }
            last = self.generator_cell(number, cell, input, 2 * side, &mut skips)?;
        }
        let lines = ["to image", "batch norm, ReLU", "convolution 3x3, tanh"];
        let to_image = self.layer(frame, lines.map(DiagramLine::from).into());
        let image =
            self.tensor(frame, "generated image", shape(self.channels, self.config.image_size as i64));
        self.diagram.edge(last, to_image);
        self.diagram.edge(to_image, image);
        Ok(image)
    }

    /// Draws the projections, and returns for each cell the one to its input, if any.
    fn projections(&mut self, frame: usize, latent: usize) -> Result<Vec<Option<usize>>> {
        let parts = Projection::all(self.config, self.genotype, &mut Scope::declare())?;
        let mut found = Vec::new();
        for (number, part) in (1..).zip(&parts) {
            let path = format!("generator/projection{number}");
            let of = |name: &str, text: String| DiagramLine::of(format!("{path}/{name}"), text);
            let name = format!("projection {number}");
            if !part.enabled {
                let off = vec![name.into(), of("enabled", "switched off".into())];
                let node = self.diagram.node(Some(frame), NodeKind::Layer, off);
                self.diagram.edge(latent, node);
                found.push(None);
                continue;
            }
            let (first, count) = part.columns;
            let read = match count == self.config.latent as i64 {
                true => format!("linear of all {count}"),
                false => format!("linear of {} to {}", first + 1, first + count),
            };
            let mut lines = vec![of("enabled", name), of("linear", read)];
            lines.push(of("linear", format!("to {}", shape(part.channels, part.made))));
            if part.made != part.target {
                let mode = if part.bilinear { Up::Bilinear } else { Up::Nearest };
                lines.push(of(
                    "upsampling",
                    format!("{} to {}", mode.words(), shape(part.channels, part.target)),
                ));
            }
            if part.dropout > 0.0 {
                lines.push(of("dropout", format!("dropout {}", part.dropout)));
            }
            let node = self.layer(frame, lines);
            self.diagram.edge(latent, node);
            found.push(Some(node));
        }
        Ok(found)
    }

    /// Draws a cell whose output has width and height `side`, and returns the output. The cell's skip output is added
    /// to `skips`.
    fn generator_cell(
        &mut self,
        frame: usize,
        cell: usize,
        input: usize,
        side: i64,
        skips: &mut Vec<usize>,
    ) -> Result<usize> {
        let size = shape(self.config.generator_width as i64, side);
        let path = |name: String| format!("generator/cell{cell}/{name}");
        let mut nodes = Vec::new();
        for index in 0..2 {
            let variable = path(format!("up{index}"));
            let words = up(self.genotype, &variable)?.words();
            let lines = vec![
                format!("node {index}").into(),
                DiagramLine::of(&variable, format!("up{index}: {words}")),
            ];
            let node = self.layer(frame, [lines, vec![size.clone().into()]].concat());
            self.diagram.edge(input, node);
            nodes.push(node);
        }
        // Node 2 is the cell's skip output, with those of earlier cells added to it.
        let node2 = self.tensor(frame, "node 2", size.clone());
        self.joined(frame, cell, 0..2, &nodes, node2, &[nodes[0], nodes[1]])?;
        for (number, &from) in (1..).zip(skips.iter()) {
            let mode = if cell == 2 { Up::Bilinear } else { Up::Nearest };
            let lines = [format!("skip of cell {number}"), format!("{} to {side}×{side}", mode.words())];
            let lines = [&lines[..], &["convolution 1x1".to_owned()]].concat();
            let layer = self.layer(frame, lines.into_iter().map(DiagramLine::from).collect());
            self.diagram.edge(from, layer);
            self.diagram.edge(layer, node2);
        }
        skips.push(node2);
        nodes.push(node2);
        let output = self.tensor(frame, "node 3", size);
        self.joined(frame, cell, 2..5, &nodes, output, &[node2])?;
        Ok(output)
    }

    /// Draws the edges that lead to a node, and if all of them are none, edges from `instead`.
    fn joined(
        &mut self,
        frame: usize,
        cell: usize,
        edges: std::ops::Range<usize>,
        nodes: &[usize],
        to: usize,
        instead: &[usize],
    ) -> Result<()> {
        let mut any = false;
        for index in edges {
            let variable = format!("generator/cell{cell}/c{index}");
            any |= self.edge(frame, &variable, nodes[GENERATOR_EDGES[index].0], to)?;
        }
        if !any {
            instead.iter().for_each(|&from| self.diagram.edge(from, to));
        }
        Ok(())
    }
}

//! Diagrams of the forward passes of encoder, actor and critic (see `rl/networks.rs`).

use anyhow::Result;

use super::networks::{CHANNELS, FEATURES, SIDE};
use super::space::{
    Convolution, Dense, LAYERS, activation, convolution, dense, representation, spectral_norm,
};
use super::{OBSERVATION, RlTask};
use pbtnas_core::search::Genotype;
use pbtnas_engine::task::{Diagram, DiagramLine, NodeKind, Task};

/// All networks of an architecture.
pub fn diagram(task: &RlTask, genotype: &Genotype) -> Result<Diagram> {
    let (hidden, actions) = (task.config.hidden as i64, task.actions());
    let mut drawing = RlDrawing { diagram: Diagram::default(), genotype, hidden };
    let features = drawing.encoder()?;
    let frame = drawing.frame("actor", None, Some("actor"))?;
    let trunk = drawing.trunk(frame, "actor", features)?;
    let end = drawing.tower(frame, "actor", trunk)?;
    let head = drawing.layer(frame, vec!["head".into(), format!("linear to {actions}, tanh").into()]);
    let action = drawing.tensor(frame, "action", actions);
    drawing.chain(&[end, head, action]);

    let frame = drawing.frame("critic", None, None)?;
    let trunk = drawing.trunk(frame, "critic", features)?;
    let taken = drawing.tensor(frame, "action taken", actions);
    let width = representation(genotype, "critic")? + actions;
    let both = drawing.tensor(frame, "both", width);
    drawing.chain(&[trunk, both]);
    drawing.chain(&[taken, both]);
    for (network, name) in [("critic/q1", "Q1"), ("critic/q2", "Q2")] {
        let frame = drawing.frame(name, Some(frame), Some(network))?;
        let end = drawing.tower(frame, network, both)?;
        let head = drawing.layer(frame, vec!["head".into(), "linear to 1".into()]);
        let value = drawing.tensor(frame, format!("return, by {name}"), 1);
        drawing.chain(&[end, head, value]);
    }
    drawing.diagram.hyperparameters(task.space(), genotype);
    Ok(drawing.diagram)
}

/// A diagram under construction.
struct RlDrawing<'a> {
    diagram: Diagram,
    genotype: &'a Genotype,
    hidden: i64,
}

impl RlDrawing<'_> {
    /// A frame around a network; its label says whether the network is spectrally normalised.
    fn frame(&mut self, name: &str, parent: Option<usize>, network: Option<&str>) -> Result<usize> {
        let Some(network) = network else { return Ok(self.diagram.cluster(name, parent)) };
        let on = spectral_norm(self.genotype, network)?;
        let label = format!("{name}{}", if on { " (spectral norm)" } else { "" });
        Ok(self.diagram.cluster(DiagramLine::of(format!("{network}/spectral_norm"), label), parent))
    }

    fn layer(&mut self, frame: usize, lines: Vec<DiagramLine>) -> usize {
        self.diagram.node(Some(frame), NodeKind::Layer, lines)
    }

    fn tensor(&mut self, frame: usize, name: impl Into<DiagramLine>, width: i64) -> usize {
        self.diagram.node(Some(frame), NodeKind::Tensor, vec![name.into(), width.to_string().into()])
    }

    fn chain(&mut self, nodes: &[usize]) {
        nodes.windows(2).for_each(|pair| self.diagram.edge(pair[0], pair[1]));
    }

    /// Draws the encoder, and returns the box of its features.
    fn encoder(&mut self) -> Result<usize> {
        let frame = self.frame("encoder", None, Some("encoder"))?;
        let observation = OBSERVATION.map(|size| size.to_string()).join("×");
        let lines = vec!["observation".into(), observation.into()];
        let input = self.diagram.node(Some(frame), NodeKind::Tensor, lines);
        let words = format!("convolution 3x3, stride 2, to {CHANNELS}×{SIDE}×{SIDE}");
        let lines = vec!["layer 0".into(), words.into(), self.activation("encoder", 0)?];
        let mut last = self.layer(frame, lines);
        self.chain(&[input, last]);
        for layer in 1..=LAYERS {
            let variable = format!("encoder/layer{layer}");
            let option = convolution(self.genotype, &variable)?;
            let words = DiagramLine::of(variable, option.words());
            let inner = match option {
                Convolution::Identity => None,
                Convolution::Plain(_) | Convolution::Separable(_) => Some(""),
                // The activation follows the first convolution and the sum.
                Convolution::Residual(_) => Some(" inside and behind"),
            };
            last = self.searched(frame, "encoder", layer, words, inner, last)?;
        }
        let features = self.tensor(frame, "features", FEATURES);
        self.chain(&[last, features]);
        Ok(features)
    }

    /// Draws the layers from the features to the representation.
    fn trunk(&mut self, frame: usize, network: &str, features: usize) -> Result<usize> {
        let width = representation(self.genotype, network)?;
        let variable = format!("{network}/trunk_activation");
        let words = activation(self.genotype, &variable)?.words();
        let linear =
            DiagramLine::of(format!("{network}/representation"), format!("linear to {width}, layer norm"));
        let trunk = self.layer(frame, vec!["trunk".into(), linear, DiagramLine::of(variable, words)]);
        self.chain(&[features, trunk]);
        Ok(trunk)
    }

    /// Draws the fixed linear layer and the searched ones before the head.
    fn tower(&mut self, frame: usize, network: &str, input: usize) -> Result<usize> {
        let first = format!("linear to {}", self.hidden);
        let lines = vec!["layer 0".into(), first.into(), self.activation(network, 0)?];
        let mut last = self.layer(frame, lines);
        self.chain(&[input, last]);
        for layer in 1..=LAYERS {
            let variable = format!("{network}/layer{layer}");
            let option = dense(self.genotype, &variable)?;
            let words = DiagramLine::of(variable, option.words());
            let inner = match option {
                Dense::Identity => None,
                Dense::Linear => Some(""),
                Dense::Residual(_) => Some(" inside"),
            };
            last = self.searched(frame, network, layer, words, inner, last)?;
        }
        Ok(last)
    }

    /// Draws a searched layer. `inner` is the text that follows its activation; `None` if it has no activation.
    fn searched(
        &mut self,
        frame: usize,
        network: &str,
        layer: usize,
        words: DiagramLine,
        inner: Option<&str>,
        last: usize,
    ) -> Result<usize> {
        let mut lines = vec![format!("layer {layer}").into(), words];
        let kind = if inner.is_some() { NodeKind::Layer } else { NodeKind::Operation };
        if let Some(inner) = inner {
            let activation = self.activation(network, layer)?;
            lines.push(DiagramLine { text: format!("{}{inner}", activation.text), ..activation });
        }
        let node = self.diagram.node(Some(frame), kind, lines);
        self.chain(&[last, node]);
        Ok(node)
    }

    fn activation(&self, network: &str, layer: usize) -> Result<DiagramLine> {
        let variable = format!("{network}/activation{layer}");
        let words = activation(self.genotype, &variable)?.words();
        Ok(DiagramLine::of(variable, words))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RlConfig;
    use super::*;
    use pbtnas_core::search::{Initial, initial_population};

    #[test]
    fn diagram_names_every_variable_whose_layer_is_not_the_identity() {
        let task = RlTask::new(RlConfig::default());
        for genotype in initial_population(task.space(), 20, Initial::Balanced, 4) {
            let diagram = task.diagram(&genotype).unwrap();
            let named: Vec<&String> = diagram.lines().flat_map(|line| &line.variables).collect();
            for variable in &task.space().variables {
                let layer = variable.name.replace("/activation", "/layer");
                let idle = genotype.get(&layer) == Some("identity") && layer != variable.name;
                assert_eq!(named.contains(&&variable.name), !idle, "{}", variable.name);
            }
            let names: Vec<&str> = diagram.nodes.iter().map(|node| node.lines[0].text.as_str()).collect();
            for name in ["observation", "features", "action", "return, by Q1", "return, by Q2"] {
                assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}");
            }
            // Every box leads to an output.
            let mut marked = diagram.clone();
            let ends = |name: &&str| ["action", "return, by Q1", "return, by Q2"].contains(name);
            let outputs: Vec<usize> =
                names.iter().enumerate().filter(|(_, name)| ends(name)).map(|(at, _)| at).collect();
            marked.mark_unused(&outputs);
            assert_eq!(marked, diagram);
        }
    }
}

//! An architecture as a graph that a person understands: plain data, which `report` draws.

use super::short;
use crate::search::{Genotype, Space};

/// Boxes, arrows between them, and frames around them. Nothing flows in circles, neither between boxes nor between
/// frames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    /// Frames; one that lies in another comes behind it.
    pub clusters: Vec<Cluster>,
    /// Boxes.
    pub nodes: Vec<Node>,
    /// Arrows.
    pub edges: Vec<Edge>,
}

/// A frame around boxes: a network, a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What it is.
    pub label: Line,
    /// The frame that it lies in.
    pub parent: Option<usize>,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it says, the first line being what it is called.
    pub lines: Vec<Line>,
    /// How it looks.
    pub kind: Kind,
    /// The frame that it lies in.
    pub cluster: Option<usize>,
    /// Whether it does nothing for what comes out of the network, or is switched off.
    pub unused: bool,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What flows: an input, an output, a sum.
    Tensor,
    /// An operation with weights.
    Layer,
    /// An operation without.
    Operation,
    /// Values to read: nothing flows.
    Table,
}

/// An arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The box where it begins.
    pub from: usize,
    /// The box where it ends.
    pub to: usize,
    /// What it says.
    pub label: Option<Line>,
}

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// The variables whose values it tells.
    pub variables: Vec<String>,
}

impl Line {
    /// A line that tells the value of a variable.
    pub fn of(variable: impl Into<String>, text: impl Into<String>) -> Self {
        Self { text: text.into(), variables: vec![variable.into()] }
    }
}

impl<T: Into<String>> From<T> for Line {
    fn from(text: T) -> Self {
        Self { text: text.into(), variables: Vec::new() }
    }
}

impl Diagram {
    /// Adds a frame; its number.
    pub fn cluster(&mut self, label: impl Into<Line>, parent: Option<usize>) -> usize {
        self.clusters.push(Cluster { label: label.into(), parent });
        self.clusters.len() - 1
    }

    /// Adds a box; its number.
    pub fn node(&mut self, cluster: Option<usize>, kind: Kind, lines: Vec<Line>) -> usize {
        self.nodes.push(Node { lines, kind, cluster, unused: false });
        self.nodes.len() - 1
    }

    /// Adds an arrow.
    pub fn edge(&mut self, from: usize, to: usize) {
        self.edges.push(Edge { from, to, label: None });
    }

    /// Adds an arrow that says something.
    pub fn labelled(&mut self, from: usize, to: usize, label: Line) {
        self.edges.push(Edge { from, to, label: Some(label) });
    }

    /// Marks the boxes from which no way leads to one of the outputs; tables are left as they are.
    pub fn mark_unused(&mut self, outputs: &[usize]) {
        let mut used = vec![false; self.nodes.len()];
        let mut open = outputs.to_vec();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut used[node], true) {
                open.extend(self.edges.iter().filter(|edge| edge.to == node).map(|edge| edge.from));
            }
        }
        for (node, used) in self.nodes.iter_mut().zip(used) {
            node.unused |= !used && node.kind != Kind::Table;
        }
    }

    /// Everything that is written in it.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        let clusters = self.clusters.iter().map(|cluster| &cluster.label);
        let edges = self.edges.iter().filter_map(|edge| edge.label.as_ref());
        clusters.chain(self.nodes.iter().flat_map(|node| &node.lines)).chain(edges)
    }

    /// Adds a table of hyperparameters, if any are searched.
    pub fn hyperparameters(&mut self, space: &Space, genotype: &Genotype) {
        let number = |name: &str| genotype.number(name).map_or_else(|| "-".into(), short);
        let line = |name: &str| Line::of(name, format!("{name}: {}", number(name)));
        let mut lines: Vec<Line> = space.ranges().map(|(name, _)| line(name)).collect();
        if !lines.is_empty() {
            lines.insert(0, "hyperparameters".into());
            self.node(None, Kind::Table, lines);
        }
    }

    /// All variables and their values, where nothing is known of what they mean: a table for each group of variables
    /// whose names are the same up to the last `/`.
    pub fn tables(space: &Space, genotype: &Genotype) -> Self {
        let mut diagram = Self::default();
        let mut groups: Vec<(&str, Vec<Line>)> = Vec::new();
        for variable in &space.variables {
            let (group, name) = variable.name.rsplit_once('/').unwrap_or(("variables", &variable.name));
            let value = genotype.get(&variable.name).unwrap_or("-");
            let line = Line::of(&variable.name, format!("{name}: {value}"));
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, lines)) => lines.push(line),
                None => groups.push((group, vec![group.into(), line])),
            }
        }
        for (_, lines) in groups {
            diagram.node(None, Kind::Table, lines);
        }
        diagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Variable;

    #[test]
    fn what_leads_nowhere_is_unused() {
        let mut diagram = Diagram::default();
        let [a, b, c, d] =
            ["a", "b", "c", "d"].map(|name| diagram.node(None, Kind::Layer, vec![name.into()]));
        let table = diagram.node(None, Kind::Table, vec!["t".into()]);
        for (from, to) in [(a, b), (a, c), (c, d)] {
            diagram.edge(from, to);
        }
        diagram.mark_unused(&[d]);
        assert_eq!(
            [a, b, c, d, table].map(|node| diagram.nodes[node].unused),
            [false, true, false, false, false]
        );
    }

    #[test]
    fn any_space_has_tables() {
        let names = ["depth", "block/1/width", "block/1/kind", "rate", "block/2/width"];
        let space = Space::new(names.map(|name| Variable::choice(name, vec!["x".into()], vec![])).into());
        let genotype = Genotype::new(names.map(|name| (name.to_owned(), "x".to_owned())));
        let diagram = Diagram::tables(&space, &genotype);
        let texts = |node: &Node| node.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        assert_eq!(
            diagram.nodes.iter().map(texts).collect::<Vec<_>>(),
            [
                vec!["variables", "depth: x", "rate: x"],
                vec!["block/1", "width: x", "kind: x"],
                vec!["block/2", "width: x"]
            ]
        );
        assert_eq!(diagram.nodes[1].lines[2].variables, ["block/1/kind"]);
    }
}

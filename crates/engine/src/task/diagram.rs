//! An architecture as a graph: plain data, which `report` draws.

use crate::fmt::short;
use pbtnas_core::search::{Genotype, Space};

/// Nodes, edges and clusters. The graph is acyclic, both between nodes and between clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagram {
    /// A nested cluster follows its parent.
    pub clusters: Vec<DiagramCluster>,
    pub nodes: Vec<DiagramNode>,
    pub edges: Vec<DiagramEdge>,
}

/// A frame around nodes: a network or a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagramCluster {
    pub label: DiagramLine,
    /// The index of the enclosing cluster.
    pub parent: Option<usize>,
}

/// A box of the diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagramNode {
    /// The text; the first line is the name.
    pub lines: Vec<DiagramLine>,
    pub kind: NodeKind,
    /// The index of the enclosing cluster.
    pub cluster: Option<usize>,
    /// Whether it does not contribute to the output of the network or is disabled.
    pub unused: bool,
}

/// What a node represents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// An input, an output or a sum.
    Tensor,
    /// An operation with weights.
    Layer,
    /// An operation without weights.
    Operation,
    /// A list of values without edges.
    Table,
}

/// A directed edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagramEdge {
    /// The index of the source node.
    pub from: usize,
    /// The index of the target node.
    pub to: usize,
    pub label: Option<DiagramLine>,
}

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiagramLine {
    pub text: String,
    /// The variables whose values it shows.
    pub variables: Vec<String>,
}

impl DiagramLine {
    /// A line that shows the value of a variable.
    pub fn of(variable: impl Into<String>, text: impl Into<String>) -> Self {
        Self { text: text.into(), variables: vec![variable.into()] }
    }
}

impl<T: Into<String>> From<T> for DiagramLine {
    fn from(text: T) -> Self {
        Self { text: text.into(), variables: Vec::new() }
    }
}

impl Diagram {
    /// Adds a cluster and returns its index.
    pub fn cluster(&mut self, label: impl Into<DiagramLine>, parent: Option<usize>) -> usize {
        self.clusters.push(DiagramCluster { label: label.into(), parent });
        self.clusters.len() - 1
    }

    /// Adds a node and returns its index.
    pub fn node(&mut self, cluster: Option<usize>, kind: NodeKind, lines: Vec<DiagramLine>) -> usize {
        self.nodes.push(DiagramNode { lines, kind, cluster, unused: false });
        self.nodes.len() - 1
    }

    /// Adds an edge.
    pub fn edge(&mut self, from: usize, to: usize) {
        self.edges.push(DiagramEdge { from, to, label: None });
    }

    /// Adds an edge with a label.
    pub fn labelled(&mut self, from: usize, to: usize, label: DiagramLine) {
        self.edges.push(DiagramEdge { from, to, label: Some(label) });
    }

    /// Marks the nodes from which no output can be reached as unused, except tables.
    pub fn mark_unused(&mut self, outputs: &[usize]) {
        let mut used = vec![false; self.nodes.len()];
        let mut open = outputs.to_vec();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut used[node], true) {
                open.extend(self.edges.iter().filter(|edge| edge.to == node).map(|edge| edge.from));
            }
        }
        for (node, used) in self.nodes.iter_mut().zip(used) {
            node.unused |= !used && node.kind != NodeKind::Table;
        }
    }

    /// All lines of text in the diagram.
    pub fn lines(&self) -> impl Iterator<Item = &DiagramLine> {
        let clusters = self.clusters.iter().map(|cluster| &cluster.label);
        let edges = self.edges.iter().filter_map(|edge| edge.label.as_ref());
        clusters.chain(self.nodes.iter().flat_map(|node| &node.lines)).chain(edges)
    }

    /// Adds a table of hyperparameters, if any are searched.
    pub fn hyperparameters(&mut self, space: &Space, genotype: &Genotype) {
        let number = |name: &str| genotype.number(name).map_or_else(|| "-".into(), short);
        let line = |name: &str| DiagramLine::of(name, format!("{name}: {}", number(name)));
        let mut lines: Vec<DiagramLine> = space.ranges().map(|(name, _)| line(name)).collect();
        if !lines.is_empty() {
            lines.insert(0, "hyperparameters".into());
            self.node(None, NodeKind::Table, lines);
        }
    }

    /// The generic diagram of a genotype: all variables and their values, with one table per group of variables whose
    /// names are equal up to the last `/`.
    pub fn tables(space: &Space, genotype: &Genotype) -> Self {
        let mut diagram = Self::default();
        let mut groups: Vec<(&str, Vec<DiagramLine>)> = Vec::new();
        for variable in &space.variables {
            let (group, name) = variable.name.rsplit_once('/').unwrap_or(("variables", &variable.name));
            let value = genotype.get(&variable.name).unwrap_or("-");
            let line = DiagramLine::of(&variable.name, format!("{name}: {value}"));
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, lines)) => lines.push(line),
                None => groups.push((group, vec![group.into(), line])),
            }
        }
        for (_, lines) in groups {
            diagram.node(None, NodeKind::Table, lines);
        }
        diagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::search::Variable;

    #[test]
    fn nodes_without_a_path_to_an_output_are_unused() {
        let mut diagram = Diagram::default();
        let [a, b, c, d] =
            ["a", "b", "c", "d"].map(|name| diagram.node(None, NodeKind::Layer, vec![name.into()]));
        let table = diagram.node(None, NodeKind::Table, vec!["t".into()]);
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
    fn variables_are_grouped_into_tables() {
        let names = ["depth", "block/1/width", "block/1/kind", "rate", "block/2/width"];
        let space = Space::new(names.map(|name| Variable::choice(name, vec!["x".into()], vec![])).into());
        let genotype = Genotype::new(names.map(|name| (name.to_owned(), "x".to_owned())));
        let diagram = Diagram::tables(&space, &genotype);
        let texts = |node: &DiagramNode| node.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>();
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

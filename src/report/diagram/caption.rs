//! Title of a diagram, and the differences that it highlights.

use std::collections::BTreeSet;

use pbtnas_engine::task::{Diagram, DiagramLine};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caption {
    pub title: String,
    /// The network that it is compared with.
    pub against: Option<String>,
    /// The variables in which the two differ.
    pub changed: BTreeSet<String>,
}

impl Caption {
    /// Whether a line shows a variable that differs.
    pub fn is_changed(&self, line: &DiagramLine) -> bool {
        line.variables.iter().any(|variable| self.changed.contains(variable))
    }

    /// The line below the title; none without a comparison.
    pub fn difference(&self, diagram: &Diagram) -> Option<String> {
        let against = self.against.as_ref()?;
        let drawn: BTreeSet<&String> = diagram.lines().flat_map(|line| &line.variables).collect();
        let hidden = self.changed.iter().filter(|variable| !drawn.contains(variable)).count();
        let mut text = match self.changed.len() {
            0 => return Some(format!("no difference from {against}")),
            1 => format!("highlighted: 1 variable differs from {against}"),
            count => format!("highlighted: {count} variables differ from {against}"),
        };
        if hidden > 0 {
            text += &format!(" ({hidden} not drawn: disabled or without effect)");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_engine::task::NodeKind;

    #[test]
    fn captions_count_differences() {
        let mut diagram = Diagram::default();
        diagram.node(None, NodeKind::Layer, vec![DiagramLine::of("a", "a: 1"), DiagramLine::of("b", "b: 1")]);
        let difference = |against: Option<&str>, changed: &[&str]| {
            let changed = changed.iter().map(|&name| name.to_owned()).collect();
            let against = against.map(str::to_owned);
            Caption { title: String::new(), against, changed }.difference(&diagram)
        };
        assert_eq!(difference(None, &[]), None);
        assert_eq!(difference(Some("7/02"), &[]).unwrap(), "no difference from 7/02");
        assert_eq!(difference(Some("7/02"), &["a"]).unwrap(), "highlighted: 1 variable differs from 7/02");
        assert_eq!(
            difference(Some("7/02"), &["a", "x"]).unwrap(),
            "highlighted: 2 variables differ from 7/02 (1 not drawn: disabled or without effect)"
        );
    }
}

//! What is said about a diagram.

use std::collections::BTreeSet;

use crate::tasks::{Diagram, Line};

/// What a diagram is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caption {
    /// The network.
    pub title: String,
    /// The network that it is compared with, if it is.
    pub against: Option<String>,
    /// The variables in which the two differ.
    pub changed: BTreeSet<String>,
}

impl Caption {
    /// Whether a line tells a value that is not the other network's.
    pub fn is_changed(&self, line: &Line) -> bool {
        line.variables.iter().any(|variable| self.changed.contains(variable))
    }

    /// How the two networks differ; none if there is one only.
    pub fn difference(&self, diagram: &Diagram) -> Option<String> {
        let against = self.against.as_ref()?;
        let told: BTreeSet<&String> = diagram.lines().flat_map(|line| &line.variables).collect();
        let hidden = self.changed.iter().filter(|variable| !told.contains(variable)).count();
        let mut text = match self.changed.len() {
            0 => return Some(format!("no difference from {against}")),
            1 => format!("highlighted: 1 variable differs from {against}"),
            count => format!("highlighted: {count} variables differ from {against}"),
        };
        if hidden > 0 {
            text += &format!(" ({hidden} of them not drawn: switched off, or without effect here)");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Kind;

    #[test]
    fn a_caption_counts_what_differs() {
        let mut diagram = Diagram::default();
        diagram.node(None, Kind::Layer, vec![Line::of("a", "a: 1"), Line::of("b", "b: 1")]);
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
            "highlighted: 2 variables differ from 7/02 (1 of them not drawn: switched off, or without effect here)"
        );
    }
}

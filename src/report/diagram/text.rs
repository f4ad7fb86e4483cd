//! Estimated text sizes, from the letter widths of DejaVu Sans, which is wider than most fonts.

use pbtnas_engine::task::{DiagramEdge, DiagramLine, DiagramNode, NodeKind};

/// Font size.
pub const FONT: f64 = 12.0;
/// Line height.
pub const LINE: f64 = 16.0;
/// Space between text and the sides of its box.
pub const MARGIN: f64 = 10.0;

pub fn width(text: &str, bold: bool) -> f64 {
    let em: f64 = text
        .chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | '\'' | '|' => 0.28,
            ' ' | '.' | ',' | ':' | ';' | 'f' | 't' | 'r' | '(' | ')' | '/' | '!' | '-' => 0.41,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 1.0,
            '_' | 's' | 'c' | 'z' | 'k' | 'v' | 'x' | 'y' => 0.6,
            'A'..='Z' | '×' | '+' | '=' | '<' | '>' | '→' => 0.84,
            _ if letter.is_ascii() => 0.64,
            _ => 1.0,
        })
        .sum();
    em * FONT * if bold { 1.1 } else { 1.0 }
}

/// Whether a line of a box is its name, which is bold.
pub fn is_name(lines: &[DiagramLine], index: usize) -> bool {
    index == 0 && lines.len() > 1
}

/// Width and height of a box.
pub fn size(node: &DiagramNode) -> (f64, f64) {
    let lines = node.lines.iter().enumerate();
    let widths = lines.map(|(index, line)| width(&line.text, is_name(&node.lines, index)));
    let least = if node.kind == NodeKind::Table { 120.0 } else { 40.0 };
    (widths.fold(least, f64::max) + 2.0 * MARGIN, node.lines.len() as f64 * LINE + MARGIN)
}

/// Width and height of an edge's label.
pub fn label_size(edge: &DiagramEdge) -> (f64, f64) {
    (edge.label.as_ref().map_or(0.0, |line| width(&line.text, false)) + MARGIN, 18.0)
}

//! A diagram as SVG, with a light and a dark colour scheme.

use std::fmt::Write;

use super::caption::Caption;
use super::layout::{DiagramLayout, HEADER, PADDING, Rect, layout};
use super::text::{self, FONT, LINE, MARGIN};
use crate::report::chart::escaped;
use pbtnas_engine::task::{Diagram, DiagramNode, NodeKind};

const STYLE: &str = "
  svg { --paper: #ffffff; --ink: #1b1f24; --dim: #6b7280; --line: #5b6470; --frame: #c3c9d1; --tint: #f5f6f8;
    --tensor: #e5e7eb; --layer: #d3e5f7; --layer-line: #4a7fb5; --hot: #d55e00; --hot-fill: #fde3cf; }
  @media (prefers-color-scheme: dark) { svg { --paper: #14171b; --ink: #e7eaee; --dim: #9098a3; --line: #98a2ae;
    --frame: #3d4550; --tint: #1b1f25; --tensor: #343b45; --layer: #1f3d5c; --layer-line: #6fa8dc; --hot: #ff9a4d;
    --hot-fill: #55300f; } }
  text { font: 12px 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; fill: var(--ink); }
  .name { font-weight: bold; }
  .title { font-size: 16px; font-weight: bold; }
  .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4; stroke-linejoin: round; }
  .dim { fill: var(--dim); }
  .paper { fill: var(--paper); }
  .frame { fill: var(--tint); stroke: var(--frame); }
  .deep { fill: var(--paper); }
  .node rect { fill: var(--paper); stroke: var(--line); }
  .tensor rect { fill: var(--tensor); stroke: none; }
  .layer rect { fill: var(--layer); stroke: var(--layer-line); }
  .unused rect { fill: none; stroke: var(--dim); stroke-dasharray: 4 3; }
  .unused text { fill: var(--dim); }
  .node.hot rect, .chip.hot { fill: var(--hot-fill); stroke: var(--hot); stroke-width: 2; stroke-dasharray: none; }
  .frame.hot { stroke: var(--hot); stroke-width: 2; }
  text.hot, .hot tspan.hot { fill: var(--hot); }
  .edge { fill: none; stroke: var(--line); stroke-width: 1.3; marker-end: url(#tip); }
  .edge.off { stroke: var(--dim); stroke-dasharray: 4 3; }
  .tip { fill: var(--line); }
  .chip { fill: var(--paper); stroke: var(--frame); }
";
/// Margin of the picture.
const BORDER: f64 = 20.0;
/// Line height above the diagram.
const HEAD_LINE: f64 = 24.0;
/// Width of a sample in the key.
const SAMPLE: f64 = 22.0;

/// A self-contained SVG file.
pub fn svg(diagram: &Diagram, caption: &Caption) -> String {
    let layout = layout(diagram);
    let difference = caption.difference(diagram);
    let legend = legend(diagram);
    let head_lines = 2 + usize::from(difference.is_some());
    let top = BORDER + head_lines as f64 * HEAD_LINE + 6.0;
    let legend_width = legend.iter().map(|(_, words)| sample_width(words)).sum();
    let title_width = text::width(&caption.title, true) * 16.0 / FONT;
    let difference_width = difference.as_ref().map_or(0.0, |words| text::width(words, true));
    let widest = [layout.width, legend_width, title_width, difference_width].into_iter().fold(0.0, f64::max);
    let (width, height) = (widest + 2.0 * BORDER, layout.height + top + BORDER);
    let title = escaped(&caption.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"architecture: {title}\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"{BORDER}\" y=\"{:.1}\">{title}</text>\n",
        BORDER + 14.0
    );
    let mut y = BORDER + HEAD_LINE + 14.0;
    if let Some(words) = &difference {
        let hot = if caption.changed.is_empty() { "dim" } else { "hot" };
        let _ = writeln!(svg, "<text class=\"{hot}\" x=\"{BORDER}\" y=\"{y:.1}\">{}</text>", escaped(words));
        y += HEAD_LINE;
    }
    let mut x = BORDER;
    for (class, words) in &legend {
        let _ = writeln!(
            svg,
            "<g class=\"node {class}\"><rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{SAMPLE}\" height=\"13\" rx=\"4\"/>\
             <text class=\"dim\" x=\"{:.1}\" y=\"{y:.1}\">{words}</text></g>",
            y - 11.0,
            x + SAMPLE + 7.0
        );
        x += sample_width(words);
    }
    let aside = BORDER + (widest - layout.width) / 2.0;
    let _ = writeln!(svg, "<g transform=\"translate({aside:.1} {top:.1})\">");
    body(diagram, caption, &layout, &mut svg);
    svg + "</g>\n</svg>\n"
}

/// Frames, edges, labels and boxes, from the bottom to the top.
fn body(diagram: &Diagram, caption: &Caption, layout: &DiagramLayout, svg: &mut String) {
    for (cluster, rect) in diagram.clusters.iter().zip(&layout.clusters) {
        let hot = if caption.is_changed(&cluster.label) { " hot" } else { "" };
        let deep = if cluster.parent.is_some() { " deep" } else { "" };
        let _ = writeln!(svg, "<rect class=\"frame{deep}{hot}\" {} rx=\"8\"/>", place(rect));
    }
    for (edge, way) in diagram.edges.iter().zip(&layout.edges) {
        let off = if diagram.nodes[edge.to].unused { " off" } else { "" };
        let points: Vec<String> = way.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(svg, "<polyline class=\"edge{off}\" points=\"{}\"/>", points.join(" "));
    }
    for (cluster, rect) in diagram.clusters.iter().zip(&layout.clusters) {
        let hot = if caption.is_changed(&cluster.label) { " hot" } else { "" };
        let (x, y) = (rect.x + PADDING, rect.y + HEADER / 2.0 + 5.0);
        let words = escaped(&cluster.label.text);
        let _ = writeln!(svg, "<text class=\"name halo{hot}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>");
    }
    for (edge, rect) in diagram.edges.iter().zip(&layout.labels) {
        if let (Some(line), Some(rect)) = (&edge.label, rect) {
            let hot = if caption.is_changed(line) { " hot" } else { "" };
            let _ = writeln!(svg, "<rect class=\"chip{hot}\" {} rx=\"9\"/>", place(rect));
            let (x, y) = (rect.x + rect.width / 2.0, rect.y + rect.height / 2.0 + 4.0);
            let words = escaped(&line.text);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{words}</text>");
        }
    }
    for (node, rect) in diagram.nodes.iter().zip(&layout.nodes) {
        self::node(node, caption, rect, svg);
    }
}

fn node(node: &DiagramNode, caption: &Caption, rect: &Rect, svg: &mut String) {
    let hot = if node.lines.iter().any(|line| caption.is_changed(line)) { " hot" } else { "" };
    let class = class(node);
    let round = if node.kind == NodeKind::Tensor { 12 } else { 5 };
    let _ = write!(svg, "<g class=\"node {class}{hot}\"><rect {} rx=\"{round}\"/>", place(rect));
    let (anchor, x) = match node.kind {
        NodeKind::Table => ("start", rect.x + MARGIN),
        _ => ("middle", rect.x + rect.width / 2.0),
    };
    let _ = write!(svg, "<text text-anchor=\"{anchor}\">");
    for (index, line) in node.lines.iter().enumerate() {
        let y = rect.y + MARGIN / 2.0 + LINE * index as f64 + 12.0;
        let hot = if caption.is_changed(line) { "hot " } else { "" };
        let name = if text::is_name(&node.lines, index) { "name" } else { "" };
        let words = escaped(&line.text);
        let _ = write!(svg, "<tspan class=\"{hot}{name}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</tspan>");
    }
    *svg += "</text></g>\n";
}

fn class(node: &DiagramNode) -> &'static str {
    match (node.unused, node.kind) {
        (true, _) => "unused",
        (_, NodeKind::Tensor) => "tensor",
        (_, NodeKind::Layer) => "layer",
        (_, NodeKind::Operation) => "operation",
        (_, NodeKind::Table) => "table",
    }
}

/// Class and meaning of the kinds of boxes that occur.
fn legend(diagram: &Diagram) -> Vec<(&'static str, &'static str)> {
    let all = [
        ("tensor", "tensor: channels×height×width"),
        ("layer", "layer with weights"),
        ("operation", "operation without weights"),
        ("unused", "not connected to an output"),
    ];
    let occurs = |kind: &str| diagram.nodes.iter().any(|node| class(node) == kind);
    all.into_iter().filter(|(kind, _)| occurs(kind)).collect()
}

fn sample_width(words: &str) -> f64 {
    SAMPLE + 7.0 + text::width(words, false) + 14.0
}

fn place(rect: &Rect) -> String {
    let Rect { x, y, width, height } = rect;
    format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_engine::task::DiagramLine;

    #[test]
    fn names_are_escaped() {
        let odd = "<b> & \"c\"\n";
        let mut diagram = Diagram::default();
        let cluster = diagram.cluster(odd, None);
        let a = diagram.node(Some(cluster), NodeKind::Tensor, vec![odd.into()]);
        let b = diagram.node(None, NodeKind::Layer, vec!["b".into(), DiagramLine::of("v", odd)]);
        diagram.labelled(a, b, odd.into());
        let changed = ["v".to_owned()].into();
        let text = svg(&diagram, &Caption { title: odd.into(), against: Some(odd.into()), changed });
        assert!(!text.contains("<b>") && !text.contains("NaN") && !text.contains("inf"), "{text}");
        assert!(
            text.contains("<title>&lt;b&gt; &amp; &quot;c&quot;\n</title>") && text.contains("aria-label="),
            "{text}"
        );
        assert!(
            text.contains("prefers-color-scheme: dark") && text.contains("class=\"node layer hot\""),
            "{text}"
        );
    }

    #[test]
    fn an_empty_diagram_has_a_title() {
        let text = svg(&Diagram::default(), &Caption { title: "t".into(), ..Caption::default() });
        assert!(text.contains(">t</text>") && !text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}

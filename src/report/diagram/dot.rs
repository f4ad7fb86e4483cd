//! A diagram in the DOT language of Graphviz.

use std::fmt::Write;

use super::caption::Caption;
use pbtnas_engine::task::{Diagram, DiagramLine, DiagramNode, NodeKind};

/// A digraph with frames as subgraphs.
pub fn dot(diagram: &Diagram, caption: &Caption) -> String {
    let mut text = String::from("digraph architecture {\n");
    let title = [Some(caption.title.clone()), caption.difference(diagram)];
    let title: Vec<String> = title.into_iter().flatten().collect();
    let _ = writeln!(text, "  graph [label={}, labelloc=t, fontname=\"Helvetica\"];", label(&title, "\\n"));
    text += "  node [shape=box, style=\"filled,rounded\", fontname=\"Helvetica\", fontsize=11];\n";
    text += "  edge [fontname=\"Helvetica\", fontsize=10];\n";
    inside(diagram, caption, None, 1, &mut text);
    for edge in &diagram.edges {
        let unused = diagram.nodes[edge.to].unused;
        let mut attributes = Vec::new();
        if let Some(line) = &edge.label {
            attributes.push(format!("label={}", label(&[&line.text], "\\n")));
            if caption.is_changed(line) {
                attributes.push("color=\"#d55e00\", fontcolor=\"#d55e00\", penwidth=2".into());
            }
        }
        if unused {
            attributes.push("style=dashed, color=\"#999999\"".into());
        }
        let attributes =
            if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        let _ = writeln!(text, "  n{} -> n{}{attributes};", edge.from, edge.to);
    }
    text + "}\n"
}

/// The nodes and frames directly inside a frame (none: outside of all frames).
fn inside(diagram: &Diagram, caption: &Caption, parent: Option<usize>, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for (number, node) in diagram.nodes.iter().enumerate().filter(|(_, node)| node.cluster == parent) {
        let _ = writeln!(text, "{indent}n{number} [{}];", attributes(node, caption));
    }
    for (number, cluster) in diagram.clusters.iter().enumerate().filter(|(_, one)| one.parent == parent) {
        let _ = writeln!(text, "{indent}subgraph cluster_{number} {{");
        let changed = if caption.is_changed(&cluster.label) { ", color=\"#d55e00\", penwidth=2" } else { "" };
        let name = label(&[&cluster.label.text], "\\n");
        let _ = writeln!(text, "{indent}  graph [label={name}, labeljust=l, style=rounded{changed}];");
        inside(diagram, caption, Some(number), depth + 1, text);
        let _ = writeln!(text, "{indent}}}");
    }
}

fn attributes(node: &DiagramNode, caption: &Caption) -> String {
    // Tables are aligned on the left.
    let end = if node.kind == NodeKind::Table { "\\l" } else { "\\n" };
    let texts: Vec<&str> = node.lines.iter().map(|line| line.text.as_str()).collect();
    let mut text = format!("label={}", label(&texts, end));
    text += match (node.unused, node.kind) {
        (true, _) => {
            ", fillcolor=\"#f5f5f5\", fontcolor=\"#888888\", color=\"#999999\", style=\"filled,rounded,dashed\""
        }
        (_, NodeKind::Tensor) => ", fillcolor=\"#eeeeee\"",
        (_, NodeKind::Layer) => ", fillcolor=\"#d6e6f5\"",
        (_, NodeKind::Operation) => ", fillcolor=\"#ffffff\"",
        (_, NodeKind::Table) => ", fillcolor=\"#ffffff\", style=filled",
    };
    if node.lines.iter().any(|line: &DiagramLine| caption.is_changed(line)) {
        text += ", color=\"#d55e00\", penwidth=3";
    }
    text
}

/// A quoted label; Graphviz interprets backslashes and entities in it.
fn label(lines: &[impl AsRef<str>], end: &str) -> String {
    let lines: Vec<String> = lines.iter().map(|line| escaped(line.as_ref())).collect();
    let text = lines.join(end);
    let last = if end == "\\l" { end } else { "" };
    format!("\"{text}{last}\"")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '"' => escaped += "\\\"",
            '\\' => escaped += "\\\\",
            '&' => escaped += "&amp;",
            '\n' => escaped += "\\n",
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("a \"b\" \\n <c> & é\nx\ty"), "a \\\"b\\\" \\\\n <c> &amp; é\\nx y");
        assert_eq!(label(&["a", "b"], "\\n"), r#""a\nb""#);
        assert_eq!(label(&["a", "b"], "\\l"), r#""a\lb\l""#);
    }

    #[test]
    fn frames_are_subgraphs() {
        let mut diagram = Diagram::default();
        let outer = diagram.cluster("net", None);
        let inner = diagram.cluster(DiagramLine::of("norm", "cell"), Some(outer));
        let a = diagram.node(Some(outer), NodeKind::Tensor, vec!["in \"x\"".into()]);
        let b = diagram.node(Some(inner), NodeKind::Layer, vec!["conv".into(), DiagramLine::of("k", "3x3")]);
        diagram.node(None, NodeKind::Table, vec!["t".into(), "v: 1".into()]);
        diagram.labelled(a, b, "skip".into());
        let changed = ["k".to_owned()].into();
        let caption = Caption { title: "one".into(), against: Some("two".into()), changed };
        assert_eq!(
            dot(&diagram, &caption),
            r##"digraph architecture {
  graph [label="one\nhighlighted: 1 variable differs from two", labelloc=t, fontname="Helvetica"];
  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=11];
  edge [fontname="Helvetica", fontsize=10];
  n2 [label="t\lv: 1\l", fillcolor="#ffffff", style=filled];
  subgraph cluster_0 {
    graph [label="net", labeljust=l, style=rounded];
    n0 [label="in \"x\"", fillcolor="#eeeeee"];
    subgraph cluster_1 {
      graph [label="cell", labeljust=l, style=rounded];
      n1 [label="conv\n3x3", fillcolor="#d6e6f5", color="#d55e00", penwidth=3];
    }
  }
  n0 -> n1 [label="skip"];
}
"##
        );
    }
}

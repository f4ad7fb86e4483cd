//! Where everything of a diagram lies.
//!
//! Each frame is laid out by itself, then as one box of the frame around it: so frames hold what is in them and nothing
//! else. An arrow into a frame comes through its upper side, one out of it through its lower side.

use super::layers::{Item, Link, Pin, place};
use super::text;
use crate::tasks::{Diagram, Kind};

/// Space between a frame and what is in it.
const PADDING: f64 = 14.0;
/// Height of a frame's name.
const HEADER: f64 = 26.0;
/// Height of what an arrow says.
const CHIP: f64 = 18.0;
/// Room for an arrow at the side of a frame.
const PORT: f64 = 6.0;

/// A rectangle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    fn moved(self, (x, y): (f64, f64)) -> Self {
        Self { x: self.x + x, y: self.y + y, ..self }
    }
}

/// Places from the left upper corner, downwards.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    pub width: f64,
    pub height: f64,
    /// Boxes.
    pub nodes: Vec<Rect>,
    /// Frames, and where their names begin.
    pub clusters: Vec<(Rect, (f64, f64))>,
    /// The way of each arrow, downwards from point to point.
    pub edges: Vec<Vec<(f64, f64)>>,
    /// Around what arrows say.
    pub labels: Vec<Option<Rect>>,
}

/// A frame, or everything, by itself; numbers are those of the diagram.
#[derive(Debug, Default)]
struct Level {
    width: f64,
    height: f64,
    nodes: Vec<(usize, Rect)>,
    clusters: Vec<(usize, Rect, (f64, f64))>,
    /// Pieces of arrows.
    ways: Vec<(usize, Vec<(f64, f64)>)>,
    labels: Vec<(usize, Rect)>,
    /// Arrows that come in, and where.
    tops: Vec<(usize, f64)>,
    /// Arrows that leave, and where.
    bottoms: Vec<(usize, f64)>,
}

/// What lies directly in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Child {
    Node(usize),
    Cluster(usize),
    /// The place at the frame's side where an arrow comes in.
    Top(usize),
    /// Where one leaves.
    Bottom(usize),
}

/// Lays out a diagram.
pub fn layout(diagram: &Diagram) -> Layout {
    let level = level(diagram, None);
    let mut layout = Layout {
        width: level.width,
        height: level.height,
        nodes: vec![Rect::default(); diagram.nodes.len()],
        clusters: vec![Default::default(); diagram.clusters.len()],
        edges: vec![Vec::new(); diagram.edges.len()],
        labels: vec![None; diagram.edges.len()],
    };
    level.nodes.into_iter().for_each(|(node, rect)| layout.nodes[node] = rect);
    level.clusters.into_iter().for_each(|(cluster, rect, name)| layout.clusters[cluster] = (rect, name));
    level.labels.into_iter().for_each(|(edge, rect)| layout.labels[edge] = Some(rect));
    level.ways.into_iter().for_each(|(edge, way)| layout.edges[edge].extend(way));
    for way in &mut layout.edges {
        // Its pieces, each of which goes down.
        way.sort_by(|a, b| a.1.total_cmp(&b.1));
        way.dedup();
    }
    layout
}

/// What in a frame a box is, or is part of; none if it is outside.
fn child_of(diagram: &Diagram, node: usize, frame: Option<usize>) -> Option<Child> {
    let (mut child, mut around) = (Child::Node(node), diagram.nodes[node].cluster);
    while around != frame {
        let cluster = around?;
        (child, around) = (Child::Cluster(cluster), diagram.clusters[cluster].parent);
    }
    Some(child)
}

fn level(diagram: &Diagram, frame: Option<usize>) -> Level {
    let nodes = (0..diagram.nodes.len()).filter(|&node| diagram.nodes[node].cluster == frame);
    let clusters = (0..diagram.clusters.len()).filter(|&one| diagram.clusters[one].parent == frame);
    let inner: Vec<(usize, Level)> =
        clusters.map(|cluster| (cluster, level(diagram, Some(cluster)))).collect();
    let mut children: Vec<Child> =
        nodes.map(Child::Node).chain(inner.iter().map(|(cluster, _)| Child::Cluster(*cluster))).collect();
    // As the diagram names them, roughly: boxes and frames by the first box in them.
    children.sort_by_key(|&child| match child {
        Child::Cluster(cluster) => (0..diagram.nodes.len())
            .find(|&node| child_of(diagram, node, frame) == Some(Child::Cluster(cluster)))
            .unwrap_or(usize::MAX),
        Child::Node(at) | Child::Top(at) | Child::Bottom(at) => at,
    });
    let mut ends = Vec::new();
    for (number, edge) in diagram.edges.iter().enumerate() {
        let (from, to) = (child_of(diagram, edge.from, frame), child_of(diagram, edge.to, frame));
        match (from, to) {
            (Some(from), Some(to)) if from != to => ends.push((number, from, to)),
            (Some(from), None) => {
                children.push(Child::Bottom(number));
                ends.push((number, from, Child::Bottom(number)));
            }
            (None, Some(to)) => {
                children.push(Child::Top(number));
                ends.push((number, Child::Top(number), to));
            }
            _ => {}
        }
    }
    let level_of = |cluster: usize| inner.iter().find(|(known, _)| *known == cluster).map(|(_, level)| level);
    let items: Vec<Item> = children
        .iter()
        .map(|&child| {
            let ((width, height), high, pin) = match child {
                Child::Node(node) => {
                    (text::size(diagram, node), diagram.nodes[node].kind == Kind::Table, None)
                }
                Child::Cluster(one) => {
                    (level_of(one).map_or((0.0, 0.0), |level| (level.width, level.height)), true, None)
                }
                Child::Top(_) => ((PORT, HEADER), false, Some(Pin::Top)),
                Child::Bottom(_) => ((PORT, 0.0), false, Some(Pin::Bottom)),
            };
            Item { width, height, high, pin }
        })
        .collect();
    let index = |child: Child| children.iter().position(|&known| known == child).unwrap_or(0);
    let port = |edge: usize, child: Child, lower: bool| match child {
        Child::Cluster(cluster) => {
            let level = level_of(cluster)?;
            let ports = if lower { &level.bottoms } else { &level.tops };
            ports.iter().find(|(known, _)| *known == edge).map(|(_, x)| *x)
        }
        Child::Node(_) | Child::Top(_) | Child::Bottom(_) => None,
    };
    let links: Vec<Link> = ends
        .iter()
        .map(|&(number, from, to)| {
            let inside = !matches!(from, Child::Top(_)) && !matches!(to, Child::Bottom(_));
            let label = diagram.edges[number].label.as_ref().filter(|_| inside);
            Link {
                from: index(from),
                to: index(to),
                ports: (port(number, from, true), port(number, to, false)),
                label: label.map(|line| (text::width(&line.text, false) + text::MARGIN, CHIP)),
            }
        })
        .collect();
    let placed = place(&items, &links);

    let mut this = Level::default();
    let coming: Vec<f64> = placed
        .ways
        .iter()
        .zip(&ends)
        .filter(|(_, end)| matches!(end.1, Child::Top(_)))
        .map(|(way, _)| way[0].0)
        .collect();
    let (shift, name_at, width) = match frame {
        None => ((0.0, 0.0), 0.0, placed.width),
        Some(cluster) => {
            let name = text::width(&diagram.clusters[cluster].label.text, true);
            let (aside, name_at, width) = beside(name, placed.width, &coming);
            let header = if coming.is_empty() { HEADER + 4.0 } else { 0.0 };
            ((aside + PADDING, header), name_at + PADDING, width + 2.0 * PADDING)
        }
    };
    let leaving = children.iter().any(|child| matches!(child, Child::Bottom(_)));
    this.width = width;
    this.height = placed.height + shift.1 + if frame.is_none() || leaving { 0.0 } else { PADDING };
    for (&child, &(x, y)) in children.iter().zip(&placed.items) {
        let corner = (x + shift.0, y + shift.1);
        match child {
            Child::Node(node) => {
                let (width, height) = text::size(diagram, node);
                this.nodes.push((node, Rect { x: corner.0, y: corner.1, width, height }));
            }
            Child::Cluster(cluster) => {
                if let Some((_, level)) = inner.iter().find(|(known, _)| *known == cluster) {
                    this.take(level, corner);
                }
            }
            Child::Top(_) | Child::Bottom(_) => {}
        }
    }
    let drawn = placed.ways.iter().zip(&placed.labels).zip(&links);
    for (&(number, from, to), ((way, label), link)) in ends.iter().zip(drawn) {
        let mut way: Vec<(f64, f64)> = way.iter().map(|(x, y)| (x + shift.0, y + shift.1)).collect();
        if let (Child::Top(_), Some(&(x, _))) = (from, way.first()) {
            way.insert(0, (x, 0.0));
            this.tops.push((number, x));
        }
        if let (Child::Bottom(_), Some(&(x, _))) = (to, way.last()) {
            way.push((x, this.height));
            this.bottoms.push((number, x));
        }
        if let (Some((x, y)), Some((width, height))) = (label, link.label) {
            let (x, y) = (x + shift.0 - width / 2.0, y + shift.1 - height / 2.0);
            this.labels.push((number, Rect { x, y, width, height }));
        }
        this.ways.push((number, way));
    }
    if let Some(cluster) = frame {
        let rect = Rect { x: 0.0, y: 0.0, width: this.width, height: this.height };
        this.clusters.push((cluster, rect, (name_at, HEADER / 2.0)));
    }
    this
}

/// A place for a frame's name beside the arrows that come in: at the left, or at the right, or to the left of
/// everything. How far what is in the frame moves to the right, where the name begins, and the width of both.
fn beside(name: f64, width: f64, coming: &[f64]) -> (f64, f64, f64) {
    let first = coming.iter().copied().fold(f64::INFINITY, f64::min);
    let last = coming.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let needed = name + text::MARGIN;
    if coming.is_empty() || needed <= first {
        (0.0, 0.0, width.max(name))
    } else if last + needed <= width {
        (0.0, width - name, width)
    } else {
        (needed - first, 0.0, width + needed - first)
    }
}

impl Level {
    /// Takes in what lies in a frame, whose corner is here.
    fn take(&mut self, inner: &Level, corner: (f64, f64)) {
        let moved = |&(x, y): &(f64, f64)| (x + corner.0, y + corner.1);
        self.nodes.extend(inner.nodes.iter().map(|(node, rect)| (*node, rect.moved(corner))));
        let clusters = inner.clusters.iter().map(|(one, rect, name)| (*one, rect.moved(corner), moved(name)));
        self.clusters.extend(clusters);
        self.ways.extend(inner.ways.iter().map(|(edge, way)| (*edge, way.iter().map(moved).collect())));
        self.labels.extend(inner.labels.iter().map(|(edge, rect)| (*edge, rect.moved(corner))));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tasks::{Kind, Line};

    impl Rect {
        /// Whether two share more than a side.
        fn overlaps(&self, other: &Self) -> bool {
            let apart = |a: f64, b: f64, c: f64, d: f64| a + b <= c + 1e-6 || c + d <= a + 1e-6;
            !apart(self.x, self.width, other.x, other.width)
                && !apart(self.y, self.height, other.y, other.height)
        }

        fn holds(&self, other: &Self) -> bool {
            let inside = |a: f64, b: f64, c: f64, d: f64| c >= a - 1e-6 && c + d <= a + b + 1e-6;
            inside(self.x, self.width, other.x, other.width)
                && inside(self.y, self.height, other.y, other.height)
        }
    }

    /// Boxes in a row, of which frames take neighbours (and frames in them, neighbours too); arrows lead forwards.
    fn diagrams() -> impl Strategy<Value = Diagram> {
        let frames = prop::collection::vec((0usize..30, 1usize..8, any::<bool>()), 0..5);
        let edges = prop::collection::vec((0usize..30, 1usize..12, any::<bool>()), 0..50);
        (1usize..30, frames, edges).prop_map(|(count, frames, edges)| {
            let mut diagram = Diagram::default();
            let name = |length: usize| Line::from("x".repeat(length % 23));
            for node in 0..count {
                let kind = if node % 7 == 0 { Kind::Table } else { Kind::Layer };
                diagram.node(None, kind, vec![name(node * 5 + 1); node % 4 + 1]);
            }
            for (first, length, nested) in frames {
                // Only boxes that are free as yet, so that frames lie apart.
                let last = (first + length).min(count);
                if first < last && diagram.nodes[first..last].iter().all(|node| node.cluster.is_none()) {
                    let outer = diagram.cluster(name(first + 3), None);
                    let inner = nested.then(|| diagram.cluster(name(length * 9), Some(outer)));
                    for node in first..last {
                        diagram.nodes[node].cluster =
                            inner.filter(|_| node >= first + length / 2).or(Some(outer));
                    }
                }
            }
            for (from, length, label) in edges {
                if from + length < count {
                    let label = label.then(|| name(length * 4));
                    diagram.edges.push(crate::tasks::Edge { from, to: from + length, label });
                }
            }
            diagram
        })
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_all_arrows_go_down(diagram in diagrams()) {
            let layout = layout(&diagram);
            let all = Rect { x: 0.0, y: 0.0, width: layout.width, height: layout.height };
            let labels = || layout.labels.iter().flatten();
            for (number, rect) in layout.nodes.iter().enumerate() {
                prop_assert!(all.holds(rect), "{rect:?} in {all:?}");
                prop_assert!(layout.nodes[..number].iter().all(|other| !other.overlaps(rect)));
                prop_assert!(labels().all(|label| !label.overlaps(rect)), "{rect:?}");
                for (cluster, (frame, _)) in layout.clusters.iter().enumerate() {
                    let mut around = diagram.nodes[number].cluster;
                    while around.is_some_and(|around| around != cluster) {
                        around = diagram.clusters[around.unwrap()].parent;
                    }
                    let sound = if around.is_some() { frame.holds(rect) } else { !frame.overlaps(rect) };
                    prop_assert!(sound, "{rect:?} and frame {frame:?}");
                }
            }
            for (frame, name) in &layout.clusters {
                prop_assert!(all.holds(frame));
                let text = Rect { x: name.0, y: name.1, ..Rect::default() };
                prop_assert!(frame.holds(&text));
            }
            prop_assert_eq!(labels().count(), diagram.edges.iter().filter(|edge| edge.label.is_some()).count());
            for (edge, way) in diagram.edges.iter().zip(&layout.edges) {
                let (from, to) = (layout.nodes[edge.from], layout.nodes[edge.to]);
                prop_assert!(from.y + from.height < to.y);
                let (start, end) = (way[0], way[way.len() - 1]);
                prop_assert!((start.1 - from.y - from.height).abs() < 1e-6 && (end.1 - to.y).abs() < 1e-6);
                prop_assert!(start.0 >= from.x && start.0 <= from.x + from.width);
                prop_assert!(end.0 >= to.x && end.0 <= to.x + to.width);
                for pair in way.windows(2) {
                    prop_assert!(pair[0].1 <= pair[1].1 && pair.iter().all(|point| point.0 >= 0.0 && point.0 <= all.width));
                    // Where it goes aside, there is no box: the curve lies between the heights of its ends.
                    let aside = (pair[0].0 - pair[1].0).abs() > 1e-6;
                    let (x, y) = (pair[0].0.min(pair[1].0), pair[0].1);
                    let swept = Rect { x, y, width: (pair[0].0 - pair[1].0).abs(), height: pair[1].1 - y };
                    prop_assert!(!aside || layout.nodes.iter().all(|node| !node.overlaps(&swept)), "{swept:?}");
                }
            }
        }
    }
}

//! Coordinates of a diagram: a plain layered layout (rows by longest path, order by barycentres), every arrow
//! downwards.
//!
//! Each frame is laid out separately and is then one box of the frame around it. An edge enters a frame through its
//! upper side and leaves it through its lower side.

use std::collections::HashMap;

use super::text;
use pbtnas_engine::task::Diagram;

/// Height of a frame's label.
pub const HEADER: f64 = 26.0;
/// Space between a frame's sides and its contents.
pub const PADDING: f64 = 14.0;
const COLUMN_GAP: f64 = 18.0;
const ROW_GAP: f64 = 30.0;
/// Unconnected boxes in one row.
const UNCONNECTED: usize = 4;
/// Sweeps that sort the rows, and all sweeps: the later ones only move boxes within their rows.
const SWEEPS: (usize, usize) = (8, 24);

type DiagramPoint = (f64, f64);

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    fn shifted(self, (x, y): DiagramPoint) -> Self {
        Self { x: self.x + x, y: self.y + y, ..self }
    }
}

/// Coordinates from the upper left corner, in pixels. An edge is a polyline whose y never decreases.
#[derive(Debug, Clone, Default)]
pub struct DiagramLayout {
    pub width: f64,
    pub height: f64,
    pub nodes: Vec<Rect>,
    pub clusters: Vec<Rect>,
    pub edges: Vec<Vec<DiagramPoint>>,
    pub labels: Vec<Option<Rect>>,
    /// Where an edge enters or leaves a frame, from its left side.
    ports: HashMap<(usize, usize), f64>,
    /// Frame, edge, and points relative to that frame.
    pieces: Vec<(Option<usize>, usize, Vec<DiagramPoint>)>,
    /// Frame, edge, and the edge's label relative to that frame.
    chips: Vec<(Option<usize>, usize, Rect)>,
}

/// An item of a row; numbers are those of the diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
enum RowItem {
    Node(usize),
    Cluster(usize),
    Label(usize),
    /// Where an edge enters the frame.
    Top(usize),
    /// Where an edge leaves it.
    Bottom(usize),
    /// Where an edge passes a row.
    Bend,
}

struct Item {
    part: RowItem,
    width: f64,
    height: f64,
    row: usize,
}

/// A part of an edge, from an item to an item in a lower row.
#[derive(Clone, Copy)]
struct Link {
    edge: usize,
    from: usize,
    to: usize,
}

/// Lays out a diagram: frames from the inside to the outside, then all coordinates relative to the picture.
pub fn layout(diagram: &Diagram) -> DiagramLayout {
    let mut layout = DiagramLayout {
        nodes: vec![Rect::default(); diagram.nodes.len()],
        clusters: vec![Rect::default(); diagram.clusters.len()],
        edges: vec![Vec::new(); diagram.edges.len()],
        labels: vec![None; diagram.edges.len()],
        ..DiagramLayout::default()
    };
    // A frame has a higher number than the frame around it.
    for frame in (0..diagram.clusters.len()).rev().map(Some).chain([None]) {
        layout.lay_out(diagram, frame);
    }
    for (number, cluster) in diagram.clusters.iter().enumerate() {
        layout.clusters[number] = layout.clusters[number].shifted(layout.origin(cluster.parent));
    }
    for (number, node) in diagram.nodes.iter().enumerate() {
        layout.nodes[number] = layout.nodes[number].shifted(layout.origin(node.cluster));
    }
    for (frame, edge, points) in std::mem::take(&mut layout.pieces) {
        let (x, y) = layout.origin(frame);
        layout.edges[edge].extend(points.into_iter().map(|point| (point.0 + x, point.1 + y)));
    }
    for (frame, edge, label) in std::mem::take(&mut layout.chips) {
        layout.labels[edge] = Some(label.shifted(layout.origin(frame)));
    }
    for way in &mut layout.edges {
        way.sort_by(|a, b| a.1.total_cmp(&b.1));
        way.dedup();
    }
    layout
}

/// The part of a frame that a node is, or that contains it; none if it is outside of the frame.
fn part_of(diagram: &Diagram, node: usize, frame: Option<usize>) -> Option<RowItem> {
    let (mut part, mut around) = (RowItem::Node(node), diagram.nodes[node].cluster);
    while around != frame {
        let cluster = around?;
        (part, around) = (RowItem::Cluster(cluster), diagram.clusters[cluster].parent);
    }
    Some(part)
}

impl DiagramLayout {
    fn origin(&self, frame: Option<usize>) -> DiagramPoint {
        frame.map_or((0.0, 0.0), |frame| (self.clusters[frame].x, self.clusters[frame].y))
    }

    /// Lays out one frame, whose inner frames have their sizes.
    fn lay_out(&mut self, diagram: &Diagram, frame: Option<usize>) {
        let mut items: Vec<Item> = Vec::new();
        let mut item = |part: RowItem| {
            let (width, height) = match part {
                RowItem::Node(node) => text::size(&diagram.nodes[node]),
                RowItem::Cluster(cluster) => (self.clusters[cluster].width, self.clusters[cluster].height),
                RowItem::Label(edge) => text::label_size(&diagram.edges[edge]),
                RowItem::Top(_) => (0.0, HEADER),
                RowItem::Bottom(_) | RowItem::Bend => (0.0, 0.0),
            };
            items.iter().position(|item| item.part == part).unwrap_or_else(|| {
                items.push(Item { part, width, height, row: 0 });
                items.len() - 1
            })
        };
        let inner = (0..diagram.clusters.len()).filter(|&one| diagram.clusters[one].parent == frame);
        let nodes = (0..diagram.nodes.len()).filter_map(|node| part_of(diagram, node, frame));
        nodes.chain(inner.map(RowItem::Cluster)).for_each(|part| _ = item(part));
        let mut links = Vec::new();
        for (number, edge) in diagram.edges.iter().enumerate() {
            let label = edge.label.as_ref().map(|_| RowItem::Label(number));
            let chain = match (part_of(diagram, edge.from, frame), part_of(diagram, edge.to, frame)) {
                (from, to) if from == to => continue,
                (from @ Some(_), None) => [from, None, Some(RowItem::Bottom(number))],
                (None, to) => [Some(RowItem::Top(number)), None, to],
                (from, to) => [from, label, to],
            };
            let chain: Vec<usize> = chain.into_iter().flatten().map(&mut item).collect();
            links.extend(chain.windows(2).map(|pair| Link { edge: number, from: pair[0], to: pair[1] }));
        }
        assign_rows(&mut items, &links, usize::from(frame.is_some()));
        add_bends(&mut items, &mut links);
        let mut rows = vec![Vec::new(); items.iter().map(|item| item.row + 1).max().unwrap_or(1)];
        (0..items.len()).for_each(|item| rows[items[item].row].push(item));
        let x = columns(&mut rows, &items, &links, |edge, item| self.port(edge, item));
        self.place(diagram, frame, &items, &links, &rows, &x);
    }

    /// Where an edge touches an item, from the middle of the item.
    fn port(&self, edge: usize, item: &Item) -> f64 {
        let RowItem::Cluster(cluster) = item.part else { return 0.0 };
        self.ports.get(&(cluster, edge)).map_or(0.0, |port| port - item.width / 2.0)
    }

    /// Turns rows and columns into coordinates relative to the frame.
    fn place(
        &mut self,
        diagram: &Diagram,
        frame: Option<usize>,
        items: &[Item],
        links: &[Link],
        rows: &[Vec<usize>],
        x: &[f64],
    ) {
        // Upper and lower side of each row.
        let mut bands: Vec<(f64, f64)> = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let gap = if number == 1 && rows[0].is_empty() { 4.0 } else { ROW_GAP };
            let top = bands.last().map_or(0.0, |above| above.1 + gap);
            let least = if number == 0 && frame.is_some() { HEADER } else { 0.0 };
            bands.push((top, top + row.iter().map(|&item| items[item].height).fold(least, f64::max)));
        }
        let side = |item: usize, sign: f64| x[item] + sign * items[item].width / 2.0;
        let left = (0..items.len()).map(|item| side(item, -1.0)).fold(f64::MAX, f64::min);
        let right = (0..items.len()).map(|item| side(item, 1.0)).fold(left, f64::max);
        let mut shift = -left;
        (self.width, self.height) = (right - left, bands.last().map_or(0.0, |band| band.1));
        if let Some(frame) = frame {
            let least = text::width(&diagram.clusters[frame].label.text, true);
            shift += PADDING + (least - self.width).max(0.0) / 2.0;
            let leaves = items.iter().any(|item| matches!(item.part, RowItem::Bottom(_)));
            let width = self.width.max(least) + 2.0 * PADDING;
            let height = self.height + if leaves { 0.0 } else { PADDING };
            self.clusters[frame] = Rect { x: 0.0, y: 0.0, width, height };
        }
        for (number, item) in items.iter().enumerate() {
            let (x, y) = (side(number, -1.0) + shift, bands[item.row].0);
            let rect = Rect { x, y, width: item.width, height: item.height };
            match (item.part, frame) {
                (RowItem::Node(node), _) => self.nodes[node] = rect,
                (RowItem::Cluster(cluster), _) => self.clusters[cluster] = rect,
                (RowItem::Label(edge), _) => self.chips.push((frame, edge, rect)),
                (RowItem::Top(edge) | RowItem::Bottom(edge), Some(frame)) => {
                    _ = self.ports.insert((frame, edge), x)
                }
                _ => {}
            }
        }
        for link in links {
            let (from, to) = (&items[link.from], &items[link.to]);
            let start = x[link.from] + self.port(link.edge, from) + shift;
            let end = x[link.to] + self.port(link.edge, to) + shift;
            let (above, below) = bands[from.row];
            let passes = matches!(from.part, RowItem::Top(_) | RowItem::Bend);
            let begin = if passes { above } else { above + from.height };
            let points = vec![(start, begin), (start, below), (end, bands[to.row].0)];
            self.pieces.push((frame, link.edge, points));
        }
    }
}

/// The row of each item: the longest path that leads to it. Ports are in the first and last row.
fn assign_rows(items: &mut [Item], links: &[Link], first: usize) {
    let port = |item: &Item| matches!(item.part, RowItem::Top(_) | RowItem::Bottom(_));
    items.iter_mut().filter(|item| !matches!(item.part, RowItem::Top(_))).for_each(|item| item.row = first);
    // As often as there are items: that is enough for every path.
    for _ in 0..items.len() {
        for link in links {
            items[link.to].row = items[link.to].row.max(items[link.from].row + 1);
        }
    }
    let mut unconnected = 0;
    for item in 0..items.len() {
        let below = links.iter().filter(|link| link.from == item).map(|link| items[link.to].row).min();
        let source = !links.iter().any(|link| link.to == item);
        match below {
            // What has no input is moved to what reads it.
            Some(below) if source && !port(&items[item]) => items[item].row = below - 1,
            None if source => {
                items[item].row = first + unconnected / UNCONNECTED;
                unconnected += 1;
            }
            _ => {}
        }
    }
    let last = items.iter().map(|item| item.row + usize::from(!port(item))).max().unwrap_or(0);
    items.iter_mut().filter(|item| matches!(item.part, RowItem::Bottom(_))).for_each(|item| item.row = last);
}

/// Divides links that pass rows.
fn add_bends(items: &mut Vec<Item>, links: &mut Vec<Link>) {
    for at in 0..links.len() {
        while items[links[at].from].row + 1 < items[links[at].to].row {
            let Link { edge, from, .. } = links[at];
            items.push(Item { part: RowItem::Bend, width: 0.0, height: 0.0, row: items[from].row + 1 });
            links.push(Link { edge, from, to: items.len() - 1 });
            links[at].from = items.len() - 1;
        }
    }
}

/// The middle of each item: near the mean of its neighbours, as far as the row has room. Sorts the rows accordingly.
fn columns(
    rows: &mut [Vec<usize>],
    items: &[Item],
    links: &[Link],
    port: impl Fn(usize, &Item) -> f64,
) -> Vec<f64> {
    // Neighbours above and below, with the distance that makes the link vertical.
    let mut near: Vec<[Vec<(usize, f64)>; 2]> = vec![Default::default(); items.len()];
    for link in links {
        let shift = port(link.edge, &items[link.from]) - port(link.edge, &items[link.to]);
        near[link.to][0].push((link.from, shift));
        near[link.from][1].push((link.to, -shift));
    }
    let mut x = vec![0.0; items.len()];
    for sweep in 0..SWEEPS.1 {
        let sorting = sweep < SWEEPS.0;
        let sides = if sorting { sweep % 2..sweep % 2 + 1 } else { 0..2 };
        for step in 0..rows.len() {
            let at = if sweep % 2 == 0 { step } else { rows.len() - 1 - step };
            let wish = |&item: &usize| {
                let bend = |one: usize| items[one].part == RowItem::Bend;
                let (mut sum, mut weights) = (x[item] * 1e-3, 1e-3);
                for &(other, shift) in near[item][sides.clone()].iter().flatten() {
                    // Long edges are straight first of all.
                    let weight = if bend(item) && bend(other) { 8.0 } else { 1.0 };
                    (sum, weights) = (sum + weight * (x[other] + shift), weights + weight);
                }
                (sum / weights, item)
            };
            let mut wishes: Vec<(f64, usize)> = rows[at].iter().map(wish).collect();
            if sorting {
                wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
                rows[at] = wishes.iter().map(|(_, item)| *item).collect();
            }
            let apart = |a: usize, b: usize| (items[a].width + items[b].width) / 2.0 + COLUMN_GAP;
            // The mean of both ways to push items apart.
            let (mut from_left, mut from_right) = (wishes.clone(), wishes);
            for next in 1..from_left.len() {
                let (left, item) = from_left[next - 1];
                let least = left + apart(item, from_left[next].1);
                from_left[next].0 = from_left[next].0.max(least);
            }
            for next in (1..from_right.len()).rev() {
                let (right, item) = from_right[next];
                let most = right - apart(from_right[next - 1].1, item);
                from_right[next - 1].0 = from_right[next - 1].0.min(most);
            }
            for (left, right) in from_left.into_iter().zip(from_right) {
                x[left.1] = (left.0 + right.0) / 2.0;
            }
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use pbtnas_engine::task::{DiagramEdge, DiagramLine, NodeKind};

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

    /// Frames (and frames in them) around neighbouring nodes; edges lead to nodes with higher numbers.
    fn diagrams() -> impl Strategy<Value = Diagram> {
        let frames = prop::collection::vec((0usize..30, 1usize..8, any::<bool>()), 0..5);
        let edges = prop::collection::vec((0usize..30, 1usize..12, any::<bool>()), 0..50);
        (1usize..30, frames, edges).prop_map(|(count, frames, edges)| {
            let mut diagram = Diagram::default();
            let name = |length: usize| DiagramLine::from("x".repeat(length % 23));
            for node in 0..count {
                let kind = if node % 7 == 0 { NodeKind::Table } else { NodeKind::Layer };
                diagram.node(None, kind, vec![name(node * 5 + 1); node % 4 + 1]);
            }
            for (first, length, nested) in frames {
                // Only nodes without a frame, so that frames are disjoint.
                let last = (first + length).min(count);
                if first < last && diagram.nodes[first..last].iter().all(|node| node.cluster.is_none()) {
                    let outer = diagram.cluster(name(first + 3), None);
                    let inner = nested.then(|| diagram.cluster(name(length * 9), Some(outer)));
                    for node in first..last {
                        let inside = node >= first + length / 2;
                        diagram.nodes[node].cluster = inner.filter(|_| inside).or(Some(outer));
                    }
                }
            }
            let edges = edges.into_iter().filter(|(from, length, _)| from + length < count);
            diagram.edges.extend(edges.map(|(from, length, label)| {
                let label = label.then(|| name(length * 4));
                DiagramEdge { from, to: from + length, label }
            }));
            diagram
        })
    }

    proptest! {
        #[test]
        fn boxes_are_disjoint_and_edges_lead_down_between_them(diagram in diagrams()) {
            let layout = layout(&diagram);
            let all = Rect { x: 0.0, y: 0.0, width: layout.width, height: layout.height };
            let labels = || layout.labels.iter().flatten();
            prop_assert!(layout.nodes.iter().chain(&layout.clusters).chain(labels()).all(|rect| all.holds(rect)));
            for (number, rect) in layout.nodes.iter().enumerate() {
                prop_assert!(layout.nodes[..number].iter().chain(labels()).all(|other| !other.overlaps(rect)));
                for (cluster, frame) in layout.clusters.iter().enumerate() {
                    let inside = part_of(&diagram, number, Some(cluster)).is_some();
                    let apart = if inside { frame.holds(rect) } else { !frame.overlaps(rect) };
                    prop_assert!(apart);
                }
            }
            for (edge, way) in diagram.edges.iter().zip(&layout.edges) {
                let (from, to) = (layout.nodes[edge.from], layout.nodes[edge.to]);
                let (start, end) = (way[0], way[way.len() - 1]);
                prop_assert!((start.1 - from.y - from.height).abs() < 1e-6 && (end.1 - to.y).abs() < 1e-6);
                prop_assert!(start.0 > from.x && start.0 < from.x + from.width);
                prop_assert!(end.0 > to.x && end.0 < to.x + to.width);
                for pair in way.windows(2) {
                    // No box is in the rectangle around an oblique line.
                    let (x, y) = (pair[0].0.min(pair[1].0), pair[0].1);
                    let swept = Rect { x, y, width: (pair[0].0 - pair[1].0).abs(), height: pair[1].1 - y };
                    prop_assert!(swept.width < 1e-6 || layout.nodes.iter().all(|node| !node.overlaps(&swept)));
                }
            }
        }
    }
}

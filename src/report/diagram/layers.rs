//! One level of a diagram in layers: boxes in rows, so that every arrow leads downwards.
//!
//! The steps are Sugiyama's: rows by the longest way from the top; arrows that pass rows get a place in each of them;
//! an order within rows that crosses few arrows; places that are near those of neighbours.

use super::order::{order, placed, straighten};

/// Space between two boxes of a row.
pub const GAP: f64 = 18.0;
/// Space between two rows.
pub const RISE: f64 = 30.0;
/// Boxes that nothing leads to or from, in a row.
const ROW: usize = 4;

/// What is placed: a box, or a whole frame.
#[derive(Debug, Clone)]
pub struct Item {
    pub width: f64,
    pub height: f64,
    /// Whether it begins at the upper side of its row; otherwise it lies in the row's middle.
    pub high: bool,
    /// The row that it must be in, if there is one: the first or the last.
    pub pin: Option<Pin>,
}

/// A row of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Top,
    Bottom,
}

/// An arrow between two items.
#[derive(Debug, Clone)]
pub struct Link {
    pub from: usize,
    pub to: usize,
    /// How far from the left sides of both it begins and ends; anywhere if it is free.
    pub ports: (Option<f64>, Option<f64>),
    /// Width and height of what it says.
    pub label: Option<(f64, f64)>,
}

/// Where everything came.
#[derive(Debug, Clone, Default)]
pub struct Placed {
    /// Left upper corners of the items.
    pub items: Vec<(f64, f64)>,
    /// The way of each link. Between two points it goes down; where they do not lie above each other, nothing is.
    pub ways: Vec<Vec<(f64, f64)>>,
    /// The middle of each link's label.
    pub labels: Vec<Option<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

/// A place in a row: an item's, or that of a link which passes.
#[derive(Debug, Clone)]
pub struct Slot {
    pub width: f64,
    pub height: f64,
    pub passing: bool,
}

/// A piece of a link from a row to the next one.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    pub from: usize,
    pub to: usize,
    /// How far from the middle of either slot.
    pub ports: (f64, f64),
}

/// Places items. Links that would lead upwards (there are none in a graph without circles) are drawn all the same.
pub fn place(items: &[Item], links: &[Link]) -> Placed {
    let rank = ranks(items, links);
    let mut slots: Vec<Slot> =
        items.iter().map(|item| Slot { width: item.width, height: item.height, passing: false }).collect();
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); rank.iter().max().map_or(0, |last| last + 1)];
    for (item, &rank) in rank.iter().enumerate() {
        rows[rank].push(item);
    }
    let offset = |item: usize, port: Option<f64>| port.map_or(0.0, |x| x - items[item].width / 2.0);
    let mut segments = Vec::new();
    let mut chains = Vec::new();
    for link in links {
        let (first, last) = (rank[link.from], rank[link.to]);
        let mut chain = vec![link.from];
        for (step, row) in (first + 1..last).enumerate() {
            let (width, height) = link.label.filter(|_| step == (last - first - 2) / 2).unwrap_or((6.0, 0.0));
            slots.push(Slot { width, height, passing: true });
            rows[row].push(slots.len() - 1);
            chain.push(slots.len() - 1);
        }
        chain.push(link.to);
        for (at, pair) in chain.windows(2).enumerate() {
            let from = if at == 0 { offset(link.from, link.ports.0) } else { 0.0 };
            let to = if at + 2 == chain.len() { offset(link.to, link.ports.1) } else { 0.0 };
            segments.push(Segment { from: pair[0], to: pair[1], ports: (from, to) });
        }
        chains.push(chain);
    }
    order(&mut rows, &slots, &segments);
    let mut centres = placed(&rows, &slots, &segments, GAP);
    straighten(&rows, &slots, &chains, GAP, &mut centres);
    spread(items, links, &chains, &centres, &slots, rows_of(&rows, &slots))
}

/// Top and height of each row.
fn rows_of(rows: &[Vec<usize>], slots: &[Slot]) -> (Vec<usize>, Vec<(f64, f64)>) {
    let mut row_of = vec![0; slots.len()];
    let mut bands = Vec::new();
    let mut top = 0.0;
    for (number, row) in rows.iter().enumerate() {
        let height = row.iter().map(|&slot| slots[slot].height).fold(0.0, f64::max);
        row.iter().for_each(|&slot| row_of[slot] = number);
        bands.push((top, height));
        top += height + RISE;
    }
    (row_of, bands)
}

/// Corners, and ways whose ends are spread over the sides of boxes.
fn spread(
    items: &[Item],
    links: &[Link],
    chains: &[Vec<usize>],
    centres: &[f64],
    slots: &[Slot],
    (row_of, bands): (Vec<usize>, Vec<(f64, f64)>),
) -> Placed {
    let left = centres.iter().zip(slots).map(|(x, slot)| x - slot.width / 2.0).fold(f64::INFINITY, f64::min);
    let left = if left.is_finite() { left } else { 0.0 };
    let right = centres.iter().zip(slots).map(|(x, slot)| x + slot.width / 2.0).fold(left, f64::max);
    let corner = |item: usize| {
        let (top, height) = bands[row_of[item]];
        let down = if items[item].high { 0.0 } else { (height - items[item].height) / 2.0 };
        (centres[item] - items[item].width / 2.0 - left, top + down)
    };
    let mut ends = vec![(0.0, 0.0); links.len()];
    for (item, one) in items.iter().enumerate() {
        for lower in [true, false] {
            let at = |link: &Link| if lower { link.from } else { link.to };
            let port = |link: &Link| if lower { link.ports.0 } else { link.ports.1 };
            let neighbour = |index: usize| {
                let chain = &chains[index];
                centres[if lower { chain[1] } else { chain[chain.len() - 2] }]
            };
            let mut here: Vec<usize> = (0..links.len()).filter(|&index| at(&links[index]) == item).collect();
            here.sort_by(|&a, &b| neighbour(a).total_cmp(&neighbour(b)));
            let count = here.len() as f64;
            let step = (one.width * 0.7 / count.max(1.0)).min(16.0);
            for (index, place) in here.into_iter().zip(0..) {
                let free = one.width / 2.0 + (f64::from(place) - (count - 1.0) / 2.0) * step;
                let x = corner(item).0 + port(&links[index]).unwrap_or(free);
                if lower { ends[index].0 = x } else { ends[index].1 = x }
            }
        }
    }
    let mut placed = Placed { width: right - left, ..Placed::default() };
    placed.items = (0..items.len()).map(corner).collect();
    placed.height = bands.last().map_or(0.0, |(top, height)| top + height);
    for (link, (chain, (start, end))) in links.iter().zip(chains.iter().zip(ends)) {
        let mut way = Vec::new();
        let mut label = None;
        for (at, &slot) in chain.iter().enumerate() {
            let (top, height) = bands[row_of[slot]];
            if at == 0 {
                way.extend([(start, corner(slot).1 + items[slot].height), (start, top + height)]);
            } else if at + 1 == chain.len() {
                way.extend([(end, top), (end, corner(slot).1)]);
            } else {
                let x = centres[slot] - left;
                way.extend([(x, top), (x, top + height)]);
                if link.label.is_some() && slots[slot].height > 0.0 {
                    label = Some((x, top + height / 2.0));
                }
            }
        }
        way.dedup();
        placed.ways.push(way);
        placed.labels.push(label);
    }
    placed
}

/// The row of each item.
fn ranks(items: &[Item], links: &[Link]) -> Vec<usize> {
    let long = |link: &Link| if link.label.is_some() { 2 } else { 1 };
    let lowest = usize::from(items.iter().any(|item| item.pin == Some(Pin::Top)));
    let mut rank: Vec<usize> =
        items.iter().map(|item| if item.pin == Some(Pin::Top) { 0 } else { lowest }).collect();
    // As often as there are items: then each way without circles has been gone.
    for _ in 0..items.len() {
        for link in links {
            rank[link.to] = rank[link.to].max(rank[link.from] + long(link));
        }
        if links.iter().all(|link| rank[link.to] >= rank[link.from] + long(link)) {
            break;
        }
    }
    let linked = |item: usize| links.iter().any(|link| link.from == item || link.to == item);
    let alone = (0..items.len()).filter(|&item| items[item].pin.is_none() && !linked(item));
    for (place, item) in alone.enumerate() {
        rank[item] = lowest + place / ROW;
    }
    for (item, one) in items.iter().enumerate() {
        // What nothing leads to stands near what it leads to.
        if one.pin.is_none() && links.iter().all(|link| link.to != item) {
            let nearest = links.iter().filter(|link| link.from == item);
            let nearest = nearest.map(|link| rank[link.to].saturating_sub(long(link))).min();
            rank[item] = nearest.unwrap_or(rank[item]).max(rank[item]);
        }
    }
    let below = items.iter().zip(&rank).map(|(item, rank)| rank + usize::from(item.pin != Some(Pin::Bottom)));
    let bottom = below.max().unwrap_or(0);
    for (item, rank) in items.iter().zip(&mut rank) {
        if item.pin == Some(Pin::Bottom) {
            *rank = bottom;
        }
    }
    rank
}

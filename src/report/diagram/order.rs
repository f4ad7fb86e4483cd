//! The order of boxes within rows, and their places.

use super::layers::{Segment, Slot};

/// How often the rows are gone through.
const SWEEPS: usize = 16;
/// Arrows that pass rows are to be straight.
const PASSING: f64 = 4.0;

/// Sorts each row by where the neighbours in the row before (and then behind) are, as long as that crosses fewer
/// arrows.
pub fn order(rows: &mut [Vec<usize>], slots: &[Slot], segments: &[Segment]) {
    let mut best = rows.to_vec();
    let mut fewest = crossings(rows, slots, segments);
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let mut at = places(rows, slots.len());
        let count = rows.len();
        for step in 1..count {
            let row = &mut rows[if down { step } else { count - 1 - step }];
            let mut keyed: Vec<(f64, usize)> = row
                .iter()
                .map(|&slot| {
                    let near =
                        |segment: &&Segment| if down { segment.to == slot } else { segment.from == slot };
                    let place = |segment: &Segment| {
                        let (other, port) = if down {
                            (segment.from, segment.ports.0)
                        } else {
                            (segment.to, segment.ports.1)
                        };
                        at[other] + port / slots[other].width.max(1.0)
                    };
                    (
                        mean(segments.iter().filter(near).map(|segment| (place(segment), 1.0)))
                            .unwrap_or(at[slot]),
                        slot,
                    )
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            *row = keyed.into_iter().map(|(_, slot)| slot).collect();
            row.iter().zip(0..).for_each(|(&slot, place)| at[slot] = f64::from(place));
        }
        let crossed = crossings(rows, slots, segments);
        if crossed < fewest {
            (best, fewest) = (rows.to_vec(), crossed);
        }
    }
    rows.clone_from_slice(&best);
}

/// Pairs of segments that cross.
pub fn crossings(rows: &[Vec<usize>], slots: &[Slot], segments: &[Segment]) -> usize {
    let at = places(rows, slots.len());
    let mut row_of = vec![0; slots.len()];
    for (number, row) in rows.iter().enumerate() {
        row.iter().for_each(|&slot| row_of[slot] = number);
    }
    let end = |slot: usize, port: f64| at[slot] + port / slots[slot].width.max(1.0);
    let ends = |segment: &Segment| (end(segment.from, segment.ports.0), end(segment.to, segment.ports.1));
    let mut count = 0;
    for (index, one) in segments.iter().enumerate() {
        for other in segments[index + 1..].iter().filter(|other| row_of[other.from] == row_of[one.from]) {
            let ((a, b), (c, d)) = (ends(one), ends(other));
            count += usize::from((a - c) * (b - d) < 0.0);
        }
    }
    count
}

fn places(rows: &[Vec<usize>], count: usize) -> Vec<f64> {
    let mut at = vec![0.0; count];
    for row in rows {
        row.iter().zip(0..).for_each(|(&slot, place)| at[slot] = f64::from(place));
    }
    at
}

/// The middles of all slots: in their order, `gap` apart, and near their neighbours.
pub fn placed(rows: &[Vec<usize>], slots: &[Slot], segments: &[Segment], gap: f64) -> Vec<f64> {
    let mut x = vec![0.0; slots.len()];
    for row in rows {
        let mut right = 0.0;
        for &slot in row {
            x[slot] = right + slots[slot].width / 2.0;
            right += slots[slot].width + gap;
        }
        row.iter().for_each(|&slot| x[slot] -= right / 2.0);
    }
    for sweep in 0..2 * SWEEPS {
        // By the row above, by the row below, and in the end by both.
        let both = sweep >= SWEEPS;
        let down = sweep % 2 == 0;
        for step in 0..rows.len() {
            let row = &rows[if down { step } else { rows.len() - 1 - step }];
            let wishes: Vec<(f64, f64)> = row
                .iter()
                .map(|&slot| wish(slot, &x, slots, segments, both || down, both || !down))
                .collect();
            let apart: Vec<f64> = row
                .windows(2)
                .map(|pair| (slots[pair[0]].width + slots[pair[1]].width) / 2.0 + gap)
                .collect();
            for (&slot, place) in row.iter().zip(nearest(&wishes, &apart)) {
                x[slot] = place;
            }
        }
    }
    x
}

/// Makes arrows that pass several rows straight there, as far as the slots beside them leave room.
pub fn straighten(rows: &[Vec<usize>], slots: &[Slot], chains: &[Vec<usize>], gap: f64, x: &mut [f64]) {
    let mut beside = vec![(None, None); slots.len()];
    for row in rows {
        for pair in row.windows(2) {
            beside[pair[0]].1 = Some(pair[1]);
            beside[pair[1]].0 = Some(pair[0]);
        }
    }
    for chain in chains.iter().filter(|chain| chain.len() > 3) {
        let mut passing = &chain[1..chain.len() - 1];
        while !passing.is_empty() {
            // As many rows as have a place in common.
            let (mut low, mut high, mut count) = (f64::NEG_INFINITY, f64::INFINITY, 0);
            for &slot in passing {
                let apart = |other: usize| (slots[slot].width + slots[other].width) / 2.0 + gap;
                let left = beside[slot].0.map_or(f64::NEG_INFINITY, |other| x[other] + apart(other));
                let right = beside[slot].1.map_or(f64::INFINITY, |other| x[other] - apart(other));
                if low.max(left) > high.min(right) {
                    break;
                }
                (low, high, count) = (low.max(left), high.min(right), count + 1);
            }
            // There is room for one at least: where it is, but for what rounding does.
            let (run, rest) = passing.split_at(count.max(1));
            let middle = run.iter().map(|&slot| x[slot]).sum::<f64>() / run.len() as f64;
            if count > 1 {
                run.iter().for_each(|&slot| x[slot] = middle.max(low).min(high));
            }
            passing = rest;
        }
    }
}

/// Where a slot would like to be, and how much.
fn wish(
    slot: usize,
    x: &[f64],
    slots: &[Slot],
    segments: &[Segment],
    above: bool,
    below: bool,
) -> (f64, f64) {
    let weight = |other: usize| if slots[slot].passing && slots[other].passing { PASSING } else { 1.0 };
    let near = segments.iter().filter_map(|segment| {
        let (from, to) = segment.ports;
        match (segment.from == slot, segment.to == slot) {
            (true, _) if below => Some((x[segment.to] + to - from, weight(segment.to))),
            (_, true) if above => Some((x[segment.from] + from - to, weight(segment.from))),
            _ => None,
        }
    });
    let near: Vec<(f64, f64)> = near.collect();
    match mean(near.iter().copied()) {
        Some(place) => (place, near.iter().map(|(_, weight)| weight).sum()),
        None => (x[slot], 0.05),
    }
}

/// The weighted mean of some places; none of none.
fn mean(places: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weight) =
        places.fold((0.0, 0.0), |(sum, all), (place, weight)| (sum + place * weight, all + weight));
    (weight > 0.0).then(|| sum / weight)
}

/// The places nearest to those wished for (least squares by their weights), in order and so far apart: isotonic
/// regression, by pooling adjacent violators.
fn nearest(wishes: &[(f64, f64)], apart: &[f64]) -> Vec<f64> {
    let shifts: Vec<f64> = std::iter::once(0.0)
        .chain(apart.iter().scan(0.0, |sum, gap| {
            *sum += gap;
            Some(*sum)
        }))
        .collect();
    // Blocks of slots that touch: where, how heavy, how many.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (&(wish, weight), shift) in wishes.iter().zip(&shifts) {
        blocks.push((wish - shift, weight, 1));
        while let [.., (a, weight_a, count_a), (b, weight_b, count_b)] = blocks[..] {
            if a <= b {
                break;
            }
            blocks.truncate(blocks.len() - 2);
            let weight = weight_a + weight_b;
            blocks.push(((a * weight_a + b * weight_b) / weight, weight, count_a + count_b));
        }
    }
    let places = blocks.into_iter().flat_map(|(place, _, count)| std::iter::repeat_n(place, count));
    places.zip(&shifts).map(|(place, shift)| place + shift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_as_wished_unless_they_would_touch() {
        assert_eq!(nearest(&[(0.0, 1.0), (10.0, 1.0)], &[5.0]), [0.0, 10.0]);
        assert_eq!(nearest(&[(0.0, 1.0), (1.0, 1.0)], &[5.0]), [-2.0, 3.0]);
        assert_eq!(nearest(&[(0.0, 3.0), (1.0, 1.0)], &[5.0]), [-1.0, 4.0]);
        assert_eq!(nearest(&[(4.0, 1.0), (0.0, 1.0), (2.0, 1.0)], &[1.0, 1.0]), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn arrows_that_cross_are_sorted_out() {
        let slot = Slot { width: 10.0, height: 10.0, passing: false };
        let slots = vec![slot; 4];
        let mut rows = [vec![0, 1], vec![2, 3]];
        let segments = [(0, 3), (1, 2)].map(|(from, to)| Segment { from, to, ports: (0.0, 0.0) });
        assert_eq!(crossings(&rows, &slots, &segments), 1);
        order(&mut rows, &slots, &segments);
        assert_eq!(crossings(&rows, &slots, &segments), 0);
        let x = placed(&rows, &slots, &segments, 5.0);
        assert!((x[0] - x[3]).abs() < 1e-6 && (x[1] - x[2]).abs() < 1e-6, "{x:?}");
    }

    #[test]
    fn an_arrow_that_passes_rows_is_straight_where_there_is_room() {
        let slot = |width, passing| Slot { width, height: 10.0, passing };
        // A box beside the last of three places.
        let slots = [10.0, 2.0, 2.0, 2.0, 10.0, 10.0].map(|width| slot(width, width < 5.0));
        let rows = [vec![0], vec![1], vec![2], vec![5, 3], vec![4]];
        let mut x = [0.0, 1.0, 4.0, 30.0, 40.0, 20.0];
        straighten(&rows, &slots, &[vec![0, 1, 2, 3, 4]], 2.0, &mut x);
        assert_eq!(x, [0.0, 28.0, 28.0, 28.0, 40.0, 20.0]);
    }
}

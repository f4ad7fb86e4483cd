//! Line charts.

use super::axis::{Axis, ChartFrame};
use super::{Svg, fill, stroke};

/// A line with an optional band.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    pub label: String,
    /// Index of colour and dash pattern.
    pub colour: usize,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// (x, lower, upper) from left to right; empty without a band.
    pub band: Vec<(f64, f64, f64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Lines<'a> {
    pub title: &'a str,
    /// Title of the x axis.
    pub across: &'a str,
    /// Title of the y axis.
    pub up: &'a str,
    pub size: (f64, f64),
    /// Range of the y axis (default: all values); lower parts are clipped.
    pub range: Option<(f64, f64)>,
    pub series: &'a [Series],
}

/// Curves with at most this many points have markers.
const MARKED_POINTS: usize = 40;
const DASHES: [&str; 4] = ["", " dots", "", " dash"];

pub fn lines(chart: &Lines) -> Svg {
    let (width, height) = chart.size;
    let places = legend(chart.series, width - 24.0);
    let below = places.last().map_or(0.0, |place| place.1 + 22.0);
    let mut svg = Svg::new(width, height + below);
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let bands = || chart.series.iter().flat_map(|series| &series.band);
    let x = Axis::holding(points().map(|point| point.0).chain(bands().map(|place| place.0)));
    let y = points().map(|point| point.1).chain(bands().flat_map(|place| [place.1, place.2]));
    let y = match chart.range {
        Some((from, to)) => Axis { from, to },
        None => Axis::holding(y).with_room(0.04),
    };
    let widest = y.ticks(5).iter().map(|tick| tick.1.len()).max().unwrap_or(1) as f64;
    let frame = ChartFrame { bounds: (18.0 + 7.5 * widest, 52.0, width - 16.0, height - 44.0), x, y };
    svg.text((12.0, 20.0), "start", "ink title", chart.title);
    frame.draw(&mut svg, chart.across, chart.up);
    let at = |(x, y): (f64, f64)| frame.at(x, y);
    // Bands are drawn below lines.
    for series in chart.series {
        let upper = series.band.iter().map(|place| (place.0, place.2));
        let lower = series.band.iter().rev().map(|place| (place.0, place.1));
        let outline = not_below(y.from, &upper.chain(lower).collect::<Vec<_>>(), true);
        svg.path(outline.into_iter().map(at), &format!("band {}", fill(series.colour)));
    }
    for series in chart.series {
        let class = format!("line {}{}", stroke(series.colour), DASHES[series.colour % DASHES.len()]);
        svg.path(not_below(y.from, &series.points, false).into_iter().map(at), &class);
        if series.points.len() <= MARKED_POINTS {
            for &(x, y) in series.points.iter().filter(|point| point.1 >= y.from) {
                let (cx, cy) = frame.at(x, y);
                let title = format!("{} at {}: {y:.5}", series.label, (x * 100.0).round() / 100.0);
                let class = fill(series.colour);
                svg.titled("circle", &[("cx", &cx), ("cy", &cy), ("r", &2.6), ("class", &class)], &title);
            }
        }
    }
    for (series, (x, y)) in chart.series.iter().zip(places) {
        let y = height + y;
        let class = format!("line {}{}", stroke(series.colour), DASHES[series.colour % DASHES.len()]);
        svg.line((x, y - 4.0), (x + 26.0, y - 4.0), &class);
        svg.text((x + 32.0, y), "start", "ink", &series.label);
    }
    svg
}

/// Clips a line, or an area if `closed`, at `bottom` (Sutherland and Hodgman). A line that falls below and returns
/// would follow the bottom; the curves drawn here do not.
fn not_below(bottom: f64, points: &[(f64, f64)], closed: bool) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    let mut before = if closed { points.last() } else { None };
    for to in points {
        if let Some(from) = before
            && (from.1 < bottom) != (to.1 < bottom)
        {
            kept.push((from.0 + (to.0 - from.0) * (bottom - from.1) / (to.1 - from.1), bottom));
        }
        if to.1 >= bottom {
            kept.push(*to);
        }
        before = Some(to);
    }
    kept
}

/// Positions of the key entries below the chart, in rows by estimated text width; none for a single line.
fn legend(series: &[Series], right: f64) -> Vec<(f64, f64)> {
    if series.len() < 2 {
        return Vec::new();
    }
    let (mut x, mut y) = (24.0, 12.0);
    let place = |series: &Series| {
        let needed = 32.0 + 7.2 * series.label.chars().count() as f64 + 24.0;
        if x > 24.0 && x + needed > right {
            (x, y) = (24.0, y + 20.0);
        }
        let place = (x, y);
        x += needed;
        place
    };
    series.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_and_any_curve_can_be_drawn() {
        let odd = Series {
            label: "<b> & \"c\"".into(),
            points: vec![(1.0, -1e6), (2.0, 1.0)],
            ..Series::default()
        };
        let one =
            Series { label: "one".into(), colour: 1, points: vec![(1.0, 0.0)], band: vec![(1.0, -1.0, 2.0)] };
        let none = Series::default();
        for series in [vec![odd.clone(), one.clone()], vec![one], vec![none], vec![]] {
            let svg = lines(&Lines {
                title: "",
                across: "epoch",
                up: "y",
                size: (640.0, 320.0),
                range: None,
                series: &series,
            });
            let text = svg.file();
            assert!(!text.contains("NaN") && !text.contains("inf") && !text.contains("<b>"), "{text}");
        }
    }

    #[test]
    fn a_legend_that_does_not_fit_a_line_takes_more() {
        let named = |label: &str| Series { label: label.into(), ..Series::default() };
        let short = legend(&["a", "b", "c"].map(named), 600.0);
        assert!(short.iter().all(|place| place.1 == short[0].1) && short[0].0 < short[1].0);
        let long = "x".repeat(80);
        let places = legend(&[named(&long), named(&long)], 600.0);
        assert!(places[0].0 == places[1].0 && places[0].1 < places[1].1);
        assert!(legend(&[named("alone")], 600.0).is_empty());
    }
    #[test]
    fn what_is_below_the_panel_is_cut_off_where_it_enters() {
        let line = [(0.0, -2.0), (1.0, 0.0), (2.0, 2.0)];
        assert_eq!(not_below(1.0, &line, false), [(1.5, 1.0), (2.0, 2.0)]);
        assert_eq!(not_below(-3.0, &line, false), line);
        assert_eq!(not_below(3.0, &line, false), []);
        let square = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)];
        let cut = [(0.0, 1.0), (2.0, 1.0), (2.0, 2.0), (0.0, 2.0)];
        let mut kept = not_below(1.0, &square, true);
        kept.sort_by(|a, b| (a.1, a.0).partial_cmp(&(b.1, b.0)).unwrap());
        let mut cut = cut.to_vec();
        cut.sort_by(|a, b| (a.1, a.0).partial_cmp(&(b.1, b.0)).unwrap());
        assert_eq!(kept, cut);
    }
}

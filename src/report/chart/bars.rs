//! Stacked bars over generations.

use super::axis::{Axis, ChartFrame};
use super::{Svg, fill};

#[derive(Debug, Clone, PartialEq)]
pub struct Bars<'a> {
    pub title: &'a str,
    /// Title of the y axis.
    pub up: &'a str,
    pub size: (f64, f64),
    /// Names of the parts, from the bottom.
    pub parts: &'a [&'a str],
    /// Per generation, the sizes of the parts, not negative.
    pub bars: &'a [Vec<f64>],
}

pub fn bars(chart: &Bars) -> Svg {
    let (width, height) = chart.size;
    let mut svg = Svg::new(width, height + 24.0);
    let highest = chart.bars.iter().map(|bar| bar.iter().sum::<f64>()).fold(0.0, f64::max);
    let y = Axis::holding([0.0, highest]);
    let y = if highest > 0.0 { y } else { Axis { from: 0.0, to: 1.0 } };
    let widest = y.ticks(5).iter().map(|tick| tick.1.len()).max().unwrap_or(1) as f64;
    let x = Axis { from: -0.5, to: chart.bars.len().max(1) as f64 - 0.5 };
    let frame = ChartFrame { bounds: (18.0 + 7.5 * widest, 52.0, width - 16.0, height - 44.0), x, y };
    svg.text((12.0, 20.0), "start", "ink title", chart.title);
    frame.draw(&mut svg, "generation", chart.up);
    for (generation, bar) in chart.bars.iter().enumerate() {
        let (left, _) = frame.at(generation as f64 - 0.4, 0.0);
        let (right, _) = frame.at(generation as f64 + 0.4, 0.0);
        let mut below = 0.0;
        for (index, size) in bar.iter().enumerate().filter(|(_, size)| **size > 0.0) {
            let (_, top) = frame.at(0.0, below + size);
            let (_, bottom) = frame.at(0.0, below);
            let name = chart.parts.get(index).copied().unwrap_or_default();
            let title = format!("generation {generation}, {name}: {size:.2}");
            svg.rectangle(
                (left, top),
                (right - left, bottom - top),
                &format!("area {}", fill(index)),
                &title,
            );
            below += size;
        }
    }
    let mut place = 24.0;
    for (index, name) in chart.parts.iter().enumerate() {
        svg.rectangle((place, height), (14.0, 12.0), &format!("area {}", fill(index)), name);
        svg.text((place + 20.0, height + 11.0), "start", "ink", name);
        place += 44.0 + 7.2 * name.chars().count() as f64;
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_stacked() {
        let of = |bars: &[Vec<f64>]| {
            super::bars(&Bars { title: "t", up: "hours", size: (600.0, 300.0), parts: &["a", "b"], bars })
                .file()
        };
        let text = of(&[vec![1.0, 2.0], vec![0.0, 4.0]]);
        // The key has one of each; empty parts are not drawn.
        assert_eq!(text.matches("class=\"area f0\"").count(), 2);
        assert_eq!(text.matches("class=\"area f1\"").count(), 3);
        assert!(text.contains("generation 1, b: 4.00"));
        for empty in [&[][..], &[vec![0.0, 0.0]]] {
            assert!(!of(empty).contains("NaN"));
        }
    }
}

//! Axes with round tick values.

use super::Svg;

/// The range of an axis; `from` is less than `to`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
}

impl Axis {
    /// The range of all finite values; 0 to 1 without values.
    pub fn holding(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (from, to) = (from.min(value), to.max(value));
        }
        match from.partial_cmp(&to) {
            Some(std::cmp::Ordering::Less) => Self { from, to },
            Some(std::cmp::Ordering::Equal) => {
                let room = (from.abs() * 0.05).max(f64::MIN_POSITIVE.max(1e-6));
                Self { from: from - room, to: to + room }
            }
            _ => Self { from: 0.0, to: 1.0 },
        }
    }

    /// Extends the range at both ends by a fraction of its length.
    pub fn with_room(self, part: f64) -> Self {
        let room = (self.to - self.from) * part;
        Self { from: self.from - room, to: self.to + room }
    }

    /// The position of a value, 0 to 1.
    pub fn part(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    /// About `count` round values with their labels.
    pub fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let length = self.to - self.from;
        let rough = length / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        if !power.is_normal() || !length.is_finite() {
            return vec![(self.from, number(self.from, 6, 1e-6)), (self.to, number(self.to, 6, 1e-6))];
        }
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step * (1.0 + 1e-9) >= rough);
        let step = step.unwrap_or(10.0 * power);
        let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (self.from / step).ceil();
        let ticks = (0..=2 * count).map(|index| (first + index as f64) * step);
        ticks
            .take_while(|tick| *tick <= self.to + step * 1e-9)
            .map(|tick| (tick, number(tick, decimals, step)))
            .collect()
    }

    /// Ticks at integers (epochs, generations).
    pub fn whole_ticks(&self, count: usize) -> Vec<(f64, String)> {
        let is_whole = |tick: &(f64, String)| (tick.0 - tick.0.round()).abs() < 1e-9;
        self.ticks(count).into_iter().filter(is_whole).map(|(tick, _)| (tick, number(tick, 0, 1.0))).collect()
    }
}

/// A tick label; large and small values have an exponent and enough digits to differ from the next tick.
fn number(value: f64, decimals: usize, step: f64) -> String {
    if value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-5) {
        let digits = (value.abs().log10().floor() - step.log10().floor()).clamp(1.0, 6.0) as usize;
        return format!("{value:.digits$e}");
    }
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|letter| "0.".contains(letter)) { "0".into() } else { text }
}

/// The data area of a chart and its axes.
#[derive(Debug, Clone, Copy)]
pub struct ChartFrame {
    /// Left, top, right and bottom.
    pub bounds: (f64, f64, f64, f64),
    pub x: Axis,
    pub y: Axis,
}

impl ChartFrame {
    /// The coordinates of a data point, clamped to the frame.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let (left, top, right, bottom) = self.bounds;
        let across = left + self.x.part(x).clamp(0.0, 1.0) * (right - left);
        let down = bottom - self.y.part(y).clamp(0.0, 1.0) * (bottom - top);
        (across, down)
    }

    /// About the number of horizontal grid lines.
    pub fn lines_across(&self) -> usize {
        let (_, top, _, bottom) = self.bounds;
        ((bottom - top) / 45.0) as usize
    }

    /// Draws grid, axes, tick labels and titles.
    pub fn draw(&self, svg: &mut Svg, across: &str, up: &str) {
        let (left, top, right, bottom) = self.bounds;
        for (value, text) in self.y.ticks(self.lines_across()) {
            let (_, y) = self.at(self.x.from, value);
            svg.line((left, y), (right, y), "grid");
            svg.text((left - 7.0, y + 4.0), "end", "soft", &text);
        }
        svg.line((left, bottom), (right, bottom), "axis");
        for (value, text) in self.x.whole_ticks(((right - left) / 80.0) as usize) {
            let (x, _) = self.at(value, self.y.from);
            svg.line((x, bottom), (x, bottom + 4.0), "axis");
            svg.text((x, bottom + 18.0), "middle", "soft", &text);
        }
        svg.text((right, bottom + 34.0), "end", "soft", across);
        svg.text((left - 7.0, top - 10.0), "start", "soft", up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_and_distinct() {
        let texts = |from, to, count| -> Vec<String> {
            Axis { from, to }.ticks(count).into_iter().map(|tick| tick.1).collect()
        };
        assert_eq!(texts(0.0, 10.0, 5), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts(-0.31, 0.32, 4), ["-0.2", "0", "0.2"]);
        assert_eq!(texts(0.0121, 0.0129, 4), ["0.0122", "0.0124", "0.0126", "0.0128"]);
        assert_eq!(texts(-2e6, 1e6, 3), ["-2.0e6", "-1.0e6", "0", "1.0e6"]);
        assert_eq!(texts(1_250_000.0, 1_260_000.0, 2)[0], "1.250e6");
        let whole = Axis { from: 0.0, to: 3.0 }.whole_ticks(10);
        assert_eq!(whole.into_iter().map(|tick| tick.1).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }

    proptest! {
        #[test]
        fn axes_hold_any_finite_values(values in prop::collection::vec(any::<f64>(), 0..6)) {
            let axis = Axis::holding(values.iter().copied());
            prop_assert!(axis.from < axis.to);
            for value in values.iter().filter(|value| value.is_finite()) {
                prop_assert!(axis.from <= *value && *value <= axis.to);
            }
            let ticks = axis.ticks(6);
            prop_assert!(ticks.len() <= 13);
            prop_assert!(ticks.is_sorted_by(|a, b| a.0 <= b.0));
        }
    }
}

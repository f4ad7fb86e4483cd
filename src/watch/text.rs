//! Bars, durations and numbers as short texts.

use chrono::TimeDelta;

pub use crate::fmt::seconds;

/// Cells filled from below.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Cells filled from the left.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A progress bar; `part` is 0 to 1.
pub fn bar(part: f64, cells: usize) -> String {
    let eighths = (part.clamp(0.0, 1.0) * cells as f64 * 8.0) as usize;
    let mut text = "█".repeat(eighths / 8);
    text.extend((eighths % 8).checked_sub(1).map(|rest| PARTS[rest]));
    let empty = cells - text.chars().count();
    text + &"░".repeat(empty)
}

/// A value of a sparkline; a dot if there is none.
pub fn level(value: Option<f64>, (low, high): (f64, f64)) -> char {
    let Some(value) = value.filter(|value| value.is_finite()) else { return '·' };
    let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
    // Equal values are drawn high.
    let part = if part.is_nan() { 1.0 } else { part.clamp(0.0, 1.0) };
    LEVELS[(part * 7.0).round() as usize]
}

/// A duration in whole seconds.
pub fn duration(time: TimeDelta) -> String {
    seconds(time.num_seconds() as f64)
}

/// Seconds as hours, with about three digits.
pub fn hours(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    match hours {
        hours if hours >= 100.0 => format!("{hours:.0}"),
        hours if hours >= 0.1 => format!("{hours:.1}"),
        hours => format!("{hours:.3}"),
    }
}

/// A number in at most nine characters.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        0.0 => "0".to_owned(),
        _ if (1e-3..1e4).contains(&size) => format!("{value:.4}"),
        _ if (1e4..1e7).contains(&size) => format!("{value:.1}"),
        _ => format!("{value:.2e}"),
    };
    text.chars().take(9).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_levels() {
        assert_eq!(
            [0.0, 0.5, 0.55, 1.0, 7.0].map(|part| bar(part, 4)),
            ["░░░░", "██░░", "██▏░", "████", "████"]
        );
        assert_eq!(bar(0.3, 0), "");
        let levels = [Some(0.0), Some(5.0), Some(10.0), Some(-9.0), None, Some(f64::NAN)];
        assert_eq!(levels.map(|value| level(value, (0.0, 10.0))), ['▁', '▅', '█', '▁', '·', '·']);
        assert_eq!(level(Some(3.0), (3.0, 3.0)), '█');
        assert_eq!(level(Some(f64::MAX), (f64::MIN, f64::MAX)), '█');
    }

    #[test]
    fn durations_and_numbers() {
        assert_eq!([36.0, 5400.0, 1e6].map(hours), ["0.010", "1.5", "278"]);
        let numbers = [0.0, 12.4946, -179.4266, 1234.5, 54321.0, 1e9, 1.5e-5].map(number);
        assert_eq!(numbers, ["0", "12.4946", "-179.4266", "1234.5000", "54321.0", "1.00e9", "1.50e-5"]);
    }
}

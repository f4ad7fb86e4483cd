//! Bars, curves and times out of characters.

use chrono::TimeDelta;

/// The lower parts of a cell.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The left parts of a cell.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// A bar of so many cells, of which this part is full.
pub fn bar(part: f64, cells: usize) -> String {
    let eighths = (part.clamp(0.0, 1.0) * cells as f64 * 8.0) as usize;
    let mut text = "█".repeat(eighths / 8);
    text.extend((eighths % 8).checked_sub(1).map(|rest| PARTS[rest]));
    let empty = cells - text.chars().count();
    text + &"░".repeat(empty)
}

/// A value between two others as the height of a cell; one that is not there is a dot.
pub fn height(value: Option<f64>, (low, high): (f64, f64)) -> char {
    let Some(value) = value.filter(|value| value.is_finite()) else { return '·' };
    let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
    // Of equal values none is low.
    let part = if part.is_nan() { 1.0 } else { part.clamp(0.0, 1.0) };
    BLOCKS[(part * 7.0).round() as usize]
}

/// Seconds as people say them: `8 s`, `12 min`, `3 h 05`, `2 d 04 h`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..=9 if seconds.fract() >= 0.05 => format!("{:.1} s", seconds.max(0.0)),
        0..=99 => format!("{whole} s"),
        100..=5999 => format!("{} min", (whole + 30) / 60),
        6000..=172_799 => format!("{} h {:02}", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// The same of a span of time, in whole seconds.
pub fn span(span: TimeDelta) -> String {
    seconds(span.num_seconds() as f64)
}

/// Hours with as many digits as they are worth.
pub fn hours(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    match hours {
        hours if hours >= 100.0 => format!("{hours:.0}"),
        hours if hours >= 0.1 => format!("{hours:.1}"),
        hours => format!("{hours:.3}"),
    }
}

/// A fitness or another number in at most nine characters.
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

/// A text of exactly so many cells: longer ones end in `…`.
pub fn fit(text: &str, cells: usize) -> String {
    let mut fitted: String = text.chars().take(cells).collect();
    if text.chars().count() > cells && fitted.pop().is_some() {
        fitted.push('…');
    }
    let missing = cells - fitted.chars().count();
    fitted + &" ".repeat(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_heights() {
        assert_eq!(
            [0.0, 0.5, 0.55, 1.0, 7.0].map(|part| bar(part, 4)),
            ["░░░░", "██░░", "██▏░", "████", "████"]
        );
        assert_eq!(bar(0.3, 0), "");
        let heights = [Some(0.0), Some(5.0), Some(10.0), Some(-9.0), None, Some(f64::NAN)];
        assert_eq!(heights.map(|value| height(value, (0.0, 10.0))), ['▁', '▅', '█', '▁', '·', '·']);
        assert_eq!(height(Some(3.0), (3.0, 3.0)), '█');
        assert_eq!(height(Some(f64::MAX), (f64::MIN, f64::MAX)), '█');
    }

    #[test]
    fn times_numbers_and_cells() {
        let times = [0.25, 8.0, 99.0, 100.0, 5999.0, 6000.0, 90_000.0, 200_000.0, -3.0].map(seconds);
        assert_eq!(
            times,
            ["0.2 s", "8 s", "99 s", "2 min", "100 min", "1 h 40", "25 h 00", "2 d 07 h", "0 s"]
        );
        assert_eq!([36.0, 5400.0, 1e6].map(hours), ["0.010", "1.5", "278"]);
        let numbers = [0.0, 12.4946, -179.4266, 1234.5, 54321.0, 1e9, 1.5e-5].map(number);
        assert_eq!(numbers, ["0", "12.4946", "-179.4266", "1234.5000", "54321.0", "1.00e9", "1.50e-5"]);
        assert_eq!((&*fit("längst", 4), &*fit("ab", 4), &*fit("abc", 0)), ("län…", "ab  ", ""));
    }
}

//! Formats numbers, durations and sizes for tables and messages.

pub use pbtnas_engine::fmt::short;

/// A fitness with four decimals; `-` for none.
pub fn fitness(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.4}"))
}

/// `0.02 (0.001 to 0.1)`: median, minimum and maximum; `-` for none.
pub fn spread(mut numbers: Vec<f64>) -> String {
    numbers.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (numbers.first(), numbers.last()) else { return "-".into() };
    let middle = |at: usize| numbers.get(at).copied().unwrap_or(f64::NAN);
    let (left, right) = (middle((numbers.len() - 1) / 2), middle(numbers.len() / 2));
    // Halved one by one: the sum could be infinite.
    format!("{} ({} to {})", short(left / 2.0 + right / 2.0), short(*low), short(*high))
}

/// A fraction of 1 as `25 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

/// A duration: `8 s`, `12 min`, `3 h 05`, `2 d 04 h`.
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

/// A size: `12.3 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{number:.1} {unit}") };
        }
        number /= 1024.0;
    }
    format!("{number:.1} PiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_minimum_and_maximum() {
        assert_eq!(spread(vec![]), "-");
        assert_eq!(spread(vec![0.5]), "0.5 (0.5 to 0.5)");
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), "2 (1 to 3)");
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), "2.5 (1 to 4)");
    }

    #[test]
    fn durations_and_sizes() {
        let times = [0.25, 8.0, 99.0, 100.0, 5999.0, 6000.0, 90_000.0, 200_000.0, -3.0].map(seconds);
        assert_eq!(
            times,
            ["0.2 s", "8 s", "99 s", "2 min", "100 min", "1 h 40", "25 h 00", "2 d 07 h", "0 s"]
        );
        assert_eq!([0, 1 << 30, u64::MAX].map(bytes), ["0 bytes", "1.0 GiB", "16384.0 PiB"]);
        assert_eq!(
            (percent(0.254), fitness(Some(1.0)), fitness(None)),
            ("25 %".into(), "1.0000".into(), "-".into())
        );
    }
}

//! Formats numbers for tables and messages.

/// Four significant digits; integers below a million in full.
pub fn short(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e6 {
        return format!("{number}");
    }
    let rounded: f64 = format!("{number:.3e}").parse().unwrap_or(number);
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_significant_digits() {
        let numbers = [0.0, 64.0, -3.0, 0.1, 0.00012345678, 1.0 / 3.0, 12345.678, 1e-7, 1e20, 0.99999];
        let texts = numbers.map(short);
        assert_eq!(texts, ["0", "64", "-3", "0.1", "0.0001235", "0.3333", "12350", "1e-7", "1e20", "1"]);
    }
}

//! Ranges of numbers: the values of a hyperparameter.
//!
//! Logarithms and exponentials use the `libm` crate: the system's differ between CPUs in the last bit, and a plan
//! must be reproducible on every machine.

use rand::Rng;
use serde::{Deserialize, Serialize};

/// 2^53: every integer up to here is exact in a `f64`.
const MAX_INTEGER: f64 = 9_007_199_254_740_992.0;

/// How the numbers of a range are distributed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Uniform.
    #[default]
    Linear,
    /// Uniform in the logarithm.
    Log,
}

/// The numbers or the integers from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "RawRange", into = "RawRange")]
pub struct Range {
    low: f64,
    high: f64,
    scale: Scale,
    integer: bool,
}

/// Sound because the bounds are finite.
impl Eq for Range {}

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RangeError {
    #[error("low and high of a range must be finite")]
    Finite,
    #[error("low of a range must be less than its high, got {0:?} and {1:?}")]
    Order(f64, f64),
    #[error("low of a range of scale \"log\" must be greater than 0, got {0:?}")]
    Log(f64),
    #[error("low and high of an integer range must be integers of at most 2^53, got {0:?} and {1:?}")]
    Integer(f64, f64),
}

/// The serialized form.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename = "Range")]
struct RawRange {
    low: f64,
    high: f64,
    #[serde(default, skip_serializing_if = "is_default")]
    scale: Scale,
    #[serde(default, skip_serializing_if = "is_default")]
    integer: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TryFrom<RawRange> for Range {
    type Error = RangeError;

    fn try_from(RawRange { low, high, scale, integer }: RawRange) -> Result<Self, RangeError> {
        Self::new(low, high, scale, integer)
    }
}

impl From<Range> for RawRange {
    fn from(Range { low, high, scale, integer }: Range) -> Self {
        Self { low, high, scale, integer }
    }
}

impl Range {
    pub fn new(low: f64, high: f64, scale: Scale, integer: bool) -> Result<Self, RangeError> {
        if !(low.is_finite() && high.is_finite()) {
            return Err(RangeError::Finite);
        }
        if low >= high {
            return Err(RangeError::Order(low, high));
        }
        if scale == Scale::Log && low <= 0.0 {
            return Err(RangeError::Log(low));
        }
        let whole = |value: f64| value.fract() == 0.0 && value.abs() <= MAX_INTEGER;
        if integer && !(whole(low) && whole(high)) {
            return Err(RangeError::Integer(low, high));
        }
        // Adding 0.0 turns -0.0 into 0.0.
        Ok(Self { low: low + 0.0, high: high + 0.0, scale, integer })
    }

    pub fn low(&self) -> f64 {
        self.low
    }

    pub fn high(&self) -> f64 {
        self.high
    }

    pub fn scale(&self) -> Scale {
        self.scale
    }

    pub fn is_integer(&self) -> bool {
        self.integer
    }

    /// The text of a number in a genotype: the shortest one that parses to the same number; digits only for integers.
    pub fn text(&self, value: f64) -> String {
        if self.integer { format!("{}", value as i64) } else { format!("{:?}", value + 0.0) }
    }

    /// Parses the output of [`Range::text`]; returns none for any other text and for numbers outside the range.
    pub fn parse(&self, text: &str) -> Option<f64> {
        let value: f64 = text.parse().ok()?;
        (self.low <= value && value <= self.high && self.text(value) == text).then_some(value)
    }

    /// The number at a fraction (0 to 1) of the range, in its scale. In an integer range each integer covers the
    /// interval of +-0.5 around it, the bounds included, so all are equally likely.
    pub fn at(&self, part: f64) -> f64 {
        let margin = if self.integer { 0.5 } else { 0.0 };
        let (low, high) = (self.low - margin, self.high + margin);
        // The difference or the quotient of the bounds could overflow.
        let between = |low: f64, high: f64| low * (1.0 - part) + high * part;
        self.nearest(match self.scale {
            Scale::Linear => between(low, high),
            Scale::Log => libm::exp(between(libm::log(low), libm::log(high))),
        })
    }

    /// The nearest number of the range.
    pub(super) fn nearest(&self, value: f64) -> f64 {
        let value = if self.integer { value.round() } else { value };
        value.clamp(self.low, self.high)
    }

    /// Draws a number, uniformly in the range's scale.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        self.at(rng.random())
    }

    /// One number from each of `count` strata, equal in the range's scale, in order.
    pub fn stratified(&self, count: usize, rng: &mut impl Rng) -> Vec<f64> {
        (0..count).map(|stratum| self.at((stratum as f64 + rng.random::<f64>()) / count as f64)).collect()
    }
}

/// For example `0.0001 … 0.1 (log)`.
impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} … {}", self.text(self.low), self.text(self.high))?;
        let notes: Vec<&str> = [("integer", self.integer), ("log", self.scale == Scale::Log)]
            .into_iter()
            .filter_map(|(note, there)| there.then_some(note))
            .collect();
        if notes.is_empty() { Ok(()) } else { write!(f, " ({})", notes.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ranges;
    use super::super::{RngKey, rng};
    use super::*;
    use proptest::prelude::*;
    use rand::Rng;

    fn stream(run: u64) -> impl Rng {
        rng(&RngKey { run, generation: 0, member: None, purpose: "range" })
    }

    proptest! {
        #[test]
        fn numbers_stay_in_range_and_round_trip(range in ranges(), part in 0.0f64..=1.0, run: u64) {
            for value in [range.at(part), range.draw(&mut stream(run)), range.low(), range.high()] {
                let text = range.text(value);
                prop_assert_eq!(range.parse(&text).map(f64::to_bits), Some((value + 0.0).to_bits()), "{}", text);
                prop_assert!(!range.is_integer() || text.parse::<i64>().is_ok(), "{}", text);
            }
        }

        #[test]
        fn each_stratum_has_one_number(range in ranges(), count in 1usize..30, run: u64) {
            let values = range.stratified(count, &mut stream(run));
            prop_assert_eq!(values.len(), count);
            let slack = if range.is_integer() { 0.5 } else { 0.0 };
            for (stratum, value) in values.iter().enumerate() {
                let bound = |at: usize| range.at(at as f64 / count as f64);
                let near = 1e-12 * (range.low().abs() + range.high().abs()) + slack;
                prop_assert!(bound(stratum) - near <= *value && *value <= bound(stratum + 1) + near);
            }
        }

        #[test]
        fn serialization_round_trips(range in ranges()) {
            let json = serde_json::to_string(&range).unwrap();
            prop_assert_eq!(serde_json::from_str::<Range>(&json).unwrap(), range);
            let text = toml::to_string(&range).unwrap();
            prop_assert_eq!(toml::from_str::<Range>(&text).unwrap(), range);
        }
    }

    #[test]
    fn integers_are_equally_likely() {
        let range = Range::new(-1.0, 3.0, Scale::Linear, true).unwrap();
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for value in range.stratified(1000, &mut stream(1)) {
            *counts.entry(range.text(value)).or_default() += 1;
        }
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["-1", "0", "1", "2", "3"]);
        assert!(counts.values().all(|count| (198..=202).contains(count)), "{counts:?}");
    }

    #[test]
    fn log_range_covers_decades_evenly() {
        let range = Range::new(1e-4, 1e-1, Scale::Log, false).unwrap();
        let values = range.stratified(300, &mut stream(1));
        for (low, high) in [(1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 1e-1)] {
            let count = values.iter().filter(|&&value| low <= value && value < high).count();
            assert!((99..=101).contains(&count), "{count}");
        }
    }

    #[test]
    fn only_the_canonical_text_is_parsed() {
        let range = Range::new(-1.0, 1e20, Scale::Linear, false).unwrap();
        assert_eq!(range.parse("0.25"), Some(0.25));
        assert_eq!(range.parse("1e20"), Some(1e20));
        for wrong in
            ["", "x", "NaN", "inf", "0.250", "2.5e-1", "1", "-0.0", "+1.0", " 1.0", "-1.5", "1e21", "1e400"]
        {
            assert_eq!(range.parse(wrong), None, "{wrong}");
        }
        let whole = Range::new(0.0, 10.0, Scale::Linear, true).unwrap();
        assert_eq!(whole.parse("7"), Some(7.0));
        for wrong in ["7.0", "07", "7.5", "11", "-0", "1e1"] {
            assert_eq!(whole.parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn invalid_ranges_are_rejected() {
        let new = |low, high, scale, integer| Range::new(low, high, scale, integer);
        assert_eq!(new(0.0, f64::INFINITY, Scale::Linear, false), Err(RangeError::Finite));
        assert_eq!(new(f64::NAN, 1.0, Scale::Linear, false), Err(RangeError::Finite));
        assert_eq!(new(1.0, 1.0, Scale::Linear, false), Err(RangeError::Order(1.0, 1.0)));
        assert_eq!(new(0.0, 1.0, Scale::Log, false), Err(RangeError::Log(0.0)));
        assert_eq!(new(0.5, 4.0, Scale::Linear, true), Err(RangeError::Integer(0.5, 4.0)));
        assert_eq!(new(0.0, 1e300, Scale::Linear, true), Err(RangeError::Integer(0.0, 1e300)));
        let error = |json: &str| serde_json::from_str::<Range>(json).unwrap_err().to_string();
        assert!(error(r#"{"low": 2, "high": 1}"#).contains("less than its high"));
        assert!(error(r#"{"low": 1, "high": 2, "steps": 3}"#).contains("unknown field `steps`"));
        assert!(error(r#"{"low": 1}"#).contains("missing field `high`"));
    }

    #[test]
    fn display_shows_bounds_and_scale() {
        assert_eq!(Range::new(1e-4, 0.1, Scale::Log, false).unwrap().to_string(), "0.0001 … 0.1 (log)");
        assert_eq!(Range::new(1.0, 64.0, Scale::Log, true).unwrap().to_string(), "1 … 64 (integer, log)");
        assert_eq!(Range::new(-1.0, 0.5, Scale::Linear, false).unwrap().to_string(), "-1.0 … 0.5");
    }
}

//! Numbers of a task's configuration that may be searched.

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_untagged::UntaggedEnumVisitor;

use pbtnas_core::search::{Genotype, Range, Variable};

/// A number, or a range such as `{ low = 1e-4, high = 1e-2, scale = "log" }` that is searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hyperparameter {
    /// A fixed number for all members.
    Fixed(f64),
    /// A variable of the search space.
    Searched(Range),
}

impl Hyperparameter {
    /// The variable that a range adds to the search space.
    pub fn variable(&self, name: &str) -> Option<Variable> {
        match self {
            Self::Fixed(_) => None,
            Self::Searched(range) => Some(Variable::range(name, *range)),
        }
    }

    /// The value for a member: the fixed number, or the one in the genotype.
    pub fn of(&self, name: &str, genotype: &Genotype) -> Result<f64> {
        match self {
            Self::Fixed(number) => Ok(*number),
            Self::Searched(_) => {
                genotype.number(name).with_context(|| format!("the genotype has no number for {name}"))
            }
        }
    }

    /// The smallest and the largest possible value.
    pub fn bounds(&self) -> (f64, f64) {
        match self {
            Self::Fixed(number) => (*number, *number),
            Self::Searched(range) => (range.low(), range.high()),
        }
    }
}

impl Serialize for Hyperparameter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(number) => number.serialize(serializer),
            Self::Searched(range) => range.serialize(serializer),
        }
    }
}

/// Not derived, because serde's untagged enums lose the line of an error.
impl<'de> Deserialize<'de> for Hyperparameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UntaggedEnumVisitor::new()
            .expecting("a number, or a range such as { low = 1e-4, high = 1e-2, scale = \"log\" }")
            .i64(|number| Ok(Self::Fixed(number as f64)))
            .f64(|number| Ok(Self::Fixed(number)))
            .map(|range| range.deserialize().map(Self::Searched))
            .deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::search::Scale;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct RateSection {
        rate: Hyperparameter,
    }

    #[test]
    fn numbers_and_ranges_round_trip() {
        let range = Range::new(1e-4, 1.0, Scale::Log, false).unwrap();
        for (text, rate) in [
            ("rate = 1", Hyperparameter::Fixed(1.0)),
            ("rate = 2e-4", Hyperparameter::Fixed(2e-4)),
            ("rate = { low = 1e-4, high = 1, scale = \"log\" }", Hyperparameter::Searched(range)),
        ] {
            let section: RateSection = toml::from_str(text).unwrap();
            assert_eq!(section, RateSection { rate });
            assert_eq!(
                toml::from_str::<RateSection>(&toml::to_string_pretty(&section).unwrap()).unwrap(),
                section
            );
        }
        let genotype = Genotype::new([("rate".to_owned(), "0.5".to_owned())]);
        assert_eq!(Hyperparameter::Searched(range).of("rate", &genotype).unwrap(), 0.5);
        assert_eq!(Hyperparameter::Fixed(0.1).of("rate", &genotype).unwrap(), 0.1);
        assert!(Hyperparameter::Searched(range).of("other", &genotype).is_err());
    }
}

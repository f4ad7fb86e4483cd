//! Genotypes: the value of each variable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of every variable of a supernet: all options at once.
pub(super) const EVERY: &str = "*";

/// Weights of the options of each variable of a supernet, in the order of the options; they sum to 1 per variable.
pub type OptionWeights = BTreeMap<String, Vec<f64>>;

/// An architecture with its hyperparameters: the value of each variable, by name.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Genotype(BTreeMap<String, String>);

impl Genotype {
    /// Creates a genotype from (variable, value) pairs without checking them (see [`super::Space::check_genotype`]).
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The supernet of a space: a network in which every variable is a weighted sum of its options (DARTS;
    /// AdversarialNAS).
    pub fn supernet(space: &super::Space) -> Self {
        Self::new(space.variables.iter().map(|variable| (variable.name.clone(), EVERY.to_owned())))
    }

    pub fn is_supernet(&self) -> bool {
        self.0.values().any(|value| value == EVERY)
    }

    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }

    /// The value of a variable as a number; none if it is missing or not a finite number.
    pub fn number(&self, variable: &str) -> Option<f64> {
        self.get(variable)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    pub fn set(&mut self, variable: &str, value: &str) {
        self.0.insert(variable.to_owned(), value.to_owned());
    }

    /// (variable, value) pairs, sorted by variable name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

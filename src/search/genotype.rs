//! The value of each variable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// In place of a value: all options at once.
pub(super) const EVERY: &str = "*";

/// The weights of the options of each variable of a supernet, in the order of the options; each adds up to one.
pub type OptionWeights = BTreeMap<String, Vec<f64>>;

/// An architecture, and the hyperparameters beside it: the value of each variable of a space, by name.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Genotype(BTreeMap<String, String>);

impl Genotype {
    /// A genotype from (variable, value) pairs; [`super::Space::check_genotype`] tells whether it is one of a
    /// space.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// All architectures of a space at once: a network in which every variable is a weighted sum of its options
    /// (DARTS; AdversarialNAS).
    pub fn supernet(space: &super::Space) -> Self {
        Self::new(space.variables.iter().map(|variable| (variable.name.clone(), EVERY.to_owned())))
    }

    /// Whether it stands for all architectures at once.
    pub fn is_supernet(&self) -> bool {
        self.0.values().any(|value| value == EVERY)
    }

    /// The value of a variable.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }

    /// The value of a variable as a number; none if it has no value, or one that is no finite number.
    pub fn number(&self, variable: &str) -> Option<f64> {
        self.get(variable)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Sets the value of a variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.0.insert(variable.to_owned(), value.to_owned());
    }

    /// (variable, value) pairs, by variable name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

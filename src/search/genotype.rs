//! The value of each variable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

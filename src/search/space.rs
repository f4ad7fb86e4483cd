//! A search space: categorical variables, and the tensors that each of them owns.

use std::collections::BTreeMap;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

/// One categorical variable x_i of the paper's section 3.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Unique name, e.g. `generator/cell1/up0`.
    pub name: String,
    /// The values it can take, at least one, all different.
    pub options: Vec<String>,
    /// Prefixes of the names of the tensors that move with it, e.g. `generator/cell1/up0/`; none for a
    /// variable without weights (a flag, an activation). Names are those behind `model/` in a checkpoint.
    pub owns: Vec<String>,
}

/// All variables, in the order in which they are mixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The variables; order matters for reproducibility.
    pub variables: Vec<Variable>,
}

/// An architecture: the value of each variable of a space, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Genotype(BTreeMap<String, String>);

/// Why a space or a genotype cannot be used; fragments that fit after "the search space is wrong: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// A space without variables.
    #[error("it has no variables")]
    Empty,
    /// Two variables of one name, or one without a name.
    #[error("the variable name {0:?} is empty or used twice")]
    Name(String),
    /// A variable without options, or with one option twice.
    #[error("variable {0:?} has no options, or one of them twice")]
    Options(String),
    /// Two variables own the same tensors.
    #[error("variables {0:?} and {1:?} both own tensors under {2:?}")]
    Overlap(String, String, String),
    /// A genotype without a value for a variable.
    #[error("the genotype has no value for variable {0:?}")]
    Missing(String),
    /// A genotype with a value for something that is no variable.
    #[error("the genotype has a value for {0:?}, which is no variable of the space")]
    Unknown(String),
    /// A value that is none of the variable's options.
    #[error("variable {variable:?} has no option {value:?} (it has {options})")]
    Value {
        /// The variable.
        variable: String,
        /// What was given.
        value: String,
        /// What could have been.
        options: String,
    },
}

impl Space {
    /// Checks that names and options are unique and that no tensor has two owners.
    pub fn check(&self) -> Result<(), SpaceError> {
        if self.variables.is_empty() {
            return Err(SpaceError::Empty);
        }
        let mut names = std::collections::BTreeSet::new();
        let mut prefixes: Vec<(&str, &str)> = Vec::new();
        for variable in &self.variables {
            if variable.name.is_empty() || !names.insert(&variable.name) {
                return Err(SpaceError::Name(variable.name.clone()));
            }
            let unique: std::collections::BTreeSet<_> = variable.options.iter().collect();
            if unique.is_empty() || unique.len() != variable.options.len() {
                return Err(SpaceError::Options(variable.name.clone()));
            }
            prefixes.extend(variable.owns.iter().map(|prefix| (prefix.as_str(), variable.name.as_str())));
        }
        prefixes.sort_unstable();
        for pair in prefixes.windows(2) {
            let [(prefix, owner), (next, other)] = pair else { continue };
            if next.starts_with(prefix) {
                return Err(SpaceError::Overlap((*owner).into(), (*other).into(), (*next).into()));
            }
        }
        Ok(())
    }

    /// The number of architectures: the product of the numbers of options. Exact, however large.
    pub fn size(&self) -> BigUint {
        self.variables.iter().map(|variable| BigUint::from(variable.options.len())).product()
    }

    /// The variable that owns a tensor (`name` without the leading `model/`), if any does.
    pub fn owner(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.owns.iter().any(|prefix| name.starts_with(prefix.as_str())))
    }

    /// Checks that a genotype has one valid value for each variable, and nothing else.
    pub fn check_genotype(&self, genotype: &Genotype) -> Result<(), SpaceError> {
        for variable in &self.variables {
            let value =
                genotype.0.get(&variable.name).ok_or_else(|| SpaceError::Missing(variable.name.clone()))?;
            if !variable.options.contains(value) {
                return Err(SpaceError::Value {
                    variable: variable.name.clone(),
                    value: value.clone(),
                    options: variable.options.join(", "),
                });
            }
        }
        let known = |name: &String| self.variables.iter().any(|v| &v.name == name);
        match genotype.0.keys().find(|name| !known(name)) {
            Some(name) => Err(SpaceError::Unknown(name.clone())),
            None => Ok(()),
        }
    }
}

impl Genotype {
    /// A genotype from (variable, option) pairs; [`Space::check_genotype`] tells whether it is one of a space.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The value of a variable.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }

    /// Sets the value of a variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.0.insert(variable.to_owned(), value.to_owned());
    }

    /// (variable, option) pairs, by variable name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, owns: &[&str]) -> Variable {
        Variable {
            name: name.into(),
            options: vec!["a".into(), "b".into()],
            owns: owns.iter().map(|&s| s.into()).collect(),
        }
    }

    #[test]
    fn a_tensor_has_at_most_one_owner() {
        let good = Space { variables: vec![variable("x", &["net/x/"]), variable("y", &["net/y/"])] };
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.owner("net/y/weight").map(|v| v.name.as_str()), Some("y"));
        assert_eq!(good.owner("net/z/weight"), None);
        let bad = Space { variables: vec![variable("x", &["net/x/"]), variable("y", &["net/x/deep/"])] };
        assert!(matches!(bad.check(), Err(SpaceError::Overlap(..))));
    }

    #[test]
    fn names_and_options_are_unique() {
        assert_eq!(Space { variables: vec![] }.check(), Err(SpaceError::Empty));
        let twice = Space { variables: vec![variable("x", &[]), variable("x", &[])] };
        assert_eq!(twice.check(), Err(SpaceError::Name("x".into())));
        let mut none = variable("x", &[]);
        none.options.clear();
        assert_eq!(Space { variables: vec![none] }.check(), Err(SpaceError::Options("x".into())));
    }

    #[test]
    fn a_genotype_is_checked_against_its_space() {
        let space = Space { variables: vec![variable("x", &[])] };
        let genotype =
            |pairs: &[(&str, &str)]| Genotype::new(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(space.check_genotype(&genotype(&[("x", "a")])), Ok(()));
        assert!(matches!(space.check_genotype(&genotype(&[])), Err(SpaceError::Missing(_))));
        assert!(matches!(space.check_genotype(&genotype(&[("x", "c")])), Err(SpaceError::Value { .. })));
        assert!(matches!(
            space.check_genotype(&genotype(&[("x", "a"), ("y", "a")])),
            Err(SpaceError::Unknown(_))
        ));
    }
}

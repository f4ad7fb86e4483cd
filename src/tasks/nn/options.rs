//! Options of variables: their names, and what they stand for.

use anyhow::{Context, Result};

use crate::search::Genotype;

/// The names of options.
pub fn names<T>(options: &[(&str, T)]) -> Vec<String> {
    options.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// What an option stands for.
pub fn option<T: Copy>(options: &[(&str, T)], name: &str) -> Option<T> {
    options.iter().find(|(known, _)| *known == name).map(|(_, option)| *option)
}

/// What the genotype's option of a variable stands for.
pub fn value<T: Copy>(genotype: &Genotype, variable: &str, options: &[(&str, T)]) -> Result<T> {
    let value =
        genotype.get(variable).with_context(|| format!("the genotype has no value for {variable}"))?;
    option(options, value).with_context(|| format!("{variable} has no option {value:?}"))
}

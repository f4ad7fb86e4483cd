//! Tables of the options of variables: names and their meanings.

use anyhow::{Context, Result};

use pbtnas_core::search::Genotype;

pub fn names<T>(options: &[(&str, T)]) -> Vec<String> {
    options.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// The meaning of an option.
pub fn option<T: Copy>(options: &[(&str, T)], name: &str) -> Option<T> {
    options.iter().find(|(known, _)| *known == name).map(|(_, option)| *option)
}

/// The meaning of the option that a genotype has for a variable.
pub fn value<T: Copy>(genotype: &Genotype, variable: &str, options: &[(&str, T)]) -> Result<T> {
    let value =
        genotype.get(variable).with_context(|| format!("the genotype has no value for {variable}"))?;
    option(options, value).with_context(|| format!("{variable} has no option {value:?}"))
}

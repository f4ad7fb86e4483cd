//! Options of variables: their names, and what they stand for.

use anyhow::{Context, Result, bail};

use crate::search::Genotype;

/// The names of options.
pub fn names<T>(options: &[(&str, T)]) -> Vec<String> {
    options.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// What the genotype's option of a variable stands for.
pub fn value<T: Copy>(genotype: &Genotype, variable: &str, options: &[(&str, T)]) -> Result<T> {
    let value =
        genotype.get(variable).with_context(|| format!("the genotype has no value for {variable}"))?;
    match options.iter().find(|(name, _)| *name == value) {
        Some((_, option)) => Ok(*option),
        None => bail!("{variable} has no option {value:?}"),
    }
}

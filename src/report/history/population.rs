//! How a population changes: which options its members have, and how different they are.

use serde::Serialize;

use super::Generation;
use crate::search::Space;

/// How often each option of a variable occurs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frequencies {
    /// The variable.
    pub variable: String,
    /// Its options.
    pub options: Vec<String>,
    /// For each generation, the part of the members that has each option.
    pub parts: Vec<Vec<f64>>,
}

/// The options' frequencies of all variables but hyperparameters, in the order of the space.
pub fn frequencies(space: &Space, generations: &[Generation]) -> Vec<Frequencies> {
    let choices = space.variables.iter().filter(|variable| !variable.options().is_empty());
    choices
        .map(|variable| {
            let part = |generation: &Generation, option: &String| {
                let has = |member: &&super::Member| {
                    member.plan.genotype.get(&variable.name) == Some(option.as_str())
                };
                let count = generation.members.iter().filter(has).count();
                count as f64 / generation.members.len().max(1) as f64
            };
            let parts_of =
                |generation| variable.options().iter().map(|option| part(generation, option)).collect();
            Frequencies {
                variable: variable.name.clone(),
                options: variable.options().to_vec(),
                parts: generations.iter().map(parts_of).collect(),
            }
        })
        .collect()
}

/// How different the members of a generation are: the mean part of the variables in which two of them differ, and the
/// number of different architectures. Hyperparameters do not count.
pub fn diversity(space: &Space, generation: &Generation) -> (f64, usize) {
    let members = &generation.members;
    let one = std::slice::from_ref(generation);
    let variables = frequencies(space, one);
    // Of n (n - 1) ordered pairs, those of one option agree.
    let n = members.len() as f64;
    let differing = |frequencies: &Frequencies| {
        let agreeing: f64 =
            frequencies.parts.iter().flatten().map(|part| (part * n) * (part * n - 1.0)).sum();
        1.0 - agreeing / (n * (n - 1.0)).max(1.0)
    };
    let mean = variables.iter().map(differing).sum::<f64>() / variables.len().max(1) as f64;
    let genotype = |member: &super::Member| -> Vec<String> {
        let value = |of: &Frequencies| member.plan.genotype.get(&of.variable).unwrap_or_default().to_owned();
        variables.iter().map(value).collect()
    };
    let different: std::collections::BTreeSet<Vec<String>> = members.iter().map(genotype).collect();
    (if members.len() < 2 { 0.0 } else { mean }, different.len())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{generation, member};
    use super::*;
    use crate::search::{Genotype, Variable};

    fn space() -> Space {
        let options = || vec!["a".to_owned(), "b".to_owned()];
        Space::new(["x", "y"].map(|name| Variable::choice(name, options(), Vec::new())).into())
    }

    fn population(values: &[(&str, &str)]) -> Generation {
        let members = values.iter().zip(0..).map(|((x, y), id)| {
            let mut member = member(id, None);
            member.plan.genotype = Genotype::new([("x", x), ("y", y)].map(|(n, v)| (n.into(), (*v).into())));
            member
        });
        generation(0, members.collect())
    }

    #[test]
    fn options_are_counted() {
        let found = frequencies(&space(), &[population(&[("a", "b"), ("a", "a"), ("b", "b"), ("a", "b")])]);
        assert_eq!(found[0].parts, [[0.75, 0.25]]);
        assert_eq!(found[1].parts, [[0.25, 0.75]]);
    }

    #[test]
    fn diversity_is_the_mean_difference_of_two_members() {
        assert_eq!(diversity(&space(), &population(&[("a", "a"), ("a", "a")])), (0.0, 1));
        assert_eq!(diversity(&space(), &population(&[("a", "a"), ("b", "b")])), (1.0, 2));
        // Three pairs: they differ in 1, 1 and 2 of two variables.
        let (mean, different) = diversity(&space(), &population(&[("a", "a"), ("a", "b"), ("b", "a")]));
        assert!((mean - 4.0 / 6.0).abs() < 1e-12, "{mean}");
        assert_eq!(different, 3);
        assert_eq!(diversity(&space(), &population(&[("a", "b")])), (0.0, 1));
    }
}

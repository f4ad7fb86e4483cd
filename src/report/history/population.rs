//! Option frequencies and diversity of a population.

use serde::Serialize;

use super::Generation;
use pbtnas_core::run::Outcome;
use pbtnas_core::search::Space;

/// Frequencies of a variable's options; weights for supernets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Frequencies {
    pub variable: String,
    pub options: Vec<String>,
    /// Per generation, the fraction of members with each option. Supernets without a result are left out; if there are
    /// only such members, the values are those of the previous generation.
    pub parts: Vec<Vec<f64>>,
}

/// Frequencies for all variables but hyperparameters, in the order of the search space.
pub fn frequencies(space: &Space, generations: &[Generation]) -> Vec<Frequencies> {
    let choices = space.variables.iter().filter(|variable| !variable.options().is_empty());
    choices
        .map(|variable| {
            let options = variable.options();
            let mut parts: Vec<Vec<f64>> = Vec::new();
            for generation in generations {
                let known: Vec<Vec<f64>> = generation
                    .members
                    .iter()
                    .filter_map(|member| weights(member, &variable.name, options))
                    .collect();
                let mean = |at| known.iter().map(|of: &Vec<f64>| of[at]).sum::<f64>() / known.len() as f64;
                parts.push(match (known.is_empty(), parts.last()) {
                    (false, _) => (0..options.len()).map(mean).collect(),
                    (true, Some(before)) => before.clone(),
                    (true, None) => vec![0.0; options.len()],
                });
            }
            Frequencies { variable: variable.name.clone(), options: options.to_vec(), parts }
        })
        .collect()
}

/// The weight of each option in a member; none for a supernet without a result.
fn weights(member: &super::Member, variable: &str, options: &[String]) -> Option<Vec<f64>> {
    if !member.plan.genotype.is_supernet() {
        let value = member.plan.genotype.get(variable);
        return Some(options.iter().map(|option| f64::from(u8::from(value == Some(option)))).collect());
    }
    let Outcome::Trained { option_weights, .. } = &member.result.as_ref()?.outcome else { return None };
    option_weights.get(variable).filter(|weights| weights.len() == options.len()).cloned()
}

/// The mean fraction of variables in which two members differ, and the number of different architectures, without
/// hyperparameters. The fraction is 0 for generations with a supernet.
pub fn diversity(space: &Space, generation: &Generation) -> (f64, usize) {
    let members = &generation.members;
    let one = std::slice::from_ref(generation);
    let variables = frequencies(space, one);
    // Of n (n - 1) ordered pairs, those with the same option agree.
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
    let alike = members.len() < 2 || members.iter().any(|member| member.plan.genotype.is_supernet());
    (if alike { 0.0 } else { mean }, different.len())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{generation, member};
    use super::*;
    use pbtnas_core::search::{Genotype, Variable};

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
    fn supernet_options_count_by_weight() {
        let supernet = |fitness, weights: [f64; 2]| {
            let mut member = member(0, fitness);
            member.plan.genotype = Genotype::supernet(&space());
            if let Some(result) = &mut member.result
                && let Outcome::Trained { option_weights, .. } = &mut result.outcome
            {
                *option_weights = ["x", "y"].map(|name| (name.to_owned(), weights.to_vec())).into();
            }
            generation(0, vec![member])
        };
        let known = supernet(Some(1.0), [0.75, 0.25]);
        let found =
            frequencies(&space(), &[supernet(None, [0.0; 2]), known.clone(), supernet(None, [0.0; 2])]);
        assert_eq!(found[0].parts, [[0.0, 0.0], [0.75, 0.25], [0.75, 0.25]]);
        assert_eq!(
            frequencies(&space(), &[known.clone(), population(&[("b", "a")])])[0].parts[1],
            [0.0, 1.0]
        );
        assert_eq!(diversity(&space(), &known).0, 0.0);
    }

    #[test]
    fn diversity_is_the_mean_difference_of_two_members() {
        assert_eq!(diversity(&space(), &population(&[("a", "a"), ("a", "a")])), (0.0, 1));
        assert_eq!(diversity(&space(), &population(&[("a", "a"), ("b", "b")])), (1.0, 2));
        // Three pairs, which differ in 1, 1 and 2 of two variables.
        let (mean, different) = diversity(&space(), &population(&[("a", "a"), ("a", "b"), ("b", "a")]));
        assert!((mean - 4.0 / 6.0).abs() < 1e-12, "{mean}");
        assert_eq!(different, 3);
        assert_eq!(diversity(&space(), &population(&[("a", "b")])), (0.0, 1));
    }
}

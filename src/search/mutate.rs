//! SEARL-like mutation, the paper's second baseline (section 4.4; facts: SEARL-like mutation).

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use super::{Genotype, Space};

/// What happens to a copy of a parent; each kind has probability 1/3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// A variable takes another value, and its layer is initialised anew.
    Variable {
        /// Its name.
        name: String,
    },
    /// Noise on the weights of some layers.
    Weights,
}

/// Draws a change, and applies it to the architecture.
pub fn mutate(space: &Space, parent: &Genotype, rng: &mut impl Rng) -> (Genotype, Change) {
    let mut genotype = parent.clone();
    match rng.random_range(0..3) {
        0 => (genotype, Change::Nothing),
        1 => (genotype, Change::Weights),
        _ => {
            let choices: Vec<_> = space.variables.iter().filter(|v| v.options.len() > 1).collect();
            let Some(variable) = choices.choose(rng) else { return (genotype, Change::Nothing) };
            let others: Vec<&String> = variable
                .options
                .iter()
                .filter(|option| parent.get(&variable.name) != Some(option.as_str()))
                .collect();
            if let Some(option) = others.choose(rng) {
                genotype.set(&variable.name, option);
            }
            (genotype, Change::Variable { name: variable.name.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{space, spaces};
    use super::super::{Address, Initial, initial_population, rng};
    use super::*;
    use proptest::prelude::*;

    fn at(run: u64) -> Address<'static> {
        Address { run, generation: 1, member: None, purpose: "mutate" }
    }

    proptest! {
        #[test]
        fn at_most_the_named_variable_changes_and_then_it_does(space in spaces(), run: u64) {
            let parent = initial_population(&space, 1, Initial::Uniform, run).remove(0);
            let (child, change) = mutate(&space, &parent, &mut rng(&at(run)));
            prop_assert_eq!(space.check_genotype(&child), Ok(()));
            for variable in &space.variables {
                let changed = parent.get(&variable.name) != child.get(&variable.name);
                prop_assert_eq!(changed, change == Change::Variable { name: variable.name.clone() });
            }
        }
    }

    #[test]
    fn each_kind_comes_in_a_third_of_the_cases_and_each_variable_as_often() {
        let space = space(&[4, 4, 1]);
        let parent = initial_population(&space, 1, Initial::Uniform, 1).remove(0);
        let mut counts = std::collections::BTreeMap::<String, f64>::new();
        let draws = 3000;
        for run in 0..draws {
            let (child, change) = mutate(&space, &parent, &mut rng(&at(run)));
            *counts.entry(format!("{change:?}")).or_default() += 1.0;
            if let Change::Variable { name } = change {
                *counts.entry(format!("{name} {:?}", child.get(&name))).or_default() += 1.0;
            }
        }
        let draws = draws as f64;
        assert!((counts["Nothing"] / draws - 1.0 / 3.0).abs() < 0.04);
        assert!((counts["Weights"] / draws - 1.0 / 3.0).abs() < 0.04);
        for name in ["v000", "v001"] {
            let key = format!("Variable {{ name: {name:?} }}");
            assert!((counts[&key] / draws - 1.0 / 6.0).abs() < 0.04, "{counts:?}");
            let options = counts.keys().filter(|key| key.starts_with(&format!("{name} "))).count();
            assert_eq!(options, 3, "{counts:?}");
        }
        assert!(!counts.keys().any(|key| key.contains("v002")));
    }
}

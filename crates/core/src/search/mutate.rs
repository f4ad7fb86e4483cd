//! SEARL-like mutation, the paper's second baseline (section 4.4; facts: SEARL-like mutation).

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use super::{Domain, Explore, Genotype, Space};

/// How a mutant differs from its parent; each kind has probability 1/3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// No change.
    Nothing,
    /// A variable takes another value and its layer is reinitialised. The number of a range is explored from the
    /// parent's.
    Variable {
        /// Name of the variable.
        name: String,
    },
    /// Noise on the weights of some layers.
    Weights,
}

/// Draws a change and applies it to the genotype. Changes that a rule forbids are redrawn, at most 100 times; after
/// that the parent is returned unchanged.
pub fn mutate(space: &Space, explore: &Explore, parent: &Genotype, rng: &mut impl Rng) -> (Genotype, Change) {
    let nothing = || (parent.clone(), Change::Nothing);
    match rng.random_range(0..3) {
        0 => nothing(),
        1 => (parent.clone(), Change::Weights),
        _ => (0..TRIES)
            .map_while(|_| other_value(space, explore, parent, rng))
            .find(|(genotype, _)| space.allows(genotype))
            .map_or_else(nothing, |(genotype, name)| (genotype, Change::Variable { name })),
    }
}

const TRIES: usize = 100;

/// Changes the value of one variable and returns its name; none if no variable can change.
fn other_value(
    space: &Space,
    explore: &Explore,
    parent: &Genotype,
    rng: &mut impl Rng,
) -> Option<(Genotype, String)> {
    let changeable: Vec<_> = space.variables.iter().filter(|variable| variable.can_change()).collect();
    let variable = changeable.choose(rng)?;
    let value = match &variable.domain {
        Domain::Choice { options, .. } => {
            let is_other = |option: &&String| parent.get(&variable.name) != Some(option.as_str());
            let others: Vec<&String> = options.iter().filter(is_other).collect();
            (*others.choose(rng)?).clone()
        }
        Domain::Range(range) => {
            let before = parent.get(&variable.name).and_then(|text| range.parse(text))?;
            range.text(explore.other(range, before, rng))
        }
    };
    let mut genotype = parent.clone();
    genotype.set(&variable.name, &value);
    Some((genotype, variable.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ruled_spaces, settings, space};
    use super::super::{Initial, RngKey, initial_population, rng};
    use super::*;
    use proptest::prelude::*;

    fn at(run: u64) -> RngKey<'static> {
        RngKey { run, generation: 1, member: None, purpose: "mutate" }
    }

    proptest! {
        #[test]
        fn exactly_the_named_variable_changes(space in ruled_spaces(), run: u64) {
            let parent = initial_population(&space, 1, Initial::Uniform, run).remove(0);
            let (child, change) = mutate(&space, &settings(1).explore, &parent, &mut rng(&at(run)));
            prop_assert_eq!(space.check_genotype(&child), Ok(()));
            for variable in &space.variables {
                let changed = parent.get(&variable.name) != child.get(&variable.name);
                prop_assert_eq!(changed, change == Change::Variable { name: variable.name.clone() });
            }
        }
    }

    #[test]
    fn kinds_and_variables_are_equally_likely() {
        let space = space(&[4, 4, 1]);
        let parent = initial_population(&space, 1, Initial::Uniform, 1).remove(0);
        let mut counts = std::collections::BTreeMap::<String, f64>::new();
        let draws = 3000;
        for run in 0..draws {
            let (child, change) = mutate(&space, &settings(1).explore, &parent, &mut rng(&at(run)));
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

//! Initial populations.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Address, Genotype, Space, rng};

/// How the first population is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// Each variable's options are dealt out evenly over the population and shuffled, as the paper's
    /// published code does: every option is there as often as any other, give or take one.
    Balanced,
    /// Each value is drawn independently (the paper's Algorithm 1, line 1, read literally).
    Uniform,
}

/// `size` genotypes of a space.
pub fn initial_population(space: &Space, size: usize, how: Initial, run: u64) -> Vec<Genotype> {
    let mut genotypes = vec![Genotype::new([]); size];
    for variable in &space.variables {
        let purpose = format!("initial {}", variable.name);
        let mut rng = rng(&Address { run, generation: 0, member: None, purpose: &purpose });
        let count = variable.options.len();
        let dealt = match how {
            Initial::Balanced => size / count * count,
            Initial::Uniform => 0,
        };
        let mut values: Vec<usize> = (0..dealt).map(|i| i % count).collect();
        match how {
            // The remainder is drawn without replacement, so that no option is there twice more than another.
            Initial::Balanced => {
                let mut rest: Vec<usize> = (0..count).collect();
                rest.shuffle(&mut rng);
                values.extend(rest.into_iter().take(size - dealt));
                values.shuffle(&mut rng);
            }
            Initial::Uniform => values.extend((0..size).map(|_| rng.random_range(0..count))),
        }
        for (genotype, value) in genotypes.iter_mut().zip(values) {
            genotype.set(&variable.name, &variable.options[value]);
        }
    }
    genotypes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{space, spaces};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn balanced_deals_options_evenly(space in spaces(), size in 1usize..40, run: u64) {
            let population = initial_population(&space, size, Initial::Balanced, run);
            prop_assert_eq!(population.len(), size);
            for variable in &space.variables {
                let counts: Vec<usize> = variable.options.iter().map(|option| {
                    population.iter().filter(|g| g.get(&variable.name) == Some(option)).count()
                }).collect();
                let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(max - min <= 1, "{:?}", counts);
            }
        }

        #[test]
        fn both_are_valid_and_deterministic(space in spaces(), size in 1usize..20, run: u64) {
            for how in [Initial::Balanced, Initial::Uniform] {
                let population = initial_population(&space, size, how, run);
                for genotype in &population {
                    prop_assert_eq!(space.check_genotype(genotype), Ok(()));
                }
                prop_assert_eq!(&population, &initial_population(&space, size, how, run));
            }
        }
    }

    #[test]
    fn uniform_draws_are_independent() {
        // With 1000 members and 3 options an exactly even split of all variables would be no accident.
        let space = space(&[3, 3, 3, 3]);
        let population = initial_population(&space, 999, Initial::Uniform, 7);
        let even = space
            .variables
            .iter()
            .all(|variable| population.iter().filter(|g| g.get(&variable.name) == Some("o0")).count() == 333);
        assert!(!even);
        for variable in &space.variables {
            let share = population.iter().filter(|g| g.get(&variable.name) == Some("o1")).count();
            assert!((250..420).contains(&share), "{share}");
        }
    }
}

//! Algorithm 2 of the paper: an offspring of two parents.

use rand::Rng;

use super::{Genotype, Space};

/// What came out of mixing two parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    /// The offspring's architecture.
    pub genotype: Genotype,
    /// The variables whose value and weights come from the donor, in the order of the space. A variable is
    /// here also when both parents have the same value: its weights are replaced all the same.
    pub replaced: Vec<String>,
}

/// Copies the base (the better parent) and replaces each variable with probability `p` by the donor's.
///
/// Both genotypes must belong to the space. One number is drawn for each variable, whatever its values.
pub fn mix(space: &Space, base: &Genotype, donor: &Genotype, p: f64, rng: &mut impl Rng) -> Mixed {
    let mut genotype = base.clone();
    let mut replaced = Vec::new();
    for variable in &space.variables {
        let draw: f64 = rng.random();
        if draw < p
            && let Some(value) = donor.get(&variable.name)
        {
            genotype.set(&variable.name, value);
            replaced.push(variable.name.clone());
        }
    }
    Mixed { genotype, replaced }
}

#[cfg(test)]
mod tests {
    use super::super::testing::spaces;
    use super::super::{Address, Initial, initial_population, rng};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_comes_from_a_parent(space in spaces(), run: u64, p in 0.0f64..=1.0) {
            let parents = initial_population(&space, 2, Initial::Uniform, run);
            let address = Address { run, generation: 1, member: None, purpose: "mix" };
            let mixed = mix(&space, &parents[0], &parents[1], p, &mut rng(&address));
            prop_assert_eq!(space.check_genotype(&mixed.genotype), Ok(()));
            for variable in &space.variables {
                let source = &parents[usize::from(mixed.replaced.contains(&variable.name))];
                prop_assert_eq!(mixed.genotype.get(&variable.name), source.get(&variable.name));
            }
        }

        #[test]
        fn the_extremes_are_the_parents(space in spaces(), run: u64) {
            let parents = initial_population(&space, 2, Initial::Uniform, run);
            let address = Address { run, generation: 1, member: None, purpose: "mix" };
            let none = mix(&space, &parents[0], &parents[1], 0.0, &mut rng(&address));
            prop_assert_eq!(&none.genotype, &parents[0]);
            prop_assert!(none.replaced.is_empty());
            let all = mix(&space, &parents[0], &parents[1], 1.0, &mut rng(&address));
            prop_assert_eq!(&all.genotype, &parents[1]);
            prop_assert_eq!(all.replaced.len(), space.variables.len());
        }
    }

    #[test]
    fn a_quarter_of_the_variables_is_replaced() {
        let space = super::super::testing::space(&[2; 1000]);
        let parents = initial_population(&space, 2, Initial::Uniform, 1);
        let address = Address { run: 1, generation: 1, member: None, purpose: "mix" };
        let replaced = mix(&space, &parents[0], &parents[1], 0.25, &mut rng(&address)).replaced.len();
        assert!((200..300).contains(&replaced), "{replaced} of 1000");
    }
}

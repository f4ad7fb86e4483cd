//! Algorithm 2 of the paper: mixing two parents.

use rand::Rng;

use super::{Genotype, Space};

/// The result of mixing two parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixResult {
    pub genotype: Genotype,
    /// Variables whose value and weights come from the donor, in the order of the space; including those for which
    /// both parents have the same value, since their weights are replaced too.
    pub replaced: Vec<String>,
}

/// Copies the base (the better parent) and replaces each variable by the donor's with probability `p`.
///
/// Both genotypes must belong to the space. Draws one number per variable, whatever its values. A mix that a rule
/// forbids is redrawn, at most 100 times; after that the base is returned unchanged.
pub fn mix(space: &Space, base: &Genotype, donor: &Genotype, p: f64, rng: &mut impl Rng) -> MixResult {
    (0..TRIES)
        .map(|_| draw(space, base, donor, p, rng))
        .find(|mixed| space.allows(&mixed.genotype))
        .unwrap_or_else(|| MixResult { genotype: base.clone(), replaced: Vec::new() })
}

const TRIES: usize = 100;

fn draw(space: &Space, base: &Genotype, donor: &Genotype, p: f64, rng: &mut impl Rng) -> MixResult {
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
    MixResult { genotype, replaced }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ruled_spaces, space};
    use super::super::{Initial, RngKey, Rule, initial_population, rng};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_comes_from_a_parent(space in ruled_spaces(), run: u64, p in 0.0f64..=1.0) {
            let parents = initial_population(&space, 2, Initial::Uniform, run);
            let address = RngKey { run, generation: 1, member: None, purpose: "mix" };
            let mixed = mix(&space, &parents[0], &parents[1], p, &mut rng(&address));
            prop_assert_eq!(space.check_genotype(&mixed.genotype), Ok(()));
            for variable in &space.variables {
                let source = &parents[usize::from(mixed.replaced.contains(&variable.name))];
                prop_assert_eq!(mixed.genotype.get(&variable.name), source.get(&variable.name));
            }
        }

        #[test]
        fn extreme_probabilities_return_a_parent(space in ruled_spaces(), run: u64) {
            let parents = initial_population(&space, 2, Initial::Uniform, run);
            let address = RngKey { run, generation: 1, member: None, purpose: "mix" };
            let none = mix(&space, &parents[0], &parents[1], 0.0, &mut rng(&address));
            prop_assert_eq!(&none.genotype, &parents[0]);
            prop_assert!(none.replaced.is_empty());
            let all = mix(&space, &parents[0], &parents[1], 1.0, &mut rng(&address));
            prop_assert_eq!(&all.genotype, &parents[1]);
            prop_assert_eq!(all.replaced.len(), space.variables.len());
        }
    }

    #[test]
    fn forbidden_mixes_return_the_base() {
        let mut space = space(&[2, 2]);
        let of = |a: &str, b: &str| Genotype::new([("v000".into(), a.into()), ("v001".into(), b.into())]);
        let rule =
            |a: &str, b: &str| Rule::new([("v000".into(), vec![a.into()]), ("v001".into(), vec![b.into()])]);
        space.rules = vec![rule("o0", "o1"), rule("o1", "o0")];
        let address = |run| RngKey { run, generation: 1, member: None, purpose: "mix" };
        let mut both = 0;
        for run in 0..100 {
            // The rules allow to replace both variables or none.
            let mixed = mix(&space, &of("o0", "o0"), &of("o1", "o1"), 0.5, &mut rng(&address(run)));
            assert!(mixed.replaced.is_empty() || mixed.replaced.len() == 2, "{mixed:?}");
            both += mixed.replaced.len() / 2;
        }
        assert!((30..70).contains(&both), "{both}");
        space.rules.push(rule("o1", "o1"));
        let mixed = mix(&space, &of("o0", "o0"), &of("o1", "o1"), 1.0, &mut rng(&address(1)));
        assert_eq!(mixed, MixResult { genotype: of("o0", "o0"), replaced: vec![] });
    }

    #[test]
    fn variables_are_replaced_with_the_given_probability() {
        let space = space(&[2; 1000]);
        let parents = initial_population(&space, 2, Initial::Uniform, 1);
        let address = RngKey { run: 1, generation: 1, member: None, purpose: "mix" };
        let replaced = mix(&space, &parents[0], &parents[1], 0.25, &mut rng(&address)).replaced.len();
        assert!((200..300).contains(&replaced), "{replaced} of 1000");
    }
}

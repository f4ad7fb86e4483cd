//! Initial populations.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Address, Domain, Genotype, MemberId, Space, rng};

/// Architectures that are drawn for a member until the rules allow one. More than [`Space::check`] needs to find
/// one: who passed it hardly ever comes to the end of these.
const TRIES: usize = 10_000;

/// How the first population is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// Each variable's options are dealt out evenly over the population and shuffled, as the paper's
    /// published code does: every option is there as often as any other, give or take one. In each of N equal
    /// parts of a range, in its scale, lies the number of one member.
    Balanced,
    /// Each value is drawn independently (the paper's Algorithm 1, line 1, read literally).
    Uniform,
}

/// `size` genotypes of a space.
///
/// A member that a rule forbids is drawn again, all its values uniformly, until it is allowed; so what rules forbid
/// is missing from an even distribution, and nothing else is changed.
pub fn initial_population(space: &Space, size: usize, how: Initial, run: u64) -> Vec<Genotype> {
    let mut genotypes = vec![Genotype::new([]); size];
    for variable in &space.variables {
        let purpose = format!("initial {}", variable.name);
        let mut rng = rng(&Address { run, generation: 0, member: None, purpose: &purpose });
        let values = match (how, &variable.domain) {
            (Initial::Uniform, _) => (0..size).map(|_| variable.draw(&mut rng)).collect(),
            (Initial::Balanced, Domain::Choice { options, .. }) => dealt_out(options, size, &mut rng),
            (Initial::Balanced, Domain::Range(range)) => {
                let mut values = range.stratified(size, &mut rng);
                values.shuffle(&mut rng);
                values.into_iter().map(|value| range.text(value)).collect()
            }
        };
        for (genotype, value) in genotypes.iter_mut().zip(values) {
            genotype.set(&variable.name, &value);
        }
    }
    for (genotype, id) in genotypes.iter_mut().zip(0..) {
        if !space.allows(genotype)
            && let Some(allowed) = draw_allowed(space, run, MemberId(id))
        {
            *genotype = allowed;
        }
    }
    genotypes
}

/// Each option as often as any other.
fn dealt_out(options: &[String], size: usize, rng: &mut impl Rng) -> Vec<String> {
    let count = options.len();
    let dealt = size / count * count;
    let mut values: Vec<usize> = (0..dealt).map(|i| i % count).collect();
    // The remainder is drawn without replacement, so that no option is there twice more than another.
    let mut rest: Vec<usize> = (0..count).collect();
    rest.shuffle(rng);
    values.extend(rest.into_iter().take(size - dealt));
    values.shuffle(rng);
    values.into_iter().map(|value| options[value].clone()).collect()
}

/// An architecture that the rules allow, for one member. If they allow next to nothing, the one that
/// [`Space::check`] has found; there is one if it found any.
fn draw_allowed(space: &Space, run: u64, member: MemberId) -> Option<Genotype> {
    let mut rng = rng(&Address { run, generation: 0, member: Some(member), purpose: "initial again" });
    let drawn = (0..TRIES).map(|_| space.draw(&mut rng)).find(|genotype| space.allows(genotype));
    drawn.or_else(|| space.some_allowed())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ranges, ruled_spaces, space, spaces};
    use super::super::{Rule, Variable};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn balanced_deals_options_evenly(space in spaces(), size in 1usize..40, run: u64) {
            let population = initial_population(&space, size, Initial::Balanced, run);
            prop_assert_eq!(population.len(), size);
            for variable in &space.variables {
                let counts: Vec<usize> = variable.options().iter().map(|option| {
                    population.iter().filter(|g| g.get(&variable.name) == Some(option)).count()
                }).collect();
                let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                prop_assert!(max - min <= 1, "{:?}", counts);
            }
        }

        #[test]
        fn balanced_puts_one_number_into_each_part_of_a_range(range in ranges(), size in 1usize..20, run: u64) {
            let space = Space::new(vec![Variable::range("r", range)]);
            let population = initial_population(&space, size, Initial::Balanced, run);
            let mut values: Vec<f64> = population.iter().map(|g| g.number("r").unwrap()).collect();
            values.sort_by(f64::total_cmp);
            let slack = 1e-9 * (range.low().abs() + range.high().abs());
            for (part, value) in values.iter().enumerate() {
                let bound = |at: usize| range.at(at as f64 / size as f64);
                prop_assert!(bound(part) - slack <= *value && *value <= bound(part + 1) + slack);
            }
        }

        #[test]
        fn both_are_valid_and_deterministic(space in ruled_spaces(), size in 1usize..20, run: u64) {
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
    fn only_what_is_forbidden_is_drawn_again() {
        let mut space = space(&[3, 3, 3]);
        let free = initial_population(&space, 60, Initial::Balanced, 7);
        space.rules = vec![Rule::new([
            ("v000".into(), vec!["o0".into(), "o1".into()]),
            ("v002".into(), vec!["o2".into()]),
        ])];
        let ruled = initial_population(&space, 60, Initial::Balanced, 7);
        let redrawn = free.iter().zip(&ruled).filter(|(free, ruled)| free != ruled).count();
        assert_eq!(redrawn, free.iter().filter(|genotype| !space.allows(genotype)).count());
        assert!((5..25).contains(&redrawn), "{redrawn}");
        assert!(ruled.iter().all(|genotype| space.allows(genotype)));
        // They do not all become the same one.
        let different: std::collections::BTreeSet<_> =
            free.iter().zip(&ruled).filter(|(free, ruled)| free != ruled).map(|(_, ruled)| ruled).collect();
        assert!(different.len() > redrawn / 2, "{} of {redrawn}", different.len());
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

//! Drawing the initial population.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Domain, Genotype, MemberId, RngKey, Space, rng};

/// Attempts to draw an allowed architecture for a member: more than [`Space::check`] makes, so a checked space hardly
/// ever exhausts them.
const TRIES: usize = 10_000;

/// How the first population is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// Deal each variable's options evenly over the population, draw the remainder at random and shuffle all, as the
    /// paper's published code does: each option is dealt at least floor(N / options) times. Ranges are stratified: each of N parts, equal in
    /// the range's scale, provides one number.
    Balanced,
    /// Draw each value independently (the paper's Algorithm 1, line 1, taken literally).
    Uniform,
}

/// Draws `size` genotypes.
///
/// If a rule forbids a genotype, all its values are redrawn uniformly until the rules allow it; the other genotypes
/// stay as drawn.
pub fn initial_population(space: &Space, size: usize, how: Initial, run: u64) -> Vec<Genotype> {
    let mut genotypes = vec![Genotype::new([]); size];
    for variable in &space.variables {
        let purpose = format!("initial {}", variable.name);
        let mut rng = rng(&RngKey { run, generation: 0, member: None, purpose: &purpose });
        let values = match (how, &variable.domain) {
            (Initial::Uniform, _) => (0..size).map(|_| variable.draw(&mut rng)).collect(),
            (Initial::Balanced, Domain::Choice { options, .. }) => balanced_options(options, size, &mut rng),
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

/// Options in random order: each equally often, and a remainder that is drawn with replacement.
fn balanced_options(options: &[String], size: usize, rng: &mut impl Rng) -> Vec<String> {
    let count = options.len();
    let dealt = size / count * count;
    let mut values: Vec<usize> = (0..dealt).map(|i| i % count).collect();
    values.extend((dealt..size).map(|_| rng.random_range(0..count)));
    values.shuffle(rng);
    values.into_iter().map(|value| options[value].clone()).collect()
}

/// Draws a genotype that the rules allow. If they allow hardly any, falls back to the one that [`Space::check`] found.
fn draw_allowed(space: &Space, run: u64, member: MemberId) -> Option<Genotype> {
    let mut rng = rng(&RngKey { run, generation: 0, member: Some(member), purpose: "initial again" });
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
                prop_assert_eq!(counts.iter().sum::<usize>(), size);
                prop_assert!(counts.iter().all(|&count| count >= size / counts.len()), "{:?}", counts);
            }
        }

        #[test]
        fn balanced_stratifies_ranges(range in ranges(), size in 1usize..20, run: u64) {
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
        fn populations_are_valid_and_deterministic(space in ruled_spaces(), size in 1usize..20, run: u64) {
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
    fn only_forbidden_members_are_redrawn() {
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
        // The replacements differ from each other.
        let different: std::collections::BTreeSet<_> =
            free.iter().zip(&ruled).filter(|(free, ruled)| free != ruled).map(|(_, ruled)| ruled).collect();
        assert!(different.len() > redrawn / 2, "{} of {redrawn}", different.len());
    }

    /// With 5 members and 3 options, the remainder of 2 is one option twice in a third of all populations.
    #[test]
    fn remainder_of_balanced_is_drawn_with_replacement() {
        let space = space(&[3]);
        let populations = 3000;
        let twice = (0..populations).filter(|&run| {
            let population = initial_population(&space, 5, Initial::Balanced, run);
            let count = |option| population.iter().filter(|g| g.get("v000") == Some(option)).count();
            ["o0", "o1", "o2"].into_iter().any(|option| count(option) == 3)
        });
        let share = twice.count() as f64 / populations as f64;
        assert!((share - 1.0 / 3.0).abs() < 0.04, "{share}");
    }

    #[test]
    fn uniform_draws_are_independent() {
        // An exactly even split of all variables is practically impossible with 999 members and 3 options.
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

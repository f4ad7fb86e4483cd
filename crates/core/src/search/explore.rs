//! Explore, as in Population Based Training (Jaderberg et al., 2017): an offspring's hyperparameters are changed after
//! they were copied.
//!
//! A linear range may contain zero and negative numbers. Factors never change the sign, and only resampling changes
//! zero.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{Genotype, Range, Space};

/// Parameters of explore.
#[derive(Debug, Clone, PartialEq)]
pub struct Explore {
    /// Probability of drawing a new number from the range.
    pub resample_probability: f64,
    /// Otherwise the number is multiplied by one of these, chosen uniformly.
    pub perturb_factors: Vec<f64>,
}

impl Explore {
    /// Resamples a number, or multiplies it and clamps the product to the range. An integer that a factor changes by
    /// less than 0.5 moves by one.
    pub fn value(&self, range: &Range, value: f64, rng: &mut impl Rng) -> f64 {
        if rng.random::<f64>() < self.resample_probability {
            return range.draw(rng);
        }
        let factor = self.perturb_factors.choose(rng).copied().unwrap_or(1.0);
        let wanted = value * factor;
        let found = range.nearest(wanted);
        match range.is_integer() && found == value {
            true if wanted > value => range.nearest(value + 1.0),
            true if wanted < value => range.nearest(value - 1.0),
            _ => found,
        }
    }

    /// Like [`Explore::value`], but never returns `value` itself.
    pub(super) fn other(&self, range: &Range, value: f64, rng: &mut impl Rng) -> f64 {
        for _ in 0..OTHER_TRIES {
            let found = self.value(range, value, rng);
            if found != value {
                return found;
            }
        }
        // At a bound or at zero, factors alone may not change the number.
        let drawn = range.draw(rng);
        match drawn != value {
            true => drawn,
            false if value == range.low() => range.high(),
            false => range.low(),
        }
    }
}

const OTHER_TRIES: usize = 16;

/// Explores every hyperparameter of a genotype; returns the names of those that changed, in the order of the space.
pub fn explore(space: &Space, explore: &Explore, genotype: &mut Genotype, rng: &mut impl Rng) -> Vec<String> {
    let mut changed = Vec::new();
    for (name, range) in space.ranges() {
        let Some(before) = genotype.get(name).and_then(|text| range.parse(text)) else { continue };
        let after = explore.value(range, before, rng);
        if after != before {
            genotype.set(name, &range.text(after));
            changed.push(name.to_owned());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ranges, ruled_spaces};
    use super::super::{Initial, RngKey, Scale, initial_population, rng};
    use super::*;
    use proptest::prelude::*;
    use rand::Rng;

    fn stream(run: u64) -> impl Rng {
        rng(&RngKey { run, generation: 1, member: None, purpose: "explore" })
    }

    fn perturb(factors: &[f64]) -> Explore {
        Explore { resample_probability: 0.0, perturb_factors: factors.to_vec() }
    }

    proptest! {
        #[test]
        fn value_is_multiplied_and_clamped(range in ranges(), run: u64) {
            let (rng, explore) = (&mut stream(run), perturb(&[0.8, 1.2]));
            let before = range.draw(rng);
            let after = explore.value(&range, before, rng);
            prop_assert!(range.parse(&range.text(after)).is_some());
            let is_step = |factor: f64| {
                let wanted = before * factor;
                let step = match range.is_integer() {
                    true if wanted.round() == before => before + (wanted - before).signum(),
                    true => wanted.round(),
                    false => wanted,
                };
                after == step.clamp(range.low(), range.high())
            };
            prop_assert!(before == 0.0 && after == 0.0 || is_step(0.8) || is_step(1.2), "{} {}", before, after);
        }

        #[test]
        fn other_returns_a_different_value(range in ranges(), run: u64, part in 0.0f64..=1.0, p in 0.0f64..=1.0) {
            for factors in [vec![1.0], vec![0.8, 1.2], vec![2.0]] {
                let explore = Explore { resample_probability: p, perturb_factors: factors };
                for value in [range.at(part), range.low(), range.high()] {
                    let other = explore.other(&range, value, &mut stream(run));
                    prop_assert!(other != value && range.parse(&range.text(other)).is_some());
                }
            }
        }

        #[test]
        fn only_the_named_ranges_change(space in ruled_spaces(), run: u64) {
            let parent = initial_population(&space, 1, Initial::Uniform, run).remove(0);
            let mut child = parent.clone();
            let settings = Explore { resample_probability: 0.25, perturb_factors: vec![0.8, 1.2] };
            let changed = explore(&space, &settings, &mut child, &mut stream(run));
            prop_assert_eq!(space.check_genotype(&child), Ok(()));
            prop_assert!(space.same_architecture(&parent, &child));
            for variable in &space.variables {
                let is_changed = parent.get(&variable.name) != child.get(&variable.name);
                prop_assert_eq!(is_changed, changed.contains(&variable.name));
            }
        }
    }

    #[test]
    fn values_are_resampled_with_the_given_probability() {
        let range = Range::new(1e-4, 1e-1, Scale::Log, false).unwrap();
        let explore = Explore { resample_probability: 0.25, perturb_factors: vec![0.8, 1.2] };
        let mut rng = stream(1);
        let draws: Vec<f64> = (0..4000).map(|_| explore.value(&range, 1e-2, &mut rng)).collect();
        let share = |wanted: f64| draws.iter().filter(|&&v| v == wanted).count() as f64 / draws.len() as f64;
        assert!((share(1e-2 * 0.8) - 0.375).abs() < 0.03);
        assert!((share(1e-2 * 1.2) - 0.375).abs() < 0.03);
    }

    #[test]
    fn integers_move_by_at_least_one_and_zero_stays() {
        let whole = Range::new(-2.0, 8.0, Scale::Linear, true).unwrap();
        let step = |value: f64, factor: f64| perturb(&[factor]).value(&whole, value, &mut stream(1));
        assert_eq!((step(1.0, 1.2), step(1.0, 0.8), step(5.0, 1.2), step(8.0, 1.2)), (2.0, 0.0, 6.0, 8.0));
        assert_eq!((step(-1.0, 1.2), step(-1.0, 0.8), step(-2.0, 1.2)), (-2.0, 0.0, -2.0));
        assert_eq!((step(0.0, 1.2), step(3.0, 1.0)), (0.0, 3.0));
    }
}

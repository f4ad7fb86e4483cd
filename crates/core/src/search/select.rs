//! Truncation selection: the best members are parents, the worst are replaced.

use std::cmp::Ordering;

/// Positions in the ranked population.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Best first.
    pub best: Vec<usize>,
    /// In order of position.
    pub worst: Vec<usize>,
}

/// The rule that selects; its parameters are keys of `[search]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectionRule {
    /// Fraction of the population that is replaced, and fraction from which parents are drawn.
    pub tau: f64,
}

impl SelectionRule {
    /// floor(N * tau), the number of parents and of replaced members (facts of the paper's code).
    ///
    /// A product just below an integer through rounding alone (0.29 * 100) counts as that integer.
    pub fn count(self, population: usize) -> usize {
        (population as f64 * self.tau + 1e-9).floor() as usize
    }

    /// The best and the worst floor(N * tau) members. Members without fitness or with NaN are never among the best.
    pub fn select(self, fitness: &[Option<f64>]) -> Selection {
        let order = rank(fitness);
        let count = self.count(fitness.len());
        let usable = |&i: &usize| fitness[i].is_some_and(|f| !f.is_nan());
        let best = order.iter().copied().filter(usable).take(count).collect();
        let mut worst: Vec<usize> = order.iter().rev().copied().take(count).collect();
        worst.sort_unstable();
        Selection { best, worst }
    }
}

/// Positions from best to worst. Higher fitness is better; ties keep their order; `None` (failed) and NaN come last.
pub fn rank(fitness: &[Option<f64>]) -> Vec<usize> {
    let usable = |i: usize| fitness[i].filter(|f| !f.is_nan());
    let mut order: Vec<usize> = (0..fitness.len()).collect();
    order.sort_by(|&a, &b| match (usable(a), usable(b)) {
        (Some(a), Some(b)) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_match_the_paper() {
        assert_eq!(SelectionRule { tau: 0.25 }.count(24), 6);
        assert_eq!(SelectionRule { tau: 0.25 }.count(12), 3);
        assert_eq!(SelectionRule { tau: 0.25 }.count(10), 2);
        assert_eq!(SelectionRule { tau: 0.29 }.count(100), 29);
        assert_eq!(SelectionRule { tau: 0.25 }.count(3), 0);
    }

    #[test]
    fn ties_keep_their_order_and_failures_come_last() {
        let fitness = [None, Some(1.0), Some(f64::NAN), Some(2.0), Some(1.0), Some(f64::NEG_INFINITY)];
        assert_eq!(rank(&fitness), [3, 1, 4, 5, 0, 2]);
        let selection = SelectionRule { tau: 0.34 }.select(&fitness);
        assert_eq!(selection.best, [3, 1]);
        assert_eq!(selection.worst, [0, 2]);
    }

    proptest! {
        #[test]
        fn the_best_are_no_worse_than_the_worst(
            fitness in prop::collection::vec(prop::option::of(-5i32..5), 1..40), tau in 0.0f64..=0.5,
        ) {
            let fitness: Vec<Option<f64>> = fitness.into_iter().map(|f| f.map(f64::from)).collect();
            let rule = SelectionRule { tau };
            let selection = rule.select(&fitness);
            prop_assert_eq!(selection.worst.len(), rule.count(fitness.len()));
            prop_assert!(selection.best.len() <= selection.worst.len());
            for &best in &selection.best {
                prop_assert!(!selection.worst.contains(&best));
                for &worst in &selection.worst {
                    prop_assert!(fitness[best] >= fitness[worst]);
                }
            }
        }
    }
}

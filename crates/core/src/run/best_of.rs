//! The choice of a run's best member.

use serde::{Deserialize, Serialize};

/// The generations whose best member counts as that of the run: for `best`, soups, comparisons and tests (facts: What
/// is reported).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestOf {
    /// All: the best member ever, as in the paper's GAN experiments.
    AllGenerations,
    /// The last one in which a member has a fitness, as in the paper's RL experiments.
    LastGeneration,
}

impl BestOf {
    /// Whether the best fitness of a generation counts instead of the fitness that counted before it.
    pub fn replaces(self, fitness: f64, before: Option<f64>) -> bool {
        match self {
            Self::AllGenerations => before.is_none_or(|before| fitness > before),
            Self::LastGeneration => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fitness that counts after each generation.
    fn counting(of: BestOf, generations: &[Option<f64>]) -> Vec<Option<f64>> {
        let step = |best: &mut Option<f64>, fitness: &Option<f64>| {
            *best = fitness.filter(|&fitness| of.replaces(fitness, *best)).or(*best);
            Some(*best)
        };
        generations.iter().scan(None, step).collect()
    }

    #[test]
    fn best_ever_never_falls_and_the_last_may() {
        let generations = [None, Some(2.0), Some(1.0), None, Some(3.0), Some(3.0)];
        let ever = [None, Some(2.0), Some(2.0), Some(2.0), Some(3.0), Some(3.0)];
        let last = [None, Some(2.0), Some(1.0), Some(1.0), Some(3.0), Some(3.0)];
        assert_eq!(counting(BestOf::AllGenerations, &generations), ever);
        assert_eq!(counting(BestOf::LastGeneration, &generations), last);
    }
}

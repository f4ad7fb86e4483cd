//! Curves of the best fitness: so far, or of each generation where the last one counts.

use anyhow::Result;

use super::{ComparedRun, Comparison, Conventions};
use crate::report::statistics::mean;
use pbtnas_engine::run::Run;

/// The curve of a variant in a setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub variant: String,
    /// Generations in which every run has a value.
    pub points: Vec<PlotPoint>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlotPoint {
    pub epoch: f64,
    pub mean: f64,
    /// Standard deviation over runs; 0 for a single run.
    pub deviation: f64,
}

/// The curves of a setting, in the order of the variants.
pub fn curves(comparison: &Comparison, inputs: &[ComparedRun], setting: &str) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for variant in &comparison.variants {
        let here = comparison.runs.iter().zip(inputs);
        let runs = here
            .filter(|(values, _)| values.setting == setting && values.variant == variant.label)
            .map(|(_, input)| best_fitness(&input.run, input.generation))
            .collect::<Result<Vec<_>>>()?;
        let points = average(comparison.conventions, &runs);
        if !points.is_empty() {
            curves.push(Curve { variant: variant.label.clone(), points });
        }
    }
    Ok(curves)
}

/// For each generation, its last epoch and the fitness of the member that counts as the best one after it.
fn best_fitness(run: &Run, last: u32) -> Result<Vec<(u32, Option<f64>)>> {
    let mut best: Option<f64> = None;
    let mut values = Vec::new();
    for generation in 0..=last {
        let plan = run.plan(generation)?;
        let results = run.results(generation)?;
        // Supernets are not architectures.
        let networks = plan.members.iter().zip(results).filter(|(member, _)| !member.genotype.is_supernet());
        let fittest = networks.filter_map(|(_, result)| result?.fitness()).reduce(f64::max);
        best = fittest.filter(|&fitness| run.terms.best_of.replaces(fitness, best)).or(best);
        values.push((plan.to_epoch, best));
    }
    Ok(values)
}

/// Mean and deviation where every run has a value, since the mean would jump if the set of runs changed. Runs of a
/// variant have the same generations.
fn average(conventions: Conventions, runs: &[Vec<(u32, Option<f64>)>]) -> Vec<PlotPoint> {
    let length = runs.iter().map(Vec::len).min().unwrap_or(0);
    let point = |generation: usize| {
        let values: Vec<f64> = runs.iter().map(|run| run[generation].1).collect::<Option<_>>()?;
        let deviation = conventions.deviation(&values).unwrap_or(0.0);
        Some(PlotPoint { epoch: f64::from(runs[0][generation].0), mean: mean(&values)?, deviation })
    };
    (0..length).filter_map(point).collect()
}

/// The fitness range of a panel. If the worst quarter of the means would take more than half of the height, the panel
/// starts at the best of them, so that bad first generations do not flatten the rest.
pub fn fitness_range(curves: &[Curve]) -> (f64, f64) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let mut means: Vec<f64> = points().map(|point| point.mean).collect();
    means.sort_unstable_by(f64::total_cmp);
    let top = points().map(|point| point.mean + point.deviation).fold(f64::NEG_INFINITY, f64::max);
    let all = points().map(|point| point.mean - point.deviation).fold(f64::INFINITY, f64::min);
    let better = means.get(means.len() / 4).copied().unwrap_or(all);
    let bottom = if top - all > 2.0 * (top - better) { better } else { all };
    match top - bottom {
        height if height > 0.0 && height.is_finite() => (bottom - 0.05 * height, top + 0.05 * height),
        _ if top.is_finite() => (top - 0.5, top + 0.5),
        _ => (0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_needs_a_value_of_every_run() {
        let first = vec![(2, None), (4, Some(1.0)), (6, Some(5.0))];
        let second = vec![(2, Some(0.0)), (4, Some(3.0))];
        let points = average(Conventions::Usual, &[first.clone(), second]);
        assert_eq!(points, [PlotPoint { epoch: 4.0, mean: 2.0, deviation: 2.0_f64.sqrt() }]);
        assert_eq!(average(Conventions::Usual, &[first]).len(), 2);
        assert_eq!(average(Conventions::Usual, &[]), []);
    }

    fn curve(means: &[f64]) -> Curve {
        let points =
            means.iter().zip(1..).map(|(&mean, e)| PlotPoint { epoch: f64::from(e), mean, deviation: 0.0 });
        Curve { variant: "v".into(), points: points.collect() }
    }

    #[test]
    fn a_bad_beginning_does_not_flatten_the_rest() {
        let good: Vec<f64> = (0..19).map(f64::from).collect();
        let (bottom, top) = fitness_range(&[curve(&good)]);
        assert!(bottom < 0.0 && bottom > -1.0 && top > 18.0 && top < 19.0, "{bottom} {top}");
        let bad = [vec![-1000.0, -500.0, -400.0, -300.0, -200.0], good].concat();
        let (bottom, top) = fitness_range(&[curve(&bad)]);
        assert!(bottom < 2.0 && bottom > 0.0 && top > 18.0 && top < 19.0, "{bottom} {top}");
    }

    #[test]
    fn the_range_is_never_empty() {
        assert_eq!(fitness_range(&[curve(&[3.0, 3.0])]), (2.5, 3.5));
        assert_eq!(fitness_range(&[]), (0.0, 1.0));
        let (bottom, top) = fitness_range(&[curve(&[1.0, 2.0, 3.0])]);
        assert!(bottom < 1.0 && top > 3.0);
    }
}

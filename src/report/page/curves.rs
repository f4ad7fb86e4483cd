//! Curves of evaluation metrics, training metrics and hyperparameters.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::chart::{Series, main_line};
use crate::report::history::{Generation, History, Member};
use crate::report::statistics::{mean, quantile};
use pbtnas_core::run::Outcome;
use pbtnas_core::search::{Ancestor, Space};

/// Series by name.
pub type Charts = Vec<(String, Vec<Series>)>;

/// Metrics of evaluations: of the fittest member of each generation, and of the population.
pub fn evaluation_metrics(history: &History) -> Charts {
    let of = |member: &Member| match member.result.as_ref().map(|result| &result.outcome) {
        Some(Outcome::Trained { metrics, .. }) => metrics.clone(),
        _ => BTreeMap::new(),
    };
    let members = history.generations.iter().flat_map(|generation| &generation.members);
    let names: BTreeSet<String> = members.flat_map(|member| of(member).into_keys()).collect();
    let chart = |name: String| {
        let mut best = Series { label: "the fittest".into(), colour: 2, ..Series::default() };
        for generation in &history.generations {
            let value = generation.best().and_then(|(_, member)| of(member).get(&name).copied());
            best.points.extend(value.map(|value| (f64::from(generation.to_epoch), value)));
        }
        let population = population(history, |member| of(member).get(&name).copied());
        (name, vec![population, best])
    };
    names.into_iter().map(chart).collect()
}

/// Metrics of training: along the main line of the best member, and of the population.
pub fn training_metrics(history: &History, best: Option<Ancestor>) -> Charts {
    let members = history.generations.iter().flat_map(|generation| &generation.members);
    let points = members.flat_map(Member::curve);
    let names: BTreeSet<String> = points.flat_map(|point| point.metrics.keys().cloned()).collect();
    let line = main_line(history, best);
    let chart = |name: String| {
        let mut main = Series { label: "lineage of the best member".into(), colour: 2, ..Series::default() };
        for member in line.iter().filter_map(|of| history.member(*of)) {
            for point in member.curve() {
                main.points.extend(point.metrics.get(&name).map(|value| (point.epoch, *value)));
            }
        }
        let of = |member: &Member| {
            let values: Vec<f64> =
                member.curve().iter().filter_map(|point| point.metrics.get(&name).copied()).collect();
            mean(&values)
        };
        (name.clone(), vec![population(history, of), main])
    };
    names.into_iter().map(chart).collect()
}

/// Hyperparameters: along the main line of the best member, and of the population.
pub fn hyperparameters(space: &Space, history: &History, best: Option<Ancestor>) -> Charts {
    let line = main_line(history, best);
    let chart = |name: &str| {
        let mut main = Series { label: "lineage of the best member".into(), colour: 2, ..Series::default() };
        for of in &line {
            let epoch = history.generations.get(of.generation as usize).map(|one| f64::from(one.to_epoch));
            let value = history.member(*of).and_then(|member| member.plan.genotype.number(name));
            main.points.extend(epoch.zip(value));
        }
        (name.to_owned(), vec![population(history, |member| member.plan.genotype.number(name)), main])
    };
    space.ranges().map(|(name, _)| chart(name)).collect()
}

/// Median and quartiles of each generation.
fn population(history: &History, of: impl Fn(&Member) -> Option<f64>) -> Series {
    let mut series = Series { label: "median and quartiles of members".into(), ..Series::default() };
    for generation in &history.generations {
        let mut values: Vec<f64> = generation.members.iter().filter_map(&of).collect();
        values.sort_by(f64::total_cmp);
        let at = |part| quantile(&values, part);
        if let (Some(low), Some(middle), Some(high)) = (at(0.25), at(0.5), at(0.75)) {
            let epoch = end(generation);
            series.points.push((epoch, middle));
            series.band.push((epoch, low, high));
        }
    }
    series
}

fn end(generation: &Generation) -> f64 {
    f64::from(generation.to_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::testing::{generation, member};
    use pbtnas_core::run::{BestOf, CurvePoint};

    #[test]
    fn evaluation_metrics_of_the_fittest_and_the_population() {
        let members = (0..5).map(|id| member(id, Some(f64::from(id)))).chain([member(5, None)]);
        let history = History { generations: vec![generation(0, members.collect())] };
        let charts = evaluation_metrics(&history);
        assert_eq!(charts.len(), 1);
        let (name, series) = &charts[0];
        assert_eq!((name.as_str(), &series[1].points[..]), ("quality", &[(2.0, 4.0)][..]));
        assert_eq!((series[0].points[0], series[0].band[0]), ((2.0, 2.0), (2.0, 1.0, 3.0)));
    }

    #[test]
    fn training_metrics_follow_the_main_line() {
        let point = |epoch, loss| CurvePoint { epoch, metrics: [("loss".to_owned(), loss)].into() };
        let mut members = vec![member(0, Some(1.0)), member(1, Some(2.0))];
        for (member, losses) in members.iter_mut().zip([[1.0, 3.0], [5.0, 7.0]]) {
            let Some(Outcome::Trained { curve, .. }) =
                member.result.as_mut().map(|result| &mut result.outcome)
            else {
                panic!("no result")
            };
            *curve = vec![point(0.5, losses[0]), point(2.0, losses[1])];
        }
        let history = History { generations: vec![generation(0, members)] };
        let best = history.best(BestOf::AllGenerations).map(|(of, _)| of);
        let charts = training_metrics(&history, best);
        assert_eq!(charts[0].0, "loss");
        assert_eq!(charts[0].1[1].points, [(0.5, 5.0), (2.0, 7.0)]);
        assert_eq!(charts[0].1[0].points, [(2.0, 4.0)]);
    }
}

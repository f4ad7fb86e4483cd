//! The chart of `pbtnas compare --plot`.

use anyhow::Result;

use super::curve::{Curve, curves, fitness_range};
use super::{ComparedRun, Comparison};
use crate::report::chart::{Lines, Series, Svg, lines};
use pbtnas_core::run::BestOf;

/// Width and height of a panel without its key.
const PANEL: (f64, f64) = (640.0, 400.0);

/// The best fitness (so far, or of each generation) over epochs: one panel per setting, one line per variant (mean over seeds) with a band of
/// one standard deviation.
pub fn plot(comparison: &Comparison, inputs: &[ComparedRun]) -> Result<Svg> {
    let several = comparison.settings.len() > 1;
    let labels: Vec<&str> = comparison.variants.iter().map(|variant| variant.label.as_str()).collect();
    let mut panels = Vec::new();
    for setting in &comparison.settings {
        let title = if several { setting.label.as_str() } else { "" };
        let here = comparison.runs.iter().zip(inputs).filter(|(values, _)| values.setting == setting.label);
        let up = label(here.map(|(_, input)| input.run.terms.best_of));
        panels.push(panel(title, up, &curves(comparison, inputs, &setting.label)?, &labels));
    }
    let columns = panels.len().clamp(1, 2);
    let height = panels.iter().map(|panel| panel.size().1).fold(0.0, f64::max);
    let mut all = Svg::new(PANEL.0 * columns as f64, height * panels.len().div_ceil(columns) as f64);
    for (index, panel) in panels.iter().enumerate() {
        all.place(panel, (PANEL.0 * (index % columns) as f64, height * (index / columns) as f64));
    }
    Ok(all)
}

/// The label of the fitness axis of runs whose best members are chosen so.
fn label(best_of: impl Iterator<Item = BestOf>) -> &'static str {
    let best_of: Vec<BestOf> = best_of.collect();
    match [BestOf::AllGenerations, BestOf::LastGeneration].map(|one| best_of.contains(&one)) {
        [true, false] => "best fitness so far",
        [false, true] => "best fitness of each generation",
        _ => "best fitness",
    }
}

fn panel(title: &str, up: &str, curves: &[Curve], labels: &[&str]) -> Svg {
    let series = |curve: &Curve| Series {
        label: curve.variant.clone(),
        // The same in every panel.
        colour: labels.iter().position(|label| *label == curve.variant).unwrap_or(0),
        points: curve.points.iter().map(|point| (point.epoch, point.mean)).collect(),
        band: curve
            .points
            .iter()
            .map(|point| (point.epoch, point.mean - point.deviation, point.mean + point.deviation))
            .collect(),
    };
    let series: Vec<Series> = curves.iter().map(series).collect();
    let range = Some(fitness_range(curves));
    lines(&Lines { title, across: "epoch", up, size: PANEL, range, series: &series })
}

#[cfg(test)]
mod tests {
    use super::super::curve::PlotPoint;
    use super::*;

    #[test]
    fn a_variant_has_its_colour_in_every_panel() {
        let point = |epoch, mean| PlotPoint { epoch, mean, deviation: 0.5 };
        let second = Curve { variant: "<b> & \"c\"".into(), points: vec![point(1.0, 1.0), point(2.0, 2.0)] };
        let text = panel("t", "y", &[second], &["first", "<b> & \"c\""]).file();
        assert!(
            text.contains("class=\"line s1") && text.contains("class=\"band f1") && !text.contains("<b>")
        );
        assert!(!panel("t", "y", &[], &[]).file().contains("NaN"));
    }
}

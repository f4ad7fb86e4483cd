//! Option frequencies of a variable over generations, as stacked areas.

use super::axis::{Axis, ChartFrame};
use super::{Svg, fill, through};

/// Draws the frequencies `parts` of all options per generation, which sum up to 1.
pub fn areas(options: &[String], parts: &[Vec<f64>], (width, height): (f64, f64)) -> Svg {
    let mut svg = Svg::new(width, height);
    let x = Axis { from: 0.0, to: parts.len().max(2) as f64 - 1.0 };
    let frame =
        ChartFrame { bounds: (1.0, 1.0, width - 1.0, height - 1.0), x, y: Axis { from: 0.0, to: 1.0 } };
    let mut below = vec![0.0; parts.len()];
    for (index, option) in options.iter().enumerate() {
        let above: Vec<f64> =
            parts.iter().zip(&below).map(|(parts, below)| below + parts.get(index).unwrap_or(&0.0)).collect();
        if above.iter().zip(&below).all(|(above, below)| above - below < 1e-9) {
            continue;
        }
        // A single generation fills the width.
        let places = |values: &[f64]| -> Vec<(f64, f64)> {
            // The last generation of each pixel is drawn.
            let shown = values.len().div_ceil(width.max(1.0) as usize).max(1);
            let last = values.len().saturating_sub(1);
            let places = (0..).zip(values).filter(|(x, _)| (last - x).is_multiple_of(shown));
            let mut points: Vec<(f64, f64)> = places.map(|(x, y)| frame.at(x as f64, *y)).collect();
            if let &[only] = &points[..] {
                points.push((width - 1.0, only.1));
            }
            points
        };
        let outline: Vec<(f64, f64)> =
            places(&above).into_iter().chain(places(&below).into_iter().rev()).collect();
        let last = parts.last().and_then(|parts| parts.get(index)).copied().unwrap_or_default();
        let title = format!("{option}: {:.0} % in the last generation", last * 100.0);
        let class = format!("area {}", fill(index));
        svg.titled("path", &[("d", &through(outline)), ("class", &class)], &title);
        below = above;
    }
    svg
}

/// Like [`areas`], but a complete chart with title, generations, and a key of the options that occur.
pub fn areas_with_key(title: &str, options: &[String], parts: &[Vec<f64>]) -> Svg {
    const CHART: (f64, f64) = (460.0, 160.0);
    const KEY: f64 = 17.0;
    let occurs = |index: usize| parts.iter().any(|parts| parts.get(index).is_some_and(|part| *part > 0.0));
    let keys: Vec<(usize, &String)> =
        options.iter().enumerate().filter(|(index, _)| occurs(*index)).collect();
    let (left, top) = (40.0, 34.0);
    let height = (CHART.1 + 34.0).max(KEY * keys.len() as f64 + 8.0);
    let mut svg = Svg::new(left + CHART.0 + 260.0, top + height);
    svg.text((left, 20.0), "start", "ink title", title);
    svg.place(&areas(options, parts, CHART), (left, top));
    for (y, text) in [(top + 10.0, "100 %"), (top + CHART.1, "0 %")] {
        svg.text((left - 4.0, y), "end", "soft tiny", text);
    }
    let foot = top + CHART.1 + 16.0;
    svg.text((left, foot), "start", "soft", "generation 0");
    svg.text((left + CHART.0, foot), "end", "soft", &parts.len().saturating_sub(1).to_string());
    for (row, (index, option)) in keys.into_iter().enumerate() {
        let (x, y) = (left + CHART.0 + 16.0, top + KEY * row as f64);
        svg.rectangle((x, y), (11.0, 11.0), &format!("area {}", fill(index)), option);
        svg.text((x + 17.0, y + 10.0), "start", "ink", option);
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_never_occur_are_left_out() {
        let options: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let parts = [vec![0.5, 0.0, 0.5], vec![1.0, 0.0, 0.0]];
        let text = areas(&options, &parts, (200.0, 60.0)).file();
        assert!(text.contains("area f0") && text.contains("area f2") && !text.contains("area f1"));
        assert!(text.contains("a: 100 % in the last generation"));
        assert!(areas(&options, &parts[..1], (200.0, 60.0)).file().contains("L199 "));
        assert!(!areas(&options, &[], (200.0, 60.0)).file().contains("area f0"));
        let whole = areas_with_key("layer", &options, &parts).file();
        assert!(
            whole.contains(">layer</text>") && whole.contains(">c</text>") && !whole.contains(">b</text>")
        );
    }
}

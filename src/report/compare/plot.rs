//! Curves of the best fitness so far, as an SVG.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curve::{Curve, curves, fitness_range, not_below};
use super::{Comparison, Entrant};

/// Okabe and Ito's colours, which the colour-blind can tell apart too; without the yellow, too light for a line.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];
const GREY: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(225, 225, 225);

// The library rounds positions to whole units: a unit is half of what a screen shows, and lines stay smooth.
const PANEL: (u32, u32) = (1280, 800);
const MARGIN: u32 = 24;
const FONT: u32 = 34;
/// Stretches and gaps of lines, the first unbroken: lines that lie on each other remain visible, without colours too.
const DASHES: [Option<(u32, u32)>; 4] = [None, Some((26, 14)), Some((8, 12)), Some((44, 12))];
const LEGEND_LINE: u32 = 52;
const LEGEND_SAMPLE: i32 = 72;
/// Curves of at most so many points show each of them.
const MARKED_POINTS: usize = 40;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The best fitness so far over the epochs: a panel for each setting, a line for each variant (the mean over its
/// seeds) and a shade of one standard deviation to both sides.
pub fn plot(comparison: &Comparison, entrants: &[Entrant]) -> Result<String> {
    let panels = comparison.settings.len();
    let columns = panels.min(2);
    let rows = panels.div_ceil(columns.max(1));
    let width = PANEL.0 * columns as u32;
    let labels: Vec<&str> = comparison.variants.iter().map(|variant| variant.label.as_str()).collect();
    let legend = legend_places(&labels, width);
    let height = PANEL.1 * rows as u32 + legend.last().map_or(0, |place| place.1 as u32) + LEGEND_LINE;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (above, below) = root.split_vertically(PANEL.1 * rows as u32);
        for (area, setting) in above.split_evenly((rows, columns)).iter().zip(&comparison.settings) {
            let title = (panels > 1).then_some(setting.label.as_str());
            panel(area, title, &curves(comparison, entrants, &setting.label)?, &labels)?;
        }
        for (index, (label, place)) in labels.iter().zip(legend).enumerate() {
            let (left, right, y) = (place.0, place.0 + LEGEND_SAMPLE, place.1);
            below.draw(&Rectangle::new([(left, y - 14), (right, y + 14)], shade(index).filled()))?;
            below.draw(&line(index, vec![(left, y), (right, y)]))?;
            let style = ("sans-serif", FONT).into_text_style(&below).pos(Pos::new(HPos::Left, VPos::Center));
            below.draw(&Text::new(*label, (right + 16, y), style))?;
        }
        root.present()?;
    }
    Ok(svg)
}

fn panel(area: &Area, title: Option<&str>, curves: &[Curve], labels: &[&str]) -> Result<()> {
    let (bottom, top) = fitness_range(curves);
    let epochs = curves.iter().flat_map(|curve| &curve.points).map(|point| point.epoch);
    let last = epochs.fold(1.0, f64::max);
    let digits = [bottom, top].map(|end| axis_number(end, top - bottom).len()).into_iter().max().unwrap_or(0);
    let mut builder = ChartBuilder::on(area);
    builder.margin(MARGIN).margin_right(2 * MARGIN);
    builder.x_label_area_size(90).y_label_area_size(70 + digits as u32 * FONT / 2);
    if let Some(title) = title {
        builder.caption(title, ("sans-serif", FONT + 6));
    }
    let mut chart = builder.build_cartesian_2d(0.0..last, bottom..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(GREY.stroke_width(2))
        .label_style(("sans-serif", FONT, &GREY))
        .axis_desc_style(("sans-serif", FONT, &BLACK))
        .x_labels(10)
        .y_labels(8)
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { epoch.to_string() } else { String::new() })
        .y_label_formatter(&|fitness| axis_number(*fitness, top - bottom))
        .x_desc("epoch")
        .y_desc("best fitness so far")
        .draw()?;
    let index_of = |curve: &Curve| labels.iter().position(|label| *label == curve.variant).unwrap_or(0);
    // All shades lie below all lines.
    for curve in curves {
        let points = &curve.points;
        let upper = points.iter().map(|point| (point.epoch, point.mean + point.deviation));
        let lower = points.iter().rev().map(|point| (point.epoch, point.mean - point.deviation));
        let area = not_below(bottom, &upper.chain(lower).collect::<Vec<_>>(), true);
        chart.draw_series([Polygon::new(area, shade(index_of(curve)).filled())])?;
    }
    for curve in curves {
        let index = index_of(curve);
        let means: Vec<(f64, f64)> = curve.points.iter().map(|point| (point.epoch, point.mean)).collect();
        if means.len() <= MARKED_POINTS {
            let shown = means.iter().filter(|point| point.1 >= bottom);
            let circle = |point: &(f64, f64)| Circle::new(*point, 7, colour(index).filled());
            chart.draw_series(shown.map(circle))?;
        }
        chart.draw_series([line(index, not_below(bottom, &means, false))])?;
    }
    Ok(())
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn shade(index: usize) -> RGBAColor {
    colour(index).mix(0.15)
}

/// A line in the variant's colour and dashes.
fn line<'b, C: Clone + 'static>(index: usize, points: Vec<C>) -> DynElement<'static, SVGBackend<'b>, C>
where
    PathElement<C>: IntoDynElement<'static, SVGBackend<'b>, C>,
    DashedPathElement<std::vec::IntoIter<C>, u32>: IntoDynElement<'static, SVGBackend<'b>, C>,
{
    let style = colour(index).stroke_width(5);
    match DASHES[index % DASHES.len()] {
        None => PathElement::new(points, style).into_dyn(),
        Some((dash, gap)) => DashedPathElement::new(points, dash, gap, style).into_dyn(),
    }
}

/// As many decimals as tell the numbers of an axis of this length apart.
fn axis_number(value: f64, length: f64) -> String {
    let decimals = (1.0 - length.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if short == "-0" { "0".into() } else { short.to_owned() }
}

/// Where each entry of the legend begins: beside each other as long as they fit, by the usual width of letters.
fn legend_places(labels: &[&str], width: u32) -> Vec<(i32, i32)> {
    let (left, right) = (160, width as i32 - MARGIN as i32);
    let (mut x, mut y) = (left, LEGEND_LINE as i32 / 2);
    let mut places = Vec::new();
    for label in labels {
        let needed = LEGEND_SAMPLE + 16 + label.chars().count() as i32 * FONT as i32 / 2;
        if x > left && x + needed > right {
            (x, y) = (left, y + LEGEND_LINE as i32);
        }
        places.push((x, y));
        x += needed + 48;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_an_axis_are_short_and_told_apart() {
        assert_eq!(["12.5", "12"], [axis_number(12.5, 4.0), axis_number(12.000000001, 4.0)]);
        assert_eq!(["-150", "0"], [axis_number(-150.0, 300.0), axis_number(-1e-9, 300.0)]);
        assert_ne!(axis_number(0.0121, 0.001), axis_number(0.0122, 0.001));
    }

    #[test]
    fn a_legend_that_does_not_fit_a_line_takes_more() {
        let short = legend_places(&["a", "b", "c"], 1280);
        assert!(short.iter().all(|place| place.1 == short[0].1) && short[0].0 < short[1].0);
        let long = "x".repeat(80);
        let places = legend_places(&[&long, &long], 1280);
        assert_eq!(places[0].0, places[1].0);
        assert!(places[0].1 < places[1].1);
    }

    #[test]
    fn a_panel_takes_any_name_and_any_curve() {
        use super::super::curve::Point;
        let point = |epoch: u32, mean| Point { epoch: f64::from(epoch), mean, deviation: 0.5 };
        let odd = "<b> & \"c\"";
        let all = [
            Curve { variant: odd.into(), points: vec![point(1, -1e6), point(2, -2.0), point(3, 1.0)] },
            Curve { variant: "one point".into(), points: vec![point(1, 0.0)] },
        ];
        for curves in [&all[..], &all[1..], &[]] {
            let mut svg = String::new();
            {
                let area = SVGBackend::with_string(&mut svg, PANEL).into_drawing_area();
                panel(&area, Some(odd), curves, &[odd, "one point"]).unwrap();
                area.present().unwrap();
            }
            assert!(svg.contains("&lt;b&gt; &amp;") && !svg.contains("<b>") && !svg.contains("NaN"), "{svg}");
        }
    }
}

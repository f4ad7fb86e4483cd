//! The fitness of all members over epochs, with lines from parents to children.

use std::collections::BTreeSet;

use super::axis::{Axis, ChartFrame};
use super::lines::{Lines, Series, lines};
use super::{Svg, short};
use crate::report::history::{Generation, History, Member};
use crate::report::statistics::quantile;
use pbtnas_core::search::{Ancestor, Origin, base_lineage};

/// For more members, only the distribution of fitness is drawn.
const DRAWN: usize = 6000;

const MAIN: &str = "f2";
const SURVIVOR: &str = "f7";
const CHILD: &str = "f0";
const RANDOM: &str = "f5";

/// Draws all members; the line of base parents of `best` is thick.
pub fn lineage(history: &History, best: Option<Ancestor>, size: (f64, f64)) -> Svg {
    let members: usize = history.generations.iter().map(|generation| generation.members.len()).sum();
    if members > DRAWN {
        return distribution(history, size);
    }
    let (width, height) = size;
    let mut svg = Svg::new(width, height + 26.0);
    let frame = frame(history, size);
    svg.text((12.0, 20.0), "start", "ink title", "Fitness and lineage of all members");
    frame.draw(&mut svg, "epoch", "fitness");
    let place = |of: Ancestor| {
        let generation = history.generations.get(of.generation as usize)?;
        let fitness = history.member(of)?.fitness()?;
        Some(frame.at(f64::from(generation.to_epoch), fitness))
    };
    let main = main_line(history, best);
    for generation in &history.generations {
        for member in &generation.members {
            let of = Ancestor { generation: generation.number, member: member.plan.id };
            let Some(there) = place(of) else { continue };
            for (parent, class) in parents(of, &member.plan.origin) {
                if let Some(here) = place(parent) {
                    svg.path([here, there], class);
                }
            }
        }
    }
    svg.path(main.iter().filter_map(|of| place(*of)), "main");
    let members = history.generations.iter().flat_map(|of| of.members.iter().map(move |member| (of, member)));
    let is_main = |generation: &Generation, member: &Member| {
        main.contains(&Ancestor { generation: generation.number, member: member.plan.id })
    };
    // Members of the main line are drawn above the others.
    let (above, below): (Vec<_>, Vec<_>) =
        members.partition(|(generation, member)| is_main(generation, member));
    for (dots, radius) in [(below, 3.2), (above, 4.2)] {
        for (generation, member) in dots {
            let of = Ancestor { generation: generation.number, member: member.plan.id };
            let Some((x, y)) = place(of) else { continue };
            let class = match &member.plan.origin {
                _ if is_main(generation, member) => MAIN,
                Origin::Survivor | Origin::Perturbed | Origin::Derived => SURVIVOR,
                Origin::Random => RANDOM,
                _ => CHILD,
            };
            let from: Vec<String> =
                parents(of, &member.plan.origin).into_iter().map(|(parent, _)| id(parent)).collect();
            svg.titled(
                "circle",
                &[
                    ("cx", &short(x)),
                    ("cy", &short(y)),
                    ("r", &radius),
                    ("class", &format!("mark {class}")),
                    ("data-id", &id(of)),
                    ("data-from", &from.join(" ")),
                ],
                &title(generation, member),
            );
        }
    }
    legend(&mut svg, height);
    svg
}

fn legend(svg: &mut Svg, y: f64) {
    let mut x = 24.0;
    for (line, dot, name) in [
        ("main", Some(MAIN), "lineage of the best member"),
        ("survive", Some(SURVIVOR), "survivor"),
        ("base", Some(CHILD), "child and base parent"),
        ("donor", None, "donor parent"),
        ("", Some(RANDOM), "sampled at random"),
    ] {
        svg.line((x, y + 6.0), (x + 26.0, y + 6.0), line);
        if let Some(dot) = dot {
            let (cx, cy, class) = (x + 13.0, y + 6.0, format!("mark {dot}"));
            svg.element("circle", &[("cx", &cx), ("cy", &cy), ("r", &3.6), ("class", &class)]);
        }
        svg.text((x + 32.0, y + 10.0), "start", "ink", name);
        x += 56.0 + 7.0 * name.len() as f64;
    }
}

fn id(of: Ancestor) -> String {
    format!("{}-{}", of.generation, of.member)
}

fn title(generation: &Generation, member: &Member) -> String {
    let fitness = crate::fmt::fitness(member.fitness());
    format!(
        "member {} of generation {}, epoch {}: fitness {fitness}\n{}",
        member.plan.id,
        generation.number,
        generation.to_epoch,
        crate::report::words::origin(&member.plan.origin)
    )
}

/// The parents of a member with the classes of their lines; the base comes last and is drawn above the donor.
fn parents(of: Ancestor, origin: &Origin) -> Vec<(Ancestor, &'static str)> {
    let Some(generation) = of.generation.checked_sub(1) else { return Vec::new() };
    let base = if origin.is_replacement() { "base" } else { "survive" };
    let parents = origin.parents(of.member).into_iter().map(|member| Ancestor { generation, member });
    parents.zip([base, "donor"]).rev().collect()
}

/// The main line of a member: itself, its base or only parent, and so on, from the oldest.
pub fn main_line(history: &History, of: Option<Ancestor>) -> BTreeSet<Ancestor> {
    let origin = |one| history.member(one).map(|member| member.plan.origin.clone());
    of.into_iter().flat_map(|of| base_lineage(of, origin)).collect()
}

/// A frame for 97 % of the fitness values; lower values are drawn at the bottom.
fn frame(history: &History, (width, height): (f64, f64)) -> ChartFrame {
    let mut values: Vec<f64> = history.generations.iter().flat_map(Generation::fitness).collect();
    values.sort_by(f64::total_cmp);
    let low = values.get((values.len() as f64 * 0.03) as usize).copied();
    let y =
        Axis::holding(values.into_iter().filter(|value| low.is_none_or(|low| *value >= low))).with_room(0.04);
    let last = history.latest().map_or(1, |generation| generation.to_epoch);
    let x = Axis { from: 0.0, to: f64::from(last.max(1)) };
    let bounds = |left| (left, 52.0, width - 16.0, height - 44.0);
    // The ticks that `draw` uses.
    let widest = y
        .ticks(ChartFrame { bounds: bounds(0.0), x, y }.lines_across())
        .iter()
        .map(|tick| tick.1.len())
        .max()
        .unwrap_or(1) as f64;
    ChartFrame { bounds: bounds(18.0 + 7.5 * widest), x, y }
}

/// Best, median and quartiles per generation.
fn distribution(history: &History, size: (f64, f64)) -> Svg {
    let mut best = Series { label: "best".into(), colour: 2, ..Series::default() };
    let mut median = Series { label: "median, quartiles".into(), ..Series::default() };
    for generation in &history.generations {
        let mut values: Vec<f64> = generation.fitness().collect();
        values.sort_by(f64::total_cmp);
        let at = |part| quantile(&values, part);
        let (Some(low), Some(middle), Some(high), Some(top)) = (at(0.25), at(0.5), at(0.75), at(1.0)) else {
            continue;
        };
        let epoch = f64::from(generation.to_epoch);
        best.points.push((epoch, top));
        median.points.push((epoch, middle));
        median.band.push((epoch, low, high));
    }
    let title = "Fitness of the population";
    lines(&Lines { title, across: "epoch", up: "fitness", size, range: None, series: &[best, median] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::history::testing::{generation, member};
    use pbtnas_core::search::MemberId;

    fn mix(id: u32, base: u32, donor: u32, fitness: f64) -> Member {
        let mut child = member(id, Some(fitness));
        let (base, donor) = (MemberId(base), MemberId(donor));
        child.plan.origin = Origin::Mix { base, donor, replaced: vec!["x".into()], explored: Vec::new() };
        child
    }

    fn survivor(id: u32, fitness: Option<f64>) -> Member {
        let mut member = member(id, fitness);
        member.plan.origin = Origin::Survivor;
        member
    }

    fn history() -> History {
        let first =
            [Some(1.0), Some(2.0), None].into_iter().zip(0..).map(|(fitness, id)| member(id, fitness));
        let second = vec![survivor(0, Some(1.5)), survivor(1, Some(2.5)), mix(2, 1, 0, 3.0)];
        History { generations: vec![generation(0, first.collect()), generation(1, second)] }
    }

    #[test]
    fn main_line_follows_base_parents() {
        let of = |generation, member| Ancestor { generation, member: MemberId(member) };
        let line: Vec<Ancestor> = main_line(&history(), Some(of(1, 2))).into_iter().collect();
        assert_eq!(line, [of(0, 1), of(1, 2)]);
    }

    #[test]
    fn members_with_fitness_are_dots_with_parents() {
        let text = lineage(&history(), None, (800.0, 400.0)).file();
        assert_eq!(text.matches("<circle").count(), 5 + 4, "plus the key");
        assert!(text.contains("data-id=\"1-02\" data-from=\"0-00 0-01\""), "{text}");
        assert!(text.contains("member 02 of generation 1, epoch 4: fitness 3.0000"), "{text}");
        assert!(!lineage(&History::default(), None, (800.0, 400.0)).file().contains("NaN"));
    }

    #[test]
    fn large_populations_are_drawn_as_distributions() {
        let members = (0..DRAWN as u32 + 1).map(|id| member(id, Some(f64::from(id)))).collect();
        let history = History { generations: vec![generation(0, members)] };
        let text = lineage(&history, None, (800.0, 400.0)).file();
        assert!(text.matches("<circle").count() == 2 && text.contains("median, quartiles"));
    }
}

//! The lineage of each variable of a network: one row per variable, one column per generation.

use super::{Svg, fill};
use crate::report::lineage::Carrier;
use crate::term::cut_start;

const ROW: f64 = 19.0;
const LABELS: f64 = 230.0;

/// Draws variables with their carriers. The colour stands for the founder, the number in a cell for the member that
/// carried the variable.
pub fn variable_lineage(variables: &[(String, Vec<Carrier>)], generations: u32, width: f64) -> Svg {
    let mut svg = Svg::new(width, 34.0 + ROW * variables.len() as f64 + 20.0);
    let cell = (width - LABELS - 16.0) / f64::from(generations.max(1));
    let place = |generation: u32| LABELS + f64::from(generation) * cell;
    svg.text((LABELS, 16.0), "start", "soft", "generation 0");
    if generations > 1 {
        svg.text((width - 16.0, 16.0), "end", "soft", &(generations - 1).to_string());
    }
    // In order of occurrence.
    let mut founders: Vec<(u32, u32)> = Vec::new();
    for (row, (name, carriers)) in variables.iter().enumerate() {
        let top = 24.0 + ROW * row as f64;
        svg.text((LABELS - 8.0, top + 13.0), "end", "ink tiny", &cut_start(name, 38));
        let Some(first) = carriers.first() else { continue };
        let founder = (first.generation, first.member.0);
        let colour = founders.iter().position(|other| *other == founder).unwrap_or_else(|| {
            founders.push(founder);
            founders.len() - 1
        });
        let same = |one: &Carrier, next: &Carrier| one.member == next.member && one.value == next.value;
        let mut before = None;
        for carried in carriers.chunk_by(same) {
            let (Some(first), Some(last)) = (carried.first(), carried.last()) else { continue };
            let moved = before.is_some_and(|before| before != first.member);
            let generations = match carried.len() {
                1 => format!("generation {}", first.generation),
                _ => format!("generations {} to {}", first.generation, last.generation),
            };
            let title = format!(
                "{name} = {}, carried by member {} of {generations}{}",
                first.value,
                first.member,
                if moved { ", an offspring" } else { "" }
            );
            let (left, right) = (place(first.generation), place(last.generation + 1));
            svg.rectangle((left, top), (right - left, ROW - 2.0), &format!("cell {}", fill(colour)), &title);
            // At the founder, and where the carrier changes.
            let text = first.member.to_string();
            if (moved || before.is_none()) && right - left >= 7.0 * text.len() as f64 {
                svg.text((left.midpoint(right), top + 12.5), "middle", "oncell tiny", &text);
            }
            before = Some(first.member);
        }
    }
    let foot = 24.0 + ROW * variables.len() as f64 + 16.0;
    svg.text(
        (LABELS, foot),
        "start",
        "soft tiny",
        "number: the member that carried the variable from this generation on",
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::search::MemberId;

    #[test]
    fn colours_follow_the_founder() {
        let carrier =
            |generation, member| Carrier { generation, member: MemberId(member), value: "a".into() };
        let variables = [
            ("x".to_owned(), vec![carrier(0, 1), carrier(1, 1), carrier(2, 5)]),
            ("y".to_owned(), vec![carrier(0, 3), carrier(1, 3), carrier(2, 3)]),
            ("lost".to_owned(), vec![]),
        ];
        let text = variable_lineage(&variables, 3, 600.0).file();
        assert_eq!((text.matches("cell f0").count(), text.matches("cell f1").count()), (2, 1));
        assert!(text.contains("x = a, carried by member 01 of generations 0 to 1<"));
        assert!(text.contains("x = a, carried by member 05 of generation 2, an offspring"));
        // Two founders and the offspring.
        assert_eq!(text.matches("oncell tiny").count(), 3);
    }
}

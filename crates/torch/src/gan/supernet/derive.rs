//! Derives an architecture from a supernet.

use anyhow::{Context, Result, bail};

use crate::gan::space::{CELLS, EDGES, UPS};
use crate::nn::names;
use pbtnas_core::search::{Genotype, OptionWeights};

/// Each edge takes its option with the largest weight; ties go to the first option. If that leaves a node without an
/// edge other than "none", the edge whose "none" has the smallest weight takes the best of its other options (facts:
/// AdversarialNAS).
pub fn derive(weights: &OptionWeights) -> Result<Genotype> {
    let (ups, edges) = (names(&UPS), names(&EDGES));
    let mut genotype = Genotype::new([]);
    for cell in 1..=CELLS {
        let variable = |name: &str, index: usize| format!("generator/cell{cell}/{name}{index}");
        for index in 0..2 {
            let up = variable("up", index);
            genotype.set(&up, &ups[best(of(weights, &up, ups.len())?)]);
        }
        // The edges that lead into nodes 2 and 3.
        for into in [&[0, 1][..], &[2, 3, 4]] {
            let all = into.iter().map(|&index| {
                let edge = variable("c", index);
                let weights = of(weights, &edge, edges.len())?;
                Ok((edge, weights))
            });
            let all = all.collect::<Result<Vec<_>>>()?;
            let mut taken: Vec<usize> = all.iter().map(|(_, weights)| best(weights)).collect();
            if taken.iter().all(|&option| edges[option] == NONE) {
                let nones: Vec<f64> = all.iter().map(|(_, weights)| -weights[0]).collect();
                let chosen = best(&nones);
                taken[chosen] = 1 + best(&all[chosen].1[1..]);
            }
            for ((edge, _), option) in all.iter().zip(taken) {
                genotype.set(edge, &edges[option]);
            }
        }
    }
    Ok(genotype)
}

/// The first of the options of [`EDGES`].
const NONE: &str = "none";

fn of<'a>(weights: &'a OptionWeights, variable: &str, options: usize) -> Result<&'a [f64]> {
    let found = weights.get(variable).with_context(|| format!("it has no option weights of {variable}"))?;
    if found.len() != options || found.iter().any(|weight| !weight.is_finite()) {
        bail!("the option weights of {variable} are {found:?}, not {options} finite numbers");
    }
    Ok(found)
}

/// The index of the largest weight.
fn best(weights: &[f64]) -> usize {
    let mut best = 0;
    for (at, weight) in weights.iter().enumerate() {
        if *weight > weights[best] {
            best = at;
        }
    }
    best
}

//! The population that a seed yields is part of the run format: changing it makes stored runs irreproducible.

use super::testing::{population, settings, space};
use super::*;

fn digest(parts: impl IntoIterator<Item = (MemberId, Genotype, Origin)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(serde_json::to_string(&part).unwrap().as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// The digests of `uniform`, PBT-NAS and random search were computed before ranges and rules existed; those of `balanced`
/// and of mutation when their draws became those of the published code (format 2).
#[test]
fn choice_spaces_reproduce_pinned_populations() {
    let space = space(&[3, 4, 1, 7, 2, 5]);
    let mut found = Vec::new();
    for how in [Initial::Balanced, Initial::Uniform] {
        let drawn = initial_population(&space, 13, how, 5).into_iter().zip(0..);
        found.push(digest(drawn.map(|(genotype, id)| (MemberId(id), genotype, Origin::Random))));
    }
    let fitness: Vec<Option<i32>> = (0..24).map(|i| (i != 17).then_some((i * 7 + 3) % 24)).collect();
    for algorithm in [Algorithm::PbtNas, Algorithm::Mutation, Algorithm::RandomSearch] {
        let settings = SearchSettings { algorithm, ..settings(24) };
        let mut next = Vec::new();
        for run in 0..10 {
            next.extend(
                next_generation(&space, &settings, run, 3, &population(&space, run, &fitness)).unwrap(),
            );
        }
        found.push(digest(next.into_iter().map(|child| (child.id, child.genotype, child.origin))));
    }
    let before =
        ["a1ab15b16301a271", "13e111b40c06f132", "2d9d6814ce88d7a3", "3048908b7cd58e48", "5ebfb973e3c6a24c"];
    assert_eq!(found, before);
}

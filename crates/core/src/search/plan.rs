//! Algorithm 1 of the paper: from a trained population to the next generation.

use rand::seq::index;
use serde::{Deserialize, Serialize};

use super::{
    Change, Explore, Genotype, Initial, RngKey, SelectionRule, Space, explore, initial_population, mix,
    mutate, rng,
};

/// Id of a member: its position in the population, counted from 0. An offspring takes the id of the member that it
/// replaces.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct MemberId(pub u32);

impl std::fmt::Display for MemberId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// How the population changes between generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Replace the worst members by mixes of the best (the paper's Algorithm 1).
    PbtNas,
    /// Replace the worst members by mutants of the best, as SEARL does (section 4.4).
    Mutation,
    /// Train the first population to the end (baseline of equal cost).
    RandomSearch,
    /// Train a supernet of all architectures, derive one of them and train it from scratch (specialised baseline of
    /// Table 1). Each member is an independent search.
    AdversarialNas,
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PbtNas => "pbt-nas",
            Self::Mutation => "mutation",
            Self::RandomSearch => "random-search",
            Self::AdversarialNas => "adversarial-nas",
        })
    }
}

/// Parameters of the search (paper, Algorithms 1 and 2).
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSettings {
    pub algorithm: Algorithm,
    /// N, the number of members.
    pub population: usize,
    pub selection: SelectionRule,
    /// p, the probability of taking a variable from the donor parent.
    pub replace_probability: f64,
    /// False for the ablation "no mixing": base and donor are then the same member.
    pub mixing: bool,
    /// Shrink-perturb the whole network of every survivor in every generation (Table 3, for random search).
    pub perturb_survivors: bool,
    pub initial: Initial,
    pub explore: Explore,
}

/// Origin of a member. Its parents are members of the previous generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// Drawn at random, with freshly initialised weights.
    Random,
    /// The same member, training continues.
    Survivor,
    /// The same member with its whole network shrink-perturbed.
    Perturbed,
    /// The architecture derived from the member's supernet, with freshly initialised weights; used again if that
    /// network is lost.
    Derived,
    /// A copy of `parent` with a change.
    Mutation {
        /// The better of two of the best members.
        parent: MemberId,
        /// Difference from the parent.
        change: Change,
    },
    /// A copy of `base` with the values and weights of the `replaced` variables from `donor`, after which the
    /// hyperparameters are explored.
    Mix {
        /// The better parent.
        base: MemberId,
        /// The worse parent; the same as `base` without mixing.
        donor: MemberId,
        /// Variables taken from the donor, in the order of the space.
        replaced: Vec<String>,
        /// Hyperparameters whose value explore changed, in the order of the space.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        explored: Vec<String>,
    },
}

impl Origin {
    /// Whether a member was replaced; always true in the first generation.
    pub fn is_replacement(&self) -> bool {
        !matches!(self, Self::Survivor | Self::Perturbed | Self::Derived)
    }

    /// The parents, the base first; the parent of a survivor is `own`, the member itself.
    pub fn parents(&self, own: MemberId) -> Vec<MemberId> {
        match self {
            Self::Random => Vec::new(),
            Self::Survivor | Self::Perturbed | Self::Derived => vec![own],
            Self::Mutation { parent, .. } => vec![*parent],
            Self::Mix { base, donor, .. } => vec![*base, *donor],
        }
    }

    /// Whether the member starts from a new checkpoint that is built from its parents' checkpoints.
    pub fn is_made(&self) -> bool {
        matches!(self, Self::Perturbed | Self::Mutation { .. } | Self::Mix { .. })
    }
}

/// A member after training for a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedMember {
    pub id: MemberId,
    pub genotype: Genotype,
    /// None if the member failed or diverged.
    pub fitness: Option<f64>,
    /// Whether training can continue from the network: false for a failed member, true for a diverged one.
    pub has_network: bool,
    /// The architecture derived from the supernet after its last epoch.
    pub derived: Option<Genotype>,
}

/// A member of the next generation, without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offspring {
    pub id: MemberId,
    pub genotype: Genotype,
    pub origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no member of generation {generation} has a fitness, so no parent can be selected: all members failed or diverged; \
     run `pbtnas status` for the reasons, fix the cause and start a new run"
)]
pub struct NoParent {
    pub generation: u32,
}

/// The members of generation 0.
pub fn first_generation(space: &Space, settings: &SearchSettings, run: u64) -> Vec<Offspring> {
    let genotypes = match settings.algorithm {
        Algorithm::AdversarialNas => vec![Genotype::supernet(space); settings.population],
        _ => initial_population(space, settings.population, settings.initial, run),
    };
    genotypes
        .into_iter()
        .zip(0..)
        .map(|(genotype, id)| Offspring { id: MemberId(id), genotype, origin: Origin::Random })
        .collect()
}

/// The members of `generation`, from the trained population of the previous one.
///
/// Replaces the worst floor(N * tau) members and every member without a network. Each child has its own random
/// numbers, so two children of the same parents differ.
pub fn next_generation(
    space: &Space,
    settings: &SearchSettings,
    run: u64,
    generation: u32,
    population: &[TrainedMember],
) -> Result<Vec<Offspring>, NoParent> {
    let fitness: Vec<Option<f64>> = population.iter().map(|member| member.fitness).collect();
    let selection = settings.selection.select(&fitness);
    let evolve = matches!(settings.algorithm, Algorithm::PbtNas | Algorithm::Mutation);
    population
        .iter()
        .enumerate()
        .map(|(position, member)| {
            let child = |purpose| rng(&RngKey { run, generation, member: Some(member.id), purpose });
            let lost = !member.has_network;
            if let (Some(genotype), false) = (&member.derived, lost) {
                return Ok(Offspring { id: member.id, genotype: genotype.clone(), origin: Origin::Derived });
            }
            if !(lost || evolve && selection.worst.contains(&position)) {
                let origin = if settings.perturb_survivors { Origin::Perturbed } else { Origin::Survivor };
                return Ok(Offspring { id: member.id, genotype: member.genotype.clone(), origin });
            }
            if settings.algorithm == Algorithm::AdversarialNas {
                // Members are independent searches: restart with fresh weights instead of copying another member.
                let origin = if member.genotype.is_supernet() { Origin::Random } else { Origin::Derived };
                return Ok(Offspring { id: member.id, genotype: member.genotype.clone(), origin });
            }
            if !evolve {
                let mut drawn =
                    initial_population(space, 1, Initial::Uniform, redraw_seed(run, generation, member.id));
                let genotype = drawn.pop().unwrap_or_else(|| member.genotype.clone());
                return Ok(Offspring { id: member.id, genotype, origin: Origin::Random });
            }
            // A mutation has one parent, the better of two that are drawn as for a mix (facts: SEARL-like mutation).
            let two = settings.mixing || settings.algorithm == Algorithm::Mutation;
            let (base, donor) = parents(&selection.best, two, &mut child("parents"))
                .ok_or(NoParent { generation: generation.saturating_sub(1) })?;
            let (base, donor) = (&population[base], &population[donor]);
            if settings.algorithm == Algorithm::Mutation {
                let (genotype, change) =
                    mutate(space, &settings.explore, &base.genotype, &mut child("mutate"));
                let origin = Origin::Mutation { parent: base.id, change };
                return Ok(Offspring { id: member.id, genotype, origin });
            }
            let mut mixed =
                mix(space, &base.genotype, &donor.genotype, settings.replace_probability, &mut child("mix"));
            // A separate stream: the draws of `mix` do not depend on the number of ranges.
            let explored = explore(space, &settings.explore, &mut mixed.genotype, &mut child("explore"));
            let origin = Origin::Mix { base: base.id, donor: donor.id, replaced: mixed.replaced, explored };
            Ok(Offspring { id: member.id, genotype: mixed.genotype, origin })
        })
        .collect()
}

/// Seed for the architecture that replaces a failed member of a random search.
fn redraw_seed(run: u64, generation: u32, member: MemberId) -> u64 {
    super::seed_i64(&RngKey { run, generation, member: Some(member), purpose: "redraw" }).unsigned_abs()
}

/// Draws base and donor, as positions in the population, from the best without replacement; the better one is the
/// base. With a single candidate, or unless `two` are drawn, both are the same.
fn parents(best: &[usize], two: bool, rng: &mut impl rand::Rng) -> Option<(usize, usize)> {
    let wanted = if two { 2.min(best.len()) } else { 1 };
    if best.is_empty() {
        return None;
    }
    let mut drawn = index::sample(rng, best.len(), wanted).into_vec();
    drawn.sort_unstable();
    Some((best[drawn[0]], best[drawn[drawn.len() - 1]]))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{population, ruled_spaces, settings, space};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn generation_invariants(
            space in ruled_spaces(),
            fitness in prop::collection::vec(prop::option::weighted(0.9, -9i32..9), 8..40),
            run: u64,
            mixing: bool,
        ) {
            let trained = population(&space, run, &fitness);
            let settings = SearchSettings { mixing, ..settings(fitness.len()) };
            let Ok(next) = next_generation(&space, &settings, run, 3, &trained) else {
                prop_assert!(fitness.iter().all(Option::is_none));
                return Ok(());
            };
            // Size and ids are kept, and the result is deterministic.
            prop_assert_eq!(next.len(), trained.len());
            prop_assert!(next.iter().zip(&trained).all(|(n, t)| n.id == t.id));
            prop_assert_eq!(&next, &next_generation(&space, &settings, run, 3, &trained).unwrap());
            let values: Vec<_> = trained.iter().map(|t| t.fitness).collect();
            let selection = settings.selection.select(&values);
            for (position, (child, before)) in next.iter().zip(&trained).enumerate() {
                let replaced = selection.worst.contains(&position) || !before.has_network;
                match &child.origin {
                    Origin::Random | Origin::Perturbed | Origin::Derived | Origin::Mutation { .. } => {
                        prop_assert!(false, "PBT-NAS only mixes")
                    }
                    // Survivors are unchanged and not among the worst.
                    Origin::Survivor => {
                        prop_assert!(!replaced);
                        prop_assert_eq!(&child.genotype, &before.genotype);
                    }
                    Origin::Mix { base, donor, replaced: variables, explored } => {
                        prop_assert!(replaced);
                        prop_assert_eq!(space.check_genotype(&child.genotype), Ok(()));
                        let parent = |id: &MemberId| &trained[id.0 as usize];
                        prop_assert!(selection.best.contains(&(base.0 as usize)));
                        prop_assert!(selection.best.contains(&(donor.0 as usize)));
                        prop_assert!(parent(base).fitness >= parent(donor).fitness);
                        prop_assert_eq!(base == donor, !mixing || selection.best.len() == 1);
                        for variable in &space.variables {
                            let from = if variables.contains(&variable.name) { donor } else { base };
                            let value = |genotype: &Genotype| genotype.get(&variable.name).map(str::to_owned);
                            let (before, after) = (value(&parent(from).genotype), value(&child.genotype));
                            prop_assert_eq!(before != after, explored.contains(&variable.name));
                            prop_assert!(before == after || variable.as_range().is_some());
                        }
                    }
                }
            }
        }

        #[test]
        fn mutation_parents_are_among_the_best(
            space in ruled_spaces(), fitness in prop::collection::vec(-9i32..9, 8..40), run: u64,
        ) {
            let fitness: Vec<Option<i32>> = fitness.into_iter().map(Some).collect();
            let trained = population(&space, run, &fitness);
            let settings = SearchSettings { algorithm: Algorithm::Mutation, ..settings(fitness.len()) };
            let next = next_generation(&space, &settings, run, 2, &trained).unwrap();
            let values: Vec<_> = trained.iter().map(|t| t.fitness).collect();
            let selection = settings.selection.select(&values);
            for (position, child) in next.iter().enumerate() {
                prop_assert_eq!(space.check_genotype(&child.genotype), Ok(()));
                match &child.origin {
                    Origin::Mutation { parent, .. } => {
                        prop_assert!(selection.worst.contains(&position));
                        prop_assert!(selection.best.contains(&(parent.0 as usize)));
                    }
                    origin => {
                        prop_assert!(!selection.worst.contains(&position));
                        prop_assert_eq!(origin, &Origin::Survivor);
                    }
                }
            }
        }

        #[test]
        fn random_search_replaces_only_members_without_network(
            space in ruled_spaces(), fitness in prop::collection::vec(prop::option::of(-9i32..9), 1..20), run: u64,
        ) {
            let trained = population(&space, run, &fitness);
            let settings = SearchSettings { algorithm: Algorithm::RandomSearch, ..settings(fitness.len()) };
            let next = next_generation(&space, &settings, run, 1, &trained).unwrap();
            for (child, before) in next.iter().zip(&trained) {
                prop_assert_eq!(child.origin == Origin::Survivor, before.has_network);
                prop_assert_eq!(space.check_genotype(&child.genotype), Ok(()));
            }
        }
    }

    #[test]
    fn supernets_are_independent() {
        let space = space(&[3; 4]);
        let settings = SearchSettings { algorithm: Algorithm::AdversarialNas, ..settings(3) };
        let first = first_generation(&space, &settings, 1);
        assert!(first.len() == 3 && first.iter().all(|member| member.genotype.is_supernet()));
        let trained = |fitness: [Option<i32>; 3], derived: Option<&Genotype>| {
            let mut trained = population(&space, 1, &fitness);
            for (member, planned) in trained.iter_mut().zip(&first) {
                (member.genotype, member.derived) = (planned.genotype.clone(), derived.cloned());
            }
            next_generation(&space, &settings, 1, 1, &trained).unwrap()
        };
        // The worst is not replaced; a failed member restarts.
        let next = trained([Some(1), Some(9), None], None);
        assert_eq!(
            next.iter().map(|member| member.origin.clone()).collect::<Vec<_>>(),
            [Origin::Survivor, Origin::Survivor, Origin::Random]
        );
        assert!(next.iter().all(|member| member.genotype.is_supernet()));
        let genotype = initial_population(&space, 1, Initial::Uniform, 5).remove(0);
        let next = trained([Some(1), None, Some(3)], Some(&genotype));
        assert_eq!((&next[0].origin, &next[0].genotype), (&Origin::Derived, &genotype));
        assert!(next[1].origin == Origin::Random && next[1].genotype.is_supernet());
        assert_eq!(next[2].origin, Origin::Derived);
        // A derived member survives, and restarts if its network is lost.
        let mut derived = population(&space, 1, &[Some(1), None, Some(3)]);
        for (member, planned) in derived.iter_mut().zip(&next) {
            member.genotype = planned.genotype.clone();
        }
        let after = next_generation(&space, &settings, 1, 2, &derived).unwrap();
        assert_eq!((&after[0].origin, &after[0].genotype), (&Origin::Survivor, &genotype));
        derived[2].has_network = false;
        let after = next_generation(&space, &settings, 1, 2, &derived).unwrap();
        assert_eq!((&after[2].origin, &after[2].genotype), (&Origin::Derived, &genotype));
    }

    /// The shares of the published code over 9 000 children (facts: SEARL-like mutation). Of six candidates, the one of
    /// rank r (counted from 1) is the better of two in (6 - r) / 15 of all draws.
    #[test]
    fn mutated_parents_have_the_ranks_of_the_published_code() {
        let published = [0.337, 0.271, 0.193, 0.133, 0.066, 0.0];
        let space = space(&[2, 2]);
        let settings = SearchSettings { algorithm: Algorithm::Mutation, ..settings(24) };
        // Member i has rank i + 1.
        let trained = population(&space, 1, &(0..24).map(|i| Some(-i)).collect::<Vec<_>>());
        let mut counts = [0u32; 6];
        for run in 0..1500 {
            for child in next_generation(&space, &settings, run, 1, &trained).unwrap() {
                if let Origin::Mutation { parent, .. } = child.origin {
                    counts[parent.0 as usize] += 1;
                }
            }
        }
        let children: u32 = counts.iter().sum();
        assert_eq!(children, 9000);
        for (rank, (&count, published)) in (1..).zip(counts.iter().zip(published)) {
            let (share, exact) = (f64::from(count) / 9000.0, (6.0 - f64::from(rank)) / 15.0);
            // Four standard errors; the published shares have an error of their own.
            let error = 4.0 * (exact * (1.0 - exact) / 9000.0).sqrt();
            assert!((share - exact).abs() <= error, "rank {rank}: {share}, not {exact}");
            assert!((share - published).abs() <= 2.0 * error, "rank {rank}: {share}, not {published}");
        }
    }

    #[test]
    fn children_draw_different_random_numbers() {
        let space = space(&[5; 60]);
        let fitness: Vec<Option<i32>> = (0..8).map(Some).collect();
        let trained = population(&space, 1, &fitness);
        let next = next_generation(&space, &settings(8), 1, 1, &trained).unwrap();
        let children: Vec<_> = next.iter().filter(|c| c.origin != Origin::Survivor).collect();
        assert_eq!(children.len(), 2);
        assert_ne!(children[0].origin, children[1].origin);
    }

    #[test]
    fn diverged_member_is_replaced_only_if_among_the_worst() {
        let space = space(&[2, 2]);
        let mut trained =
            population(&space, 1, &[Some(1), Some(2), Some(3), Some(4), None, None, None, None]);
        for member in &mut trained {
            member.has_network = true;
        }
        let next = next_generation(&space, &settings(8), 1, 1, &trained).unwrap();
        let replaced: Vec<u32> =
            next.iter().filter(|c| c.origin != Origin::Survivor).map(|c| c.id.0).collect();
        assert_eq!(replaced, [6, 7]);
    }
}

//! The search: pure functions from a population and a seed to a plan, without files, tensors or clocks.
//!
//! Algorithm 1 of the paper (arXiv 2307.15621) is [`next_generation`], Algorithm 2 is [`mix`].

mod explore;
mod genotype;
mod initial;
mod lineage;
mod mix;
mod mutate;
mod plan;
mod range;
mod rule;
mod schedule;
mod seed;
mod select;
mod space;
mod variable;

#[cfg(test)]
mod pinned_tests;

pub use explore::{Explore, explore};
pub use genotype::{Genotype, OptionWeights};
pub use initial::{Initial, initial_population};
pub use lineage::{Ancestor, base_lineage, variable_lineage};
pub use mix::{MixResult, mix};
pub use mutate::{Change, mutate};
pub use plan::{
    Algorithm, MemberId, NoParent, Offspring, Origin, SearchSettings, TrainedMember, first_generation,
    next_generation,
};
pub use range::{Range, RangeError, Scale};
pub use rule::Rule;
pub use schedule::{Piece, Schedule, ScheduleError};
pub use seed::{RngKey, rng, seed_i64};
pub use select::{Selection, SelectionRule, rank};
pub use space::{Space, SpaceError};
pub use variable::{Domain, Variable};

#[cfg(test)]
pub(crate) mod testing {
    //! Spaces and populations for the property tests.

    use proptest::prelude::*;

    use super::*;

    /// One variable per count of options; every second variable owns weights.
    pub fn space(options: &[usize]) -> Space {
        let variables = options
            .iter()
            .enumerate()
            .map(|(i, &count)| {
                let owns = if i % 2 == 0 { vec![format!("net/v{i:03}/")] } else { vec![] };
                Variable::choice(format!("v{i:03}"), (0..count).map(|o| format!("o{o}")).collect(), owns)
            })
            .collect();
        Space::new(variables)
    }

    pub fn spaces() -> impl Strategy<Value = Space> {
        prop::collection::vec(1usize..8, 1..12).prop_map(|options| space(&options))
    }

    pub fn ranges() -> impl Strategy<Value = Range> {
        let linear = (-1e3f64..1e3, 1e-3f64..1e3)
            .prop_map(|(low, width)| Range::new(low, low + width, Scale::Linear, false).unwrap());
        let log = (-300.0f64..299.0, 0.1f64..300.0).prop_map(|(low, width)| {
            let high = (low + width).min(300.0);
            Range::new(10f64.powf(low), 10f64.powf(high), Scale::Log, false).unwrap()
        });
        let extreme = Just(Range::new(-f64::MAX, f64::MAX, Scale::Linear, false).unwrap());
        let whole = (-50i32..50, 1i32..50).prop_map(|(low, width)| {
            Range::new(low.into(), (low + width).into(), Scale::Linear, true).unwrap()
        });
        let whole_log = (1i32..50, 1i32..5000)
            .prop_map(|(low, width)| Range::new(low.into(), (low + width).into(), Scale::Log, true).unwrap());
        prop_oneof![3 => linear, 3 => log, 1 => extreme, 2 => whole, 2 => whole_log]
    }

    /// Choices and ranges in any order, with up to three rules on the choices that leave at least one architecture.
    pub fn ruled_spaces() -> impl Strategy<Value = Space> {
        let domain = prop_oneof![(1usize..5).prop_map(Ok), ranges().prop_map(Err)];
        let rules = prop::collection::vec(prop::collection::vec((0usize..10, 0usize..4), 2..4), 0..4);
        (prop::collection::vec(domain, 1..10), rules)
            .prop_map(|(domains, rules)| {
                let mut space = space(&vec![1; domains.len()]);
                for (variable, domain) in space.variables.iter_mut().zip(domains) {
                    *variable = match domain {
                        Ok(count) => Variable::choice(
                            variable.name.clone(),
                            (0..count).map(|o| format!("o{o}")).collect(),
                            variable.owns().to_vec(),
                        ),
                        Err(range) => Variable::range(variable.name.clone(), range),
                    };
                }
                let choices: Vec<&Variable> =
                    space.variables.iter().filter(|v| v.as_range().is_none()).collect();
                let rules = rules.iter().filter(|_| !choices.is_empty()).map(|entries| {
                    Rule::new(entries.iter().map(|(variable, option)| {
                        let variable = choices[variable % choices.len()];
                        let option = &variable.options()[option % variable.options().len()];
                        (variable.name.clone(), vec![option.clone()])
                    }))
                });
                let rules = rules.collect();
                Space { rules, ..space }
            })
            .prop_filter("the rules must leave an architecture", |space| space.check().is_ok())
    }

    pub fn settings(population: usize) -> SearchSettings {
        SearchSettings {
            algorithm: Algorithm::PbtNas,
            population,
            selection: SelectionRule { tau: 0.25 },
            replace_probability: 0.25,
            mixing: true,
            perturb_survivors: false,
            initial: Initial::Balanced,
            explore: Explore { resample_probability: 0.25, perturb_factors: vec![0.8, 1.2] },
        }
    }

    /// A trained population; members without fitness have no network.
    pub fn population(space: &Space, run: u64, fitness: &[Option<i32>]) -> Vec<TrainedMember> {
        initial_population(space, fitness.len(), Initial::Uniform, run)
            .into_iter()
            .zip(fitness)
            .zip(0..)
            .map(|((genotype, fitness), id)| TrainedMember {
                id: MemberId(id),
                genotype,
                fitness: fitness.map(f64::from),
                has_network: fitness.is_some(),
                derived: None,
            })
            .collect()
    }
}

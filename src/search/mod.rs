//! The search itself: pure functions from a population and a seed to a plan. No file, no tensor, no clock.
//!
//! Names follow the paper (arXiv 2307.15621): Algorithm 1 is [`next_generation`], Algorithm 2 is [`mix`].

mod initial;
mod lineage;
mod mix;
mod mutate;
mod plan;
mod schedule;
mod seed;
mod select;
mod space;

pub use initial::{Initial, initial_population};
pub use lineage::{Ancestor, variable_lineage};
pub use mix::{Mixed, mix};
pub use mutate::{Change, mutate};
pub use plan::{
    Algorithm, MemberId, NoParent, Offspring, Origin, SearchSettings, Trained, first_generation,
    next_generation,
};
pub use schedule::{Piece, Schedule, ScheduleError};
pub use seed::{Address, rng, word};
pub use select::{Selection, rank, select, truncation_count};
pub use space::{Genotype, Space, SpaceError, Variable};

#[cfg(test)]
pub(crate) mod testing {
    //! Spaces and populations for the property tests.

    use proptest::prelude::*;

    use super::*;

    /// A space with one variable for each count of options; every second variable owns weights.
    pub fn space(options: &[usize]) -> Space {
        let variables = options
            .iter()
            .enumerate()
            .map(|(i, &count)| Variable {
                name: format!("v{i:03}"),
                options: (0..count).map(|o| format!("o{o}")).collect(),
                owns: if i % 2 == 0 { vec![format!("net/v{i:03}/")] } else { vec![] },
            })
            .collect();
        Space { variables }
    }

    pub fn spaces() -> impl Strategy<Value = Space> {
        prop::collection::vec(1usize..8, 1..12).prop_map(|options| space(&options))
    }

    pub fn settings(population: usize) -> SearchSettings {
        SearchSettings {
            algorithm: Algorithm::PbtNas,
            population,
            tau: 0.25,
            replace_probability: 0.25,
            mixing: true,
            perturb_survivors: false,
            initial: Initial::Balanced,
        }
    }

    /// A trained population; a member without fitness has no network either.
    pub fn population(space: &Space, run: u64, fitness: &[Option<i32>]) -> Vec<Trained> {
        initial_population(space, fitness.len(), Initial::Uniform, run)
            .into_iter()
            .zip(fitness)
            .zip(0..)
            .map(|((genotype, fitness), id)| Trained {
                id: MemberId(id),
                genotype,
                fitness: fitness.map(f64::from),
                has_network: fitness.is_some(),
            })
            .collect()
    }
}

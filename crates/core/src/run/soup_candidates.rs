//! The members that a soup may average with the best one.

use super::{BestRecord, Ingredient, Outcome, RunDir, StartRecord, StateError};
use crate::durable_fs::exists;
use crate::search::Genotype;

/// The candidates of a soup: the population of the best member's generation after its selection, as far as it shares
/// the best member's architecture (facts: Model soups). Members that were not replaced come first, best first; then
/// come the children, with their first checkpoints and without fitness. Children whose first checkpoint is built by a
/// training job are left out, since no record names it. Fails if a record is missing or damaged.
pub fn soup_candidates(run: &RunDir, best: &BestRecord) -> Result<Vec<Ingredient>, StateError> {
    let plan = run.plan(best.generation)?;
    let results = run.results(best.generation)?;
    let next = run.layout.plan(best.generation + 1);
    let after = match best.as_of > best.generation || exists(&next)? {
        true => run.plan(best.generation + 1)?.members,
        false => Vec::new(),
    };
    let alike = |genotype: &Genotype| run.space.same_architecture(genotype, &best.genotype);
    let mut candidates: Vec<Ingredient> = Vec::new();
    for (at, (member, result)) in plan.members.iter().zip(results).enumerate() {
        let survives = after.get(at).is_none_or(|next| !next.origin.is_replacement());
        let missing =
            || StateError::damaged(&run.layout.result(best.generation, member.id), "the result is missing");
        let Outcome::Trained { fitness: Some(fitness), checkpoint, .. } = result.ok_or_else(missing)?.outcome
        else {
            continue;
        };
        if member.id != best.member && survives && alike(&member.genotype) {
            let generation = plan.generation;
            candidates.push(Ingredient { generation, member: member.id, fitness: Some(fitness), checkpoint });
        }
    }
    candidates.sort_by(|a, b| b.fitness.partial_cmp(&a.fitness).unwrap_or(std::cmp::Ordering::Equal));
    candidates.extend(after.into_iter().filter_map(|child| match child.start {
        StartRecord::Checkpoint(checkpoint) if child.origin.is_replacement() && alike(&child.genotype) => {
            let generation = best.generation + 1;
            Some(Ingredient { generation, member: child.id, fitness: None, checkpoint })
        }
        _ => None,
    }));
    Ok(candidates)
}

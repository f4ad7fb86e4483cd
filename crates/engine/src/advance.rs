//! Advances a run from one generation to the next: reads results, selects, builds offspring, publishes the plan.
//! Submits and trains nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::offspring::{build_all_offspring, parents};
use crate::run::Run;
use crate::task::{OffspringBuilder, Task};
use pbtnas_core::checkpoint::Reader;
use pbtnas_core::durable_fs::{Published, ensure_dirs, quarantine, remove};
use pbtnas_core::parallel;
use pbtnas_core::run::{
    BestOf, BestRecord, Exhausted, FORMAT, FileRef, Heartbeat, MemberPlan, Outcome, PlanRecord, ResultRecord,
    StartRecord, StateError, collect, drop_temporaries, exhausted, publish_json, read_json, replace_json,
};
use pbtnas_core::search::{MemberId, Offspring, Origin, first_generation, next_generation};

/// The next action after [`advance`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextAction {
    /// Train these members of the latest generation, which have no result yet.
    Train {
        generation: u32,
        /// In order of their ids.
        members: Vec<MemberId>,
    },
    /// The last generation has been trained.
    Finished {
        /// The last generation.
        generation: u32,
    },
}

/// Advances the run as far as its results allow.
///
/// `idle` means that no process works on the latest generation: members without remaining attempts then count as failed
/// (ranked last and replaced). Several processes may call this concurrently: all make the same decisions, and the first
/// to publish a file wins.
pub fn advance(run: &Run, task: &dyn Task, idle: bool) -> Result<NextAction> {
    let mut idle = idle;
    let mut decided_again = false;
    for file in &run.record.shared {
        run.check_file(file)?;
    }
    loop {
        let Some(generation) = run.latest_generation_checked()? else {
            first(run)?;
            continue;
        };
        let plan = match run.plan(generation) {
            // A plan follows from the previous results, so it can be recomputed.
            Err(error) if error.is_damage() && !decided_again => {
                tracing::warn!("{error}; moving it aside and recomputing the plan");
                quarantine(&run.layout.plan(generation))?;
                decided_again = true;
                continue;
            }
            found => found?,
        };
        let mut results = Vec::new();
        let mut missing = Vec::new();
        for member in &plan.members {
            match run.result_or_quarantine(generation, member.id)? {
                Some(result) => results.push(result),
                None if idle && give_up(run, generation, member.id)? => {
                    results.extend(run.result(generation, member.id)?);
                }
                None => missing.push(member.id),
            }
        }
        if !missing.is_empty() {
            return Ok(NextAction::Train { generation, members: missing });
        }
        let (best, beaten) = update_best(run, &plan, &results)?;
        let schedule = run.config.search.schedule().context("invalid search.epochs_per_generation")?;
        let Some(to_epoch) = schedule.next_boundary(plan.to_epoch) else {
            collect(run, generation, best.as_ref(), beaten.as_ref(), true)?;
            drop_temporaries(&run.layout.generation(generation))?;
            return Ok(NextAction::Finished { generation });
        };
        if !next(run, task, &plan, &results, to_epoch)? {
            continue;
        }
        collect(run, generation + 1, best.as_ref(), beaten.as_ref(), false)?;
        idle = false;
    }
}

/// Publishes a failed result for a member without remaining attempts.
fn give_up(run: &Run, generation: u32, member: MemberId) -> Result<bool, StateError> {
    let layout = &run.layout;
    let (lock, attempts) = (layout.member_lock(generation, member), layout.attempts(generation, member));
    let Some(exhausted) = exhausted(&lock, &attempts, run.config.training.max_attempts)? else {
        return Ok(false);
    };
    let Exhausted { reason, failures, attempts, .. } = &exhausted;
    let result = ResultRecord {
        format: FORMAT,
        generation,
        member,
        outcome: Outcome::Failed {
            reason: reason.clone(),
            attempts: *attempts as u32,
            left: read_json::<Heartbeat>(&layout.heartbeat(generation, member)).ok().map(|beat| beat.left()),
        },
    };
    if publish_json(&layout.result(generation, member), &result)? == Published::Created {
        tracing::warn!(
            "giving up member {member} of generation {generation} after {failures} failed attempt(s): {reason}"
        );
    }
    Ok(true)
}

/// Updates best.json with the results of a generation; returns the best member and the one that it replaced.
fn update_best(
    run: &Run,
    plan: &PlanRecord,
    results: &[ResultRecord],
) -> Result<(Option<BestRecord>, Option<BestRecord>), StateError> {
    // best.json is derived from results and can be recomputed.
    let before = match run.best() {
        Err(error) if error.is_damage() => {
            tracing::warn!("{error}; recomputing the best member");
            None
        }
        found => found?,
    };
    if before.as_ref().is_some_and(|best| best.as_of >= plan.generation) {
        return Ok((before, None));
    }
    let of = run.terms.best_of;
    let mut best = before.clone();
    // Usually empty, unless best.json was lost or a slower process restored an older version.
    let unseen = before.as_ref().map_or(0, |best| best.as_of + 1);
    for generation in unseen..plan.generation {
        let results = run.results(generation)?;
        improve(of, &mut best, &run.plan(generation)?, results.iter().flatten());
    }
    improve(of, &mut best, plan, results.iter());
    if let Some(best) = &mut best {
        best.as_of = plan.generation;
        replace_json(&run.layout.best(), best)?;
    }
    let place = |best: &BestRecord| (best.generation, best.member);
    let beaten = before.filter(|before| best.as_ref().map(place) != Some(place(before)));
    Ok((best, beaten))
}

/// Replaces the best member by the fittest of a generation, the first among equals, if that one counts.
fn improve<'a>(
    of: BestOf,
    best: &mut Option<BestRecord>,
    plan: &PlanRecord,
    results: impl Iterator<Item = &'a ResultRecord>,
) {
    let mut fittest: Option<BestRecord> = None;
    for result in results {
        let member = plan.members.get(result.member.0 as usize);
        // A supernet is not an architecture that can be exported.
        let Some(member) = member.filter(|member| !member.genotype.is_supernet()) else { continue };
        let Outcome::Trained { fitness: Some(fitness), metrics, checkpoint, .. } = &result.outcome else {
            continue;
        };
        if fittest.as_ref().is_none_or(|fittest| *fitness > fittest.fitness) {
            fittest = Some(BestRecord {
                format: FORMAT,
                as_of: plan.generation,
                generation: plan.generation,
                member: member.id,
                fitness: *fitness,
                metrics: metrics.clone(),
                genotype: member.genotype.clone(),
                checkpoint: checkpoint.clone(),
            });
        }
    }
    let before = best.as_ref().map(|best| best.fitness);
    if fittest.as_ref().is_some_and(|fittest| of.replaces(fittest.fitness, before)) {
        *best = fittest;
    }
}

fn first(run: &Run) -> Result<()> {
    let schedule = run.config.search.schedule().context("invalid search.epochs_per_generation")?;
    let planned = first_generation(&run.space, &run.config.settings(), run.record.seed);
    let members = planned.into_iter().map(|member| record(member, StartRecord::Fresh)).collect();
    publish_plan(run, 0, 0, schedule.next_boundary(0).unwrap_or(schedule.total()), members)
}

/// Publishes the next generation. False if a parent's checkpoint is damaged: its result is then quarantined and the
/// parent retrained.
fn next(
    run: &Run,
    task: &dyn Task,
    plan: &PlanRecord,
    results: &[ResultRecord],
    to_epoch: u32,
) -> Result<bool> {
    let generation = plan.generation + 1;
    let trained = run.trained(plan, results.iter())?;
    let planned = next_generation(&run.space, &run.config.settings(), run.record.seed, generation, &trained)?;
    let files: BTreeMap<MemberId, &FileRef> = results
        .iter()
        .filter_map(|result| match &result.outcome {
            Outcome::Trained { checkpoint, .. } => Some((result.member, checkpoint)),
            Outcome::Failed { .. } => None,
        })
        .collect();
    let children: Vec<&Offspring> = planned.iter().filter(|member| member.origin.is_made()).collect();
    let Some(parents) = open_parents(run, plan.generation, &children, &files)? else { return Ok(false) };
    let mut starts = match task.offspring_builder() {
        OffspringBuilder::Step => build_all_offspring(run, task, generation, &children, &parents)?,
        OffspringBuilder::Member => BTreeMap::new(),
    };
    let members = planned
        .iter()
        .map(|member| {
            let start = match member.origin {
                Origin::Random | Origin::Derived => StartRecord::Fresh,
                Origin::Survivor => StartRecord::Checkpoint(file_of(&files, member.id)?.clone()),
                _ if task.offspring_builder() == OffspringBuilder::Member => StartRecord::Parents,
                Origin::Perturbed | Origin::Mutation { .. } | Origin::Mix { .. } => StartRecord::Checkpoint(
                    starts.remove(&member.id).context("a child's checkpoint was not built")?,
                ),
            };
            Ok(record(member.clone(), start))
        })
        .collect::<Result<_>>()?;
    publish_plan(run, generation, plan.to_epoch, to_epoch, members)?;
    Ok(true)
}

/// Opens and verifies the checkpoints of all parents in parallel, each once; none if one is damaged.
fn open_parents(
    run: &Run,
    generation: u32,
    children: &[&Offspring],
    files: &BTreeMap<MemberId, &FileRef>,
) -> Result<Option<BTreeMap<MemberId, Reader>>> {
    let needed: BTreeSet<MemberId> = children.iter().flat_map(|child| parents(child)).collect();
    let needed: Vec<MemberId> = needed.into_iter().collect();
    let opened = parallel::each(&needed, |&parent| {
        let file = file_of(files, parent)?;
        Ok::<_, anyhow::Error>((parent, run.checkpoint(file)))
    })?;
    let mut whole = BTreeMap::new();
    for (parent, opened) in opened {
        match opened {
            Ok(reader) => {
                whole.insert(parent, reader);
            }
            Err(error) if error.is_damage() => {
                let what = error;
                tracing::warn!("{what}; member {parent} of generation {generation} will be retrained");
                quarantine(&run.layout.result(generation, parent))?;
                remove(&run.layout.final_checkpoint(generation, parent))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((whole.len() == needed.len()).then_some(whole))
}

fn file_of<'a>(files: &BTreeMap<MemberId, &'a FileRef>, member: MemberId) -> Result<&'a FileRef> {
    files.get(&member).copied().with_context(|| format!("member {member} has no checkpoint"))
}

fn record(member: Offspring, start: StartRecord) -> MemberPlan {
    MemberPlan { id: member.id, genotype: member.genotype, origin: member.origin, start }
}

fn publish_plan(
    run: &Run,
    generation: u32,
    from_epoch: u32,
    to_epoch: u32,
    members: Vec<MemberPlan>,
) -> Result<()> {
    ensure_dirs(&run.layout.members(generation), members.iter().map(|member| member.id.to_string()))?;
    let plan = PlanRecord { format: FORMAT, generation, from_epoch, to_epoch, members };
    publish_json(&run.layout.plan(generation), &plan)?;
    Ok(())
}

//! From one generation to the next: read results, select, mix, publish. Nothing here submits or trains.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::checkpoint::Reader;
use crate::children::{make_children, parents};
use crate::parallel;
use crate::search::{MemberId, Offspring, Origin, first_generation, next_generation};
use crate::state::{
    BestRecord, FORMAT, FileRef, Heartbeat, Lock, MemberPlan, Outcome, PlanRecord, Published, ResultRecord,
    Run, StartRecord, StateError, collect, drop_temporaries, ensure_dirs, failures, publish_json,
    read_attempts, read_json, remove, replace_json, withdraw,
};
use crate::tasks::{Maker, Task};

/// What is left to do after a call of [`advance`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These members of the latest generation have no result yet.
    Train {
        /// The generation.
        generation: u32,
        /// In order of their ids.
        members: Vec<MemberId>,
    },
    /// The last generation is trained.
    Finished {
        /// The last generation.
        generation: u32,
    },
}

/// Moves the run on as far as its results allow.
///
/// `idle` tells that nothing works on the latest generation: members whose attempts are used up are then
/// given up (ranked last and replaced). Safe to be called by several processes at once: all decide the same,
/// and for each file the first to publish wins.
pub fn advance(run: &Run, task: &dyn Task, idle: bool) -> Result<Next> {
    let mut idle = idle;
    let mut decided_again = false;
    for file in &run.record.shared {
        run.check_file(file)?;
    }
    loop {
        let Some(generation) = run.latest_of_all()? else {
            first(run)?;
            continue;
        };
        let plan = match run.plan(generation) {
            // What was decided follows from the results before it, whoever decides.
            Err(error) if error.is_damage() && !decided_again => {
                eprintln!("pbtnas: {}; it is put aside and decided again", error.what());
                withdraw(&run.layout.plan(generation))?;
                decided_again = true;
                continue;
            }
            found => found?,
        };
        let mut results = Vec::new();
        let mut missing = Vec::new();
        for member in &plan.members {
            match run.sound_result(generation, member.id)? {
                Some(result) => results.push(result),
                None if idle && give_up(run, generation, member.id)? => {
                    results.extend(run.result(generation, member.id)?);
                }
                None => missing.push(member.id),
            }
        }
        if !missing.is_empty() {
            return Ok(Next::Train { generation, members: missing });
        }
        let (best, beaten) = update_best(run, &plan, &results)?;
        let schedule = run.config.search.schedule().context("the run's schedule is wrong")?;
        let Some(to_epoch) = schedule.next_boundary(plan.to_epoch) else {
            collect(run, generation, best.as_ref(), beaten.as_ref())?;
            drop_temporaries(&run.layout.generation(generation))?;
            return Ok(Next::Finished { generation });
        };
        if !next(run, task, &plan, &results, to_epoch)? {
            continue;
        }
        collect(run, generation + 1, best.as_ref(), beaten.as_ref())?;
        idle = false;
    }
}

/// Publishes a failed result if the member's attempts are used up.
fn give_up(run: &Run, generation: u32, member: MemberId) -> Result<bool, StateError> {
    // Somebody else's `run` may be at it, in an attempt that has no end yet.
    let Some(_lock) = Lock::try_take(&run.layout.member_lock(generation, member)) else { return Ok(false) };
    let attempts = read_attempts(&run.layout.attempts(generation, member))?;
    let failed = failures(&attempts);
    let Some(last) = failed.last().filter(|_| failed.len() >= run.config.training.max_attempts as usize)
    else {
        return Ok(false);
    };
    let reason = last.reason();
    let result = ResultRecord {
        format: FORMAT,
        generation,
        member,
        outcome: Outcome::Failed {
            reason: reason.clone(),
            attempts: attempts.len() as u32,
            left: read_json::<Heartbeat>(&run.layout.heartbeat(generation, member))
                .ok()
                .map(|beat| beat.left()),
        },
    };
    if publish_json(&run.layout.result(generation, member), &result)? == Published::Created {
        let count = failed.len();
        eprintln!(
            "pbtnas: member {member} of generation {generation} is given up after {count} failed attempt(s): {reason}"
        );
    }
    Ok(true)
}

/// Brings best.json up to the results of a generation; the best, and the one it took the place of.
fn update_best(
    run: &Run,
    plan: &PlanRecord,
    results: &[ResultRecord],
) -> Result<(Option<BestRecord>, Option<BestRecord>), StateError> {
    // Derived from results, so a damaged one is no loss.
    let before = match run.best() {
        Err(error) if error.is_damage() => {
            eprintln!("pbtnas: {}; looking for the best member again", error.what());
            None
        }
        found => found?,
    };
    if before.as_ref().is_some_and(|best| best.as_of >= plan.generation) {
        return Ok((before, None));
    }
    let mut best = before.clone();
    // Usually none: best.json was lost, or a slower process put an older one back.
    let unseen = before.as_ref().map_or(0, |best| best.as_of + 1);
    for generation in unseen..plan.generation {
        let results = run.results(generation)?;
        improve(&mut best, &run.plan(generation)?, results.iter().flatten());
    }
    improve(&mut best, plan, results.iter());
    if let Some(best) = &mut best {
        best.as_of = plan.generation;
        replace_json(&run.layout.best(), best)?;
    }
    let place = |best: &BestRecord| (best.generation, best.member);
    let beaten = before.filter(|before| best.as_ref().map(place) != Some(place(before)));
    Ok((best, beaten))
}

/// Takes a member of a generation for the best one if it is better.
fn improve<'a>(
    best: &mut Option<BestRecord>,
    plan: &PlanRecord,
    results: impl Iterator<Item = &'a ResultRecord>,
) {
    for result in results {
        let member = plan.members.get(result.member.0 as usize);
        // A supernet is no architecture: nobody could use it.
        let Some(member) = member.filter(|member| !member.genotype.is_supernet()) else { continue };
        let Outcome::Trained { fitness: Some(fitness), metrics, checkpoint, .. } = &result.outcome else {
            continue;
        };
        if best.as_ref().is_none_or(|best| *fitness > best.fitness) {
            *best = Some(BestRecord {
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
}

fn first(run: &Run) -> Result<()> {
    let schedule = run.config.search.schedule().context("the run's schedule is wrong")?;
    let planned = first_generation(&run.space, &run.config.settings(), run.record.seed);
    let members = planned.into_iter().map(|member| record(member, StartRecord::Fresh)).collect();
    publish_plan(run, 0, 0, schedule.next_boundary(0).unwrap_or(schedule.total()), members)
}

/// Publishes the next generation. False if a parent's checkpoint turned out to be damaged: its result is
/// withdrawn, and it will be trained again.
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
    let mut starts = match task.maker() {
        Maker::Step => make_children(run, task, generation, &children, &parents)?,
        Maker::Member => BTreeMap::new(),
    };
    let members = planned
        .iter()
        .map(|member| {
            let start = match member.origin {
                Origin::Random | Origin::Derived => StartRecord::Fresh,
                Origin::Survivor => StartRecord::Checkpoint(file_of(&files, member.id)?.clone()),
                _ if task.maker() == Maker::Member => StartRecord::Parents,
                Origin::Perturbed | Origin::Mutation { .. } | Origin::Mix { .. } => {
                    StartRecord::Checkpoint(starts.remove(&member.id).context("a child was not made")?)
                }
            };
            Ok(record(member.clone(), start))
        })
        .collect::<Result<_>>()?;
    publish_plan(run, generation, plan.to_epoch, to_epoch, members)?;
    Ok(true)
}

/// Opens and checks the checkpoints of all parents, each once, several at a time; none if one is damaged.
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
                let what = error.what();
                eprintln!("pbtnas: {what}; member {parent} of generation {generation} is trained again");
                withdraw(&run.layout.result(generation, parent))?;
                remove(&run.layout.final_checkpoint(generation, parent))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((whole.len() == needed.len()).then_some(whole))
}

fn file_of<'a>(files: &BTreeMap<MemberId, &'a FileRef>, member: MemberId) -> Result<&'a FileRef> {
    files.get(&member).copied().with_context(|| format!("member {member} has no checkpoint to go on from"))
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

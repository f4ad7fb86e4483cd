//! From one generation to the next: read results, select, mix, publish. Nothing here submits or trains.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use crate::checkpoint::{
    CheckpointError, Digest, Meta, Reader, ShrinkPerturb, Surgery, digest_file, offspring,
};
use crate::search::{
    Address, Change, MemberId, Offspring, Origin, Trained, first_generation, next_generation,
};
use crate::state::{
    BestRecord, FORMAT, FileRef, MemberPlan, Outcome, PlanRecord, Published, ResultRecord, Run, StartRecord,
    StateError, collect, ensure_dir, publish_json, read_attempts, replace_json, stage,
};
use crate::tasks::Task;

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
    loop {
        let Some(generation) = run.latest_generation()? else {
            first(run)?;
            continue;
        };
        let plan = run.plan(generation)?;
        let mut results = Vec::new();
        let mut missing = Vec::new();
        for member in &plan.members {
            match run.result(generation, member.id)? {
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
            return Ok(Next::Finished { generation });
        };
        next(run, task, &plan, &results, to_epoch)?;
        collect(run, generation + 1, best.as_ref(), beaten.as_ref())?;
        idle = false;
    }
}

/// Publishes a failed result if the member's attempts are used up.
fn give_up(run: &Run, generation: u32, member: MemberId) -> Result<bool, StateError> {
    let attempts = read_attempts(&run.layout.attempts(generation, member))?;
    let failed: Vec<_> = attempts.iter().filter(|attempt| attempt.failed()).collect();
    let Some(last) = failed.last().filter(|_| failed.len() >= run.config.training.max_attempts as usize)
    else {
        return Ok(false);
    };
    let result = ResultRecord {
        format: FORMAT,
        generation,
        member,
        outcome: Outcome::Failed { reason: last.reason(), attempts: attempts.len() as u32 },
    };
    publish_json(&run.layout.result(generation, member), &result)?;
    Ok(true)
}

/// Brings best.json up to the results of a generation; the best, and the one it took the place of.
fn update_best(
    run: &Run,
    plan: &PlanRecord,
    results: &[ResultRecord],
) -> Result<(Option<BestRecord>, Option<BestRecord>), StateError> {
    let before = run.best()?;
    if before.as_ref().is_some_and(|best| best.as_of >= plan.generation) {
        return Ok((before, None));
    }
    let mut best = before.clone();
    for (member, result) in plan.members.iter().zip(results) {
        let Outcome::Trained { fitness: Some(fitness), metrics, checkpoint, .. } = &result.outcome else {
            continue;
        };
        if best.as_ref().is_none_or(|best| *fitness > best.fitness) {
            best = Some(BestRecord {
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
    if let Some(best) = &mut best {
        best.as_of = plan.generation;
        replace_json(&run.layout.best(), best)?;
    }
    let place = |best: &BestRecord| (best.generation, best.member);
    let beaten = before.filter(|before| best.as_ref().map(place) != Some(place(before)));
    Ok((best, beaten))
}

fn first(run: &Run) -> Result<()> {
    let schedule = run.config.search.schedule().context("the run's schedule is wrong")?;
    let planned = first_generation(&run.space, &run.config.settings(), run.record.seed);
    let members = planned.into_iter().map(|member| record(member, StartRecord::Fresh)).collect();
    publish_plan(run, 0, 0, schedule.next_boundary(0).unwrap_or(schedule.total()), members)
}

fn next(
    run: &Run,
    task: &dyn Task,
    plan: &PlanRecord,
    results: &[ResultRecord],
    to_epoch: u32,
) -> Result<()> {
    let generation = plan.generation + 1;
    let trained: Vec<Trained> =
        plan.members.iter().zip(results).map(|(member, result)| Run::trained(member, result)).collect();
    let planned = next_generation(&run.space, &run.config.settings(), run.record.seed, generation, &trained)?;
    let files: BTreeMap<MemberId, &FileRef> = results
        .iter()
        .filter_map(|result| match &result.outcome {
            Outcome::Trained { checkpoint, .. } => Some((result.member, checkpoint)),
            Outcome::Failed { .. } => None,
        })
        .collect();
    let children: Vec<&Offspring> = planned.iter().filter(|member| member.origin.is_made()).collect();
    let mut starts = make_children(run, task, generation, &children, &files)?;
    let members = planned
        .iter()
        .map(|member| {
            let start = match member.origin {
                Origin::Random => StartRecord::Fresh,
                Origin::Survivor => StartRecord::Checkpoint(file_of(&files, member.id)?.clone()),
                Origin::Perturbed | Origin::Mutation { .. } | Origin::Mix { .. } => {
                    StartRecord::Checkpoint(starts.remove(&member.id).context("a child was not made")?)
                }
            };
            Ok(record(member.clone(), start))
        })
        .collect::<Result<_>>()?;
    publish_plan(run, generation, plan.to_epoch, to_epoch, members)
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
    for member in &members {
        ensure_dir(&run.layout.member(generation, member.id))?;
    }
    let plan = PlanRecord { format: FORMAT, generation, from_epoch, to_epoch, members };
    publish_json(&run.layout.plan(generation), &plan)?;
    Ok(())
}

/// Makes the start checkpoints of all children, several at a time: as many as there are cores.
fn make_children(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    children: &[&Offspring],
    files: &BTreeMap<MemberId, &FileRef>,
) -> Result<BTreeMap<MemberId, FileRef>> {
    // Each parent is checked once, however many children it has.
    let mut parents: BTreeMap<MemberId, Reader> = BTreeMap::new();
    for child in children {
        let of_child = match child.origin {
            Origin::Mix { base, donor, .. } => vec![base, donor],
            Origin::Mutation { parent, .. } => vec![parent],
            Origin::Perturbed => vec![child.id],
            Origin::Random | Origin::Survivor => vec![],
        };
        for parent in of_child {
            if let std::collections::btree_map::Entry::Vacant(place) = parents.entry(parent) {
                place.insert(run.checkpoint(file_of(files, parent)?)?);
            }
        }
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(children.len());
    let turn = AtomicUsize::new(0);
    let made: Vec<Result<Vec<_>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = Vec::new();
                    while let Some(child) = children.get(turn.fetch_add(1, Ordering::Relaxed)) {
                        made.push((child.id, make_child(run, task, generation, child, &parents)?));
                    }
                    Ok(made)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut starts = BTreeMap::new();
    for made in made {
        starts.extend(made?);
    }
    Ok(starts)
}

/// Makes one child's start checkpoint, unless an earlier process has.
fn make_child(
    run: &Run,
    task: &dyn Task,
    generation: u32,
    child: &Offspring,
    parents: &BTreeMap<MemberId, Reader>,
) -> Result<FileRef> {
    let path = run.layout.start(generation, child.id);
    let dir = run.layout.member(generation, child.id);
    let file = |size, digest: Digest| FileRef { path: run.layout.relative(&path), size, digest };
    ensure_dir(&dir)?;
    if !path.exists() {
        let parent = |id: &MemberId| parents.get(id).context("a parent was not opened");
        let shrink_perturb =
            ShrinkPerturb { shrink: run.config.search.shrink, perturb: run.config.search.perturb };
        let (base, surgery) = match &child.origin {
            Origin::Mix { base, donor, replaced } => {
                (parent(base)?, Surgery::Mix { donor: parent(donor)?, replaced, shrink_perturb })
            }
            Origin::Mutation { parent: base, change } => (
                parent(base)?,
                match change {
                    Change::Nothing => Surgery::Copy,
                    Change::Variable { name } => Surgery::Redraw { variable: name },
                    Change::Weights => Surgery::MutateWeights,
                },
            ),
            Origin::Perturbed => (parent(&child.id)?, Surgery::ShrinkPerturb(shrink_perturb)),
            Origin::Random | Origin::Survivor => anyhow::bail!("member {} is no child", child.id),
        };
        let tensors = task.tensors(&child.genotype)?;
        let noise = Address { run: run.record.seed, generation, member: Some(child.id), purpose: "noise" };
        let meta = Meta { genotype: child.genotype.clone(), ..base.meta().clone() };
        let (staged, written) = stage(&dir, |out| {
            offspring(out, &run.space, &tensors, base, &surgery, &noise, &meta).map_err(ChildError::from)
        })
        .map_err(|error| error.0)?;
        if staged.publish("start.safetensors")? == Published::Created {
            return Ok(file(written.size, written.digest));
        }
    }
    let there = digest_file(&path)?;
    Ok(file(there.size, there.digest))
}

/// Either way in which writing a child can fail.
struct ChildError(anyhow::Error);

impl From<StateError> for ChildError {
    fn from(error: StateError) -> Self {
        Self(error.into())
    }
}

impl From<CheckpointError> for ChildError {
    fn from(error: CheckpointError) -> Self {
        Self(error.into())
    }
}

//! Final evaluations of a member or a soup, with many samples and random numbers that the search has not used.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::member_context::place;
use crate::run::Run;
use crate::signal::StopSignal;
use crate::task::{Evaluation, Measure, Start, Task};
use pbtnas_core::checkpoint::Reader;
use pbtnas_core::durable_fs::ensure_dir;
use pbtnas_core::run::{
    EvaluationRecord, FORMAT, FileRef, Outcome, SoupRecord, find_json, publish_json, read_json,
};
use pbtnas_core::search::MemberId;

/// The subject of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The best member of the run.
    Best,
    /// A member after the training of a generation.
    Member(u32, MemberId),
    /// The soup of the whole networks or of a part.
    Soup(Option<&'a str>),
}

/// Returns the record of an evaluation; evaluates only if there is none yet.
pub fn evaluate(
    run: &Run,
    task: &dyn Task,
    subject: Subject,
    samples: usize,
    host: &str,
) -> Result<EvaluationRecord> {
    let (path, (generation, member), checkpoint) = find(run, subject, samples)?;
    if let Some(record) = find_json(&path)? {
        return Ok(record);
    }
    for file in &run.record.shared {
        run.check_file(file)?;
    }
    let reader: Reader = run.checkpoint(&checkpoint)?;
    let started = Instant::now();
    let place = place(run, generation, member, run.layout.root(), &StopSignal::default());
    let mut session = task.session(Start::Checkpoint(&reader), place)?;
    let Evaluation { fitness, metrics } = session.evaluate(Measure::Final { samples })?;
    let record = EvaluationRecord {
        format: FORMAT,
        checkpoint,
        samples,
        fitness: fitness.is_finite().then_some(fitness),
        metrics: metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
        host: host.into(),
        seconds: started.elapsed().as_secs_f64(),
    };
    // Retention may have removed the member's folder.
    path.parent().map(ensure_dir).transpose()?;
    publish_json(&path, &record)?;
    Ok(read_json(&path)?)
}

/// The final evaluation of the current best member or soup with the most samples, if there is one.
pub fn latest_evaluation(run: &Run, subject: Subject) -> Result<Option<EvaluationRecord>> {
    let (path, _, checkpoint) = find(run, subject, 0)?;
    let Some(dir) = path.parent() else { return Ok(None) };
    let mut found: Option<EvaluationRecord> = None;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("evaluation-") {
            continue;
        }
        let record: EvaluationRecord = read_json(&entry.path())?;
        let more = found.as_ref().is_none_or(|found| record.samples > found.samples);
        if record.checkpoint == checkpoint && more {
            found = Some(record);
        }
    }
    Ok(found)
}

/// The record of a run's soup of the whole networks or of a part, if it is complete.
pub fn soup_record(run: &Run, part: Option<&str>) -> Result<Option<SoupRecord>> {
    Ok(find_json(&run.layout.soup(part).record())?)
}

/// The path of the record, the generation and member whose random numbers are used, and the checkpoint.
fn find(run: &Run, subject: Subject, samples: usize) -> Result<(PathBuf, (u32, MemberId), FileRef)> {
    let state = run.layout.root().display();
    match subject {
        Subject::Best => {
            let best = run.best()?.with_context(|| run.no_best())?;
            let path = run.layout.evaluation(best.generation, best.member, samples);
            Ok((path, (best.generation, best.member), best.checkpoint))
        }
        Subject::Member(generation, member) => {
            let result = run.result(generation, member)?.map(|result| result.outcome);
            let Some(Outcome::Trained { checkpoint, .. }) = result else {
                anyhow::bail!("member {member} of generation {generation} of {state} has not been trained")
            };
            Ok((run.layout.evaluation(generation, member, samples), (generation, member), checkpoint))
        }
        Subject::Soup(part) => {
            let soup = soup_record(run, part)?.with_context(|| {
                let option = part.map_or(String::new(), |part| format!(" --part {part}"));
                format!("{state} has no such soup yet: run `pbtnas soup --state {state}{option}`")
            })?;
            let first = soup.ingredients.first().context("the soup has no ingredient")?;
            Ok((run.layout.soup(part).evaluation(samples), (first.generation, first.member), soup.checkpoint))
        }
    }
}

//! A log directory for TensorBoard: one TensorBoard run per member, and one for the population.
//!
//! Steps are epochs, or hundredths of an epoch for training metrics, since steps are integers. Files are appended to as
//! long as their earlier contents stay the same, so that a running TensorBoard sees new events.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use super::events::{EventValue, Events};
use crate::report::history::{Generation, History, Member, diversity};
use crate::report::words::origin;
use pbtnas_core::run::{FileRef, Outcome};
use pbtnas_engine::png;
use pbtnas_engine::run::Run;

const PARTS_OF_AN_EPOCH: &str = "Steps are hundredths of an epoch.";
const EPOCHS: &str = "Steps are epochs.";

/// Writes the log directory and returns its path.
pub fn write(run: &Run, history: &History, folder: &Path) -> Result<PathBuf> {
    let created = run.record.created;
    let name = format!("events.out.tfevents.{}.{}", created.timestamp(), run.record.run_id);
    for id in 0..run.config.search.population {
        let mut events = Events::new(seconds(created));
        for generation in &history.generations {
            let Some(member) = generation.members.get(id) else { continue };
            // Written events must not change later.
            if member.result.is_none() {
                break;
            }
            add_member(run, &mut events, generation, member);
        }
        grow(&folder.join(format!("member-{id:02}")), &name, &events.into_bytes())?;
    }
    let mut events = Events::new(seconds(created));
    for generation in history.generations.iter().take_while(|generation| generation.is_finished()) {
        add_population(run, &mut events, generation);
    }
    grow(&folder.join("population"), &name, &events.into_bytes())?;
    Ok(folder.to_owned())
}

fn add_member(run: &Run, events: &mut Events, generation: &Generation, member: &Member) {
    let Some(Outcome::Trained { fitness, metrics, curve, epoch, started, finished, .. }) =
        member.result.as_ref().map(|result| &result.outcome)
    else {
        return;
    };
    let (begin, end) = (seconds(*started), seconds(*finished));
    let (from, to) = (f64::from(generation.from_epoch), f64::from(generation.to_epoch));
    let first = i64::from(generation.from_epoch);
    let text = format!("**{}**\n\n{}", origin(&member.plan.origin), genotype(member));
    events.add(begin, first, "member", "Origin and genotype.", &EventValue::Text(&text));
    for (name, _) in run.space.ranges() {
        if let Some(number) = member.plan.genotype.number(name) {
            events.add(begin, first, &format!("hyperparameter/{name}"), EPOCHS, &EventValue::Scalar(number));
        }
    }
    for point in curve {
        // A network that was sampled later has fewer epochs than its generation; steps are epochs of the generation.
        let at = (point.epoch + to - f64::from(*epoch)).clamp(from, to);
        let (time, step) = (begin + (at - from) / (to - from) * (end - begin), (100.0 * at).round() as i64);
        for (name, value) in &point.metrics {
            events.add(
                time,
                step,
                &format!("training/{name}"),
                PARTS_OF_AN_EPOCH,
                &EventValue::Scalar(*value),
            );
        }
    }
    let last = i64::from(generation.to_epoch);
    if let Some(fitness) = fitness {
        events.add(end, last, "fitness", EPOCHS, &EventValue::Scalar(*fitness));
    }
    for (name, value) in metrics {
        events.add(end, last, &format!("measured/{name}"), EPOCHS, &EventValue::Scalar(*value));
    }
}

/// Adds best and mean fitness, diversity, and the preview image of the best member.
fn add_population(run: &Run, events: &mut Events, generation: &Generation) {
    let ends = generation.members.iter().filter_map(|member| match &member.result.as_ref()?.outcome {
        Outcome::Trained { finished, .. } => Some(*finished),
        Outcome::Failed { .. } => None,
    });
    let Some(end) = ends.max().map(seconds) else { return };
    let step = i64::from(generation.to_epoch);
    let mut add = |tag: &str, value: Option<f64>| {
        if let Some(value) = value {
            events.add(end, step, tag, EPOCHS, &EventValue::Scalar(value));
        }
    };
    let values: Vec<f64> = generation.fitness().collect();
    add("fitness/best", values.iter().copied().reduce(f64::max));
    add("fitness/mean", crate::report::statistics::mean(&values));
    let (difference, architectures) = diversity(&run.space, generation);
    add("diversity/mean difference", Some(difference));
    add("diversity/architectures", Some(architectures as f64));
    let sound = |file: &&FileRef| run.check_file(file).is_ok();
    let picture = generation.preview().filter(sound).and_then(|file| fs::read(run.path_of(file).ok()?).ok());
    if let Some((file, (width, height))) = picture.as_deref().and_then(|file| Some((file, png::size(file)?)))
    {
        events.add(end, step, "best member", EPOCHS, &EventValue::Picture(file, width, height));
    }
}

fn genotype(member: &Member) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let row = |(name, value): (&str, &str)| format!("| {} | {} |\n", cell(name), cell(value));
    let rows: String = member.plan.genotype.iter().map(row).collect();
    format!("| variable | value |\n|---|---|\n{rows}")
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_micros() as f64 / 1e6
}

/// Appends to the file if its contents are a prefix of `bytes`, otherwise replaces it. Creates the directory.
fn grow(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let path = folder.join(name);
    let there = fs::read(&path).unwrap_or_default();
    if there.is_empty() || !bytes.starts_with(&there) {
        return super::write(&path, |file| Ok(file.write_all(bytes)?)).map(drop);
    }
    // At a fixed offset: concurrent exports write the same bytes.
    let from = there.len();
    let append = || OpenOptions::new().write(true).open(&path)?.write_all_at(&bytes[from..], from as u64);
    append().with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_appended_to_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("member-00");
        let read = || fs::read(folder.join("events")).unwrap();
        grow(&folder, "events", b"one").unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let first = inode(&folder.join("events"));
        grow(&folder, "events", b"one two").unwrap();
        assert_eq!((read().as_slice(), inode(&folder.join("events"))), (&b"one two"[..], first));
        grow(&folder, "events", b"other").unwrap();
        assert_eq!(read(), b"other");
    }
}

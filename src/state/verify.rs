//! Checks a whole run: every record, every file that a record names, and every decision once more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::collected::check_collected;
use super::read::GONE;
use super::{
    FileRef, Layout, MemberPlan, Outcome, PlanRecord, ResultRecord, Run, SoupLayout, SoupRecord, SoupResult,
    StartRecord, StateError, find_attempts, find_json, is_there, kept_generations,
};
use crate::search::{MemberId, Offspring, Origin, first_generation, next_generation};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// All faults of a run, none if it is sound.
pub fn verify(run: &Run) -> Result<Vec<Fault>, StateError> {
    let mut check = Check { run, faults: Vec::new(), first_kept: 0, latest: 0, collected: BTreeSet::new() };
    for file in &run.record.shared {
        check.file(file);
    }
    let latest = match run.latest_of_all() {
        Err(StateError::Damaged { path, reason }) => {
            check.fault(path, reason);
            run.latest_generation()?
        }
        found => found?,
    };
    if let Some(latest) = latest {
        check.first_kept = kept_generations(run.config.storage.keep, latest);
        check.generations(latest);
    }
    check.soups()?;
    Ok(check.faults)
}

struct Check<'a> {
    run: &'a Run,
    faults: Vec<Fault>,
    /// The first generation whose tensors must be there.
    first_kept: u32,
    /// The latest generation; those before it must be complete.
    latest: u32,
    /// Collected files that were looked at.
    collected: BTreeSet<String>,
}

/// A generation with the results that are there. Why one is not was noted when it was read.
type Before = (PlanRecord, Vec<Option<ResultRecord>>);

impl Check<'_> {
    fn fault(&mut self, path: PathBuf, what: impl Into<String>) {
        self.faults.push(Fault { path, what: what.into() });
    }

    /// Notes what is wrong; the value, if nothing is.
    fn good<T>(&mut self, path: PathBuf, result: Result<T, StateError>) -> Option<T> {
        result.map_err(|error| self.fault(path, error.to_string())).ok()
    }

    fn file(&mut self, file: &FileRef) {
        let path = self.run.path_of(file).unwrap_or_else(|_| file.path.clone().into());
        let result = self.run.check_file(file);
        self.good(path, result);
    }

    /// A checkpoint, and the collected files that it names.
    fn checkpoint(&mut self, file: &FileRef) {
        let run = self.run;
        let path = run.path_of(file).unwrap_or_else(|_| file.path.clone().into());
        let opened = run.checkpoint(file);
        let Some(reader) = self.good(path, opened) else { return };
        for name in &reader.meta().files {
            if self.collected.insert(name.clone()) {
                self.good(run.layout.collected().join(name), check_collected(run, name));
            }
        }
    }

    fn generations(&mut self, latest: u32) {
        self.latest = latest;
        let mut before: Option<Before> = None;
        let mut best: Option<(u32, ResultRecord)> = None;
        let stored = self.run.best();
        let stored = self.good(self.run.layout.best(), stored).flatten();
        for generation in 0..=latest {
            let run = self.run;
            let path = run.layout.plan(generation);
            let plan = run.plan(generation);
            let Some(plan) = self.good(path, plan) else {
                before = None;
                continue;
            };
            self.decisions(&plan, before.as_ref());
            let archive = run.archive(generation);
            let archive = self.good(run.layout.archive(generation), archive).flatten();
            if let Some(preview) = archive.as_ref().and_then(|archive| archive.preview.as_ref()) {
                self.picture(preview);
            }
            let archived = |member: usize| archive.as_ref().and_then(|archive| archive.results.get(member));
            let results: Vec<_> = plan
                .members
                .iter()
                .enumerate()
                .map(|(at, member)| self.member(&plan, member, archived(at), before.as_ref()))
                .collect();
            if stored.as_ref().is_some_and(|stored| generation <= stored.as_of) {
                let members = plan.members.iter().zip(&results);
                let networks = members.filter(|(member, _)| !member.genotype.is_supernet());
                for result in networks.filter_map(|(_, result)| result.as_ref()) {
                    if result.fitness() > best.as_ref().and_then(|(_, best)| best.fitness()) {
                        best = Some((generation, result.clone()));
                    }
                }
            }
            before = Some((plan, results));
        }
        // Of generations that are gone nothing can be said; that they are gone is told.
        if let Some(stored) = stored.filter(|stored| stored.as_of <= latest) {
            let found = best.map(|(generation, result)| (generation, result.member));
            if found != Some((stored.generation, stored.member)) {
                self.fault(self.run.layout.best(), "it does not name the member of the highest fitness");
            }
            self.checkpoint(&stored.checkpoint);
        }
    }

    /// The plan must be what the search decides from the results before it.
    fn decisions(&mut self, plan: &PlanRecord, before: Option<&Before>) {
        let run = self.run;
        let (settings, seed) = (run.config.settings(), run.record.seed);
        let path = run.layout.plan(plan.generation);
        let (from_epoch, expected) = match (plan.generation, before) {
            (0, _) => (0, first_generation(&run.space, &settings, seed)),
            (_, None) => return,
            (generation, Some((last, results))) => {
                if results.iter().any(Option::is_none) {
                    return;
                }
                let trained = match run.trained(last, results.iter().flatten()) {
                    Ok(trained) => trained,
                    Err(error) => return self.fault(path, error.to_string()),
                };
                match next_generation(&run.space, &settings, seed, generation, &trained) {
                    Ok(expected) => (last.to_epoch, expected),
                    Err(error) => return self.fault(path, error.to_string()),
                }
            }
        };
        let planned: Vec<Offspring> = plan
            .members
            .iter()
            .map(|m| Offspring { id: m.id, genotype: m.genotype.clone(), origin: m.origin.clone() })
            .collect();
        for (planned, expected) in planned.iter().zip(&expected).filter(|(a, b)| a != b) {
            let changed = match (planned.genotype == expected.genotype, planned.origin == expected.origin) {
                (true, _) => "origin",
                (_, true) => "genotype",
                _ => "genotype and origin",
            };
            let what = format!(
                "member {} is not what the search decides from the results before it: the {changed} was changed, or \
                 one of those results",
                planned.id
            );
            self.fault(path.clone(), what);
        }
        let boundary = run.config.search.schedule().ok().and_then(|s| s.next_boundary(from_epoch));
        if plan.from_epoch != from_epoch || Some(plan.to_epoch) != boundary {
            let scheduled = boundary.map_or("no further".to_owned(), |boundary| format!("to {boundary}"));
            let what = format!(
                "it goes from epoch {} to {}, and the schedule from {from_epoch} {scheduled}",
                plan.from_epoch, plan.to_epoch
            );
            self.fault(path, what);
        }
    }

    /// The soup of everything, and those of parts that are there.
    fn soups(&mut self) -> Result<(), StateError> {
        let root = self.run.layout.root();
        self.soup(&self.run.layout.soup(None));
        for entry in std::fs::read_dir(root).map_err(StateError::io("read", root))? {
            let name = entry.map_err(StateError::io("read", root))?.file_name();
            if let Some(part) = name.to_str().and_then(Layout::part_of) {
                self.soup(&self.run.layout.soup(Some(part)));
            }
        }
        Ok(())
    }

    /// Rounds, their results, and the soup itself.
    fn soup(&mut self, layout: &SoupLayout) {
        let mut round = 1;
        loop {
            let path = layout.plan(round);
            if matches!(is_there(&path), Ok(false)) {
                break;
            }
            let plan = self.run.soup_plan(layout, round);
            let Some(plan) = self.good(path, plan) else { break };
            for candidate in (0..plan.candidates.len() as u32).map(MemberId) {
                let path = layout.result(round, candidate);
                self.good(path.clone(), find_json::<SoupResult>(&path));
            }
            round += 1;
        }
        let path = layout.record();
        if let Some(record) = self.good(path.clone(), find_json::<SoupRecord>(&path)).flatten() {
            self.checkpoint(&record.checkpoint);
        }
    }

    /// Checks a member; its result, from the archive if it is there.
    fn member(
        &mut self,
        plan: &PlanRecord,
        member: &MemberPlan,
        archived: Option<&ResultRecord>,
        last: Option<&Before>,
    ) -> Option<ResultRecord> {
        let run = self.run;
        let kept = plan.generation >= self.first_kept;
        match (&member.origin, &member.start) {
            (Origin::Random | Origin::Derived, StartRecord::Fresh) => {}
            (origin, StartRecord::Parents) if origin.is_made() => {}
            (origin, StartRecord::Checkpoint(file)) if origin.is_made() => {
                self.names(plan, file, run.layout.start(plan.generation, member.id));
                if kept {
                    self.checkpoint(file);
                }
            }
            (Origin::Survivor, StartRecord::Checkpoint(file)) => {
                let before = plan.generation.saturating_sub(1);
                self.names(plan, file, run.layout.final_checkpoint(before, member.id));
                let path = run.layout.result(before, member.id);
                let result = last.and_then(|(_, results)| results.get(member.id.0 as usize)?.as_ref());
                // What could not be read is told already.
                if let Some(result) = result
                    && !matches!(&result.outcome, Outcome::Trained { checkpoint, .. } if checkpoint == file)
                {
                    self.fault(
                        path,
                        "it does not name the checkpoint that the member was planned to go on from",
                    );
                }
            }
            _ => self.fault(
                run.layout.plan(plan.generation),
                format!("member {} does not start as its origin asks for", member.id),
            ),
        }
        let path = run.layout.result(plan.generation, member.id);
        let result = match archived {
            Some(result) => result.clone(),
            None => {
                let dir = run.layout.attempts(plan.generation, member.id);
                let attempts = find_attempts(&dir);
                for attempt in self.good(dir.clone(), attempts).unwrap_or_default() {
                    self.good(dir.clone(), attempt);
                }
                let result = run.result(plan.generation, member.id);
                let result = self.good(path.clone(), result)?;
                if result.is_none() && plan.generation < self.latest {
                    self.fault(path.clone(), GONE);
                }
                result?
            }
        };
        if let Outcome::Trained { epoch, checkpoint, preview, .. } = &result.outcome {
            self.names(plan, checkpoint, run.layout.final_checkpoint(plan.generation, member.id));
            if *epoch < plan.to_epoch - plan.from_epoch || *epoch > plan.to_epoch {
                let (least, most) = (plan.to_epoch - plan.from_epoch, plan.to_epoch);
                self.fault(
                    path,
                    format!("its network has seen {epoch} epochs, and may have seen {least} to {most}"),
                );
            }
            if kept {
                self.checkpoint(checkpoint);
            }
            if let Some(preview) = preview.as_ref().filter(|_| archived.is_none()) {
                self.picture(preview);
            }
        }
        Some(result)
    }

    /// A picture that somebody has removed to save space is not missed.
    fn picture(&mut self, file: &FileRef) {
        if self.run.path_of(file).is_ok_and(|path| path.exists()) {
            self.file(file);
        }
    }

    fn names(&mut self, plan: &PlanRecord, file: &FileRef, expected: PathBuf) {
        if self.run.layout.resolve(&file.path).as_ref() != Some(&expected) {
            let what = format!("a record names {:?} instead of {}", file.path, expected.display());
            self.fault(self.run.layout.plan(plan.generation), what);
        }
    }
}

//! Verification of a whole run: every record, every file that a record names, and every decision recomputed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::collected::check_collected;
use super::json::GONE;
use super::{
    FileRef, Layout, MemberPlan, Outcome, PlanRecord, ResultRecord, RunDir, SoupLayout, SoupRecord,
    SoupResult, StartRecord, StateError, find_attempts, find_json, kept_generations,
};
use crate::durable_fs::exists;
use crate::search::{MemberId, Offspring, Origin, first_generation, next_generation};

/// A problem with a file of the run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Description of the problem.
    pub what: String,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Checks a run and returns all problems.
pub fn verify(run: &RunDir) -> Result<Vec<Problem>, StateError> {
    let mut check = Check { run, problems: Vec::new(), first_kept: 0, latest: 0, collected: BTreeSet::new() };
    for file in &run.record.shared {
        check.file(file);
    }
    let latest = match run.latest_generation_checked() {
        Err(StateError::Damaged { path, reason }) => {
            let hint = StateError::damaged(&path, reason.clone()).hint();
            check.problems.push(Problem { path, what: reason, hint });
            run.latest_generation()?
        }
        found => found?,
    };
    if let Some(latest) = latest {
        check.first_kept = kept_generations(run.terms.keep, latest);
        check.generations(latest);
    }
    check.soups()?;
    Ok(check.problems)
}

struct Check<'a> {
    run: &'a RunDir,
    problems: Vec<Problem>,
    /// The first generation whose checkpoints must exist.
    first_kept: u32,
    /// The latest generation; earlier ones must be complete.
    latest: u32,
    /// Collected files that were checked already.
    collected: BTreeSet<String>,
}

/// A generation with its readable results; problems of the others were recorded when they were read.
type Before = (PlanRecord, Vec<Option<ResultRecord>>);

impl Check<'_> {
    fn problem(&mut self, path: PathBuf, what: impl Into<String>) {
        self.problems.push(Problem { path, what: what.into(), hint: None });
    }

    /// Records an error as a problem; returns the value otherwise.
    fn good<T>(&mut self, path: PathBuf, result: Result<T, StateError>) -> Option<T> {
        result
            .map_err(|error| {
                self.problems.push(Problem { path, what: error.to_string(), hint: error.hint() })
            })
            .ok()
    }

    fn file(&mut self, file: &FileRef) {
        let path = self.run.path_of(file).unwrap_or_else(|_| file.path.clone().into());
        let result = self.run.check_file(file);
        self.good(path, result);
    }

    /// Checks a checkpoint and the collected files that it names.
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
                let with = networks.filter_map(|(_, result)| Some((result.as_ref()?.fitness()?, result)));
                let fittest = with.reduce(|fittest, other| if other.0 > fittest.0 { other } else { fittest });
                let before = best.as_ref().and_then(|(_, best)| best.fitness());
                if let Some((_, result)) =
                    fittest.filter(|&(fitness, _)| run.terms.best_of.replaces(fitness, before))
                {
                    best = result.clone().map(|result| (generation, result));
                }
            }
            before = Some((plan, results));
        }
        // Missing generations cannot be compared; they are reported elsewhere.
        if let Some(stored) = stored.filter(|stored| stored.as_of <= latest) {
            let found = best.map(|(generation, result)| (generation, result.member));
            if found != Some((stored.generation, stored.member)) {
                self.problem(self.run.layout.best(), "it does not name the best member");
            }
            self.checkpoint(&stored.checkpoint);
        }
    }

    /// Checks that the plan matches the decision recomputed from the previous results.
    fn decisions(&mut self, plan: &PlanRecord, before: Option<&Before>) {
        let run = self.run;
        let (settings, seed) = (&run.terms.search, run.record.seed);
        let path = run.layout.plan(plan.generation);
        let (from_epoch, expected) = match (plan.generation, before) {
            (0, _) => (0, first_generation(&run.space, settings, seed)),
            (_, None) => return,
            (generation, Some((last, results))) => {
                if results.iter().any(Option::is_none) {
                    return;
                }
                let trained = match run.trained(last, results.iter().flatten()) {
                    Ok(trained) => trained,
                    Err(error) => return self.problem(path, error.to_string()),
                };
                match next_generation(&run.space, settings, seed, generation, &trained) {
                    Ok(expected) => (last.to_epoch, expected),
                    Err(error) => return self.problem(path, error.to_string()),
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
                "member {} does not match the decision recomputed from the previous results: its {changed} or one of \
                 those results was changed",
                planned.id
            );
            self.problem(path.clone(), what);
        }
        let boundary = run.terms.schedule.next_boundary(from_epoch);
        if plan.from_epoch != from_epoch || Some(plan.to_epoch) != boundary {
            let scheduled = match boundary {
                Some(boundary) => format!("the schedule requires {from_epoch} to {boundary}"),
                None => format!("the schedule ends at epoch {from_epoch}"),
            };
            let what = format!("it covers epochs {} to {}, but {scheduled}", plan.from_epoch, plan.to_epoch);
            self.problem(path, what);
        }
    }

    /// Checks the soup of whole networks and those of parts.
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

    /// Checks the rounds of a soup, their results and the soup itself.
    fn soup(&mut self, layout: &SoupLayout) {
        let mut round = 1;
        loop {
            let path = layout.plan(round);
            if matches!(exists(&path), Ok(false)) {
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

    /// Checks a member and returns its result, from the archive if there is one.
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
                // Unreadable results were reported already.
                if let Some(result) = result
                    && !matches!(&result.outcome, Outcome::Trained { checkpoint, .. } if checkpoint == file)
                {
                    self.problem(
                        path,
                        "it does not name the checkpoint that the member's next generation starts from",
                    );
                }
            }
            _ => self.problem(
                run.layout.plan(plan.generation),
                format!("start and origin of member {} do not match", member.id),
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
                    self.problem(path.clone(), GONE);
                }
                result?
            }
        };
        if let Outcome::Trained { epoch, checkpoint, preview, .. } = &result.outcome {
            self.names(plan, checkpoint, run.layout.final_checkpoint(plan.generation, member.id));
            if *epoch < plan.to_epoch - plan.from_epoch || *epoch > plan.to_epoch {
                let (least, most) = (plan.to_epoch - plan.from_epoch, plan.to_epoch);
                self.problem(
                    path,
                    format!("the network was trained for {epoch} epochs, expected {least} to {most}"),
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

    /// Checks a picture if it exists; users may remove pictures to save space.
    fn picture(&mut self, file: &FileRef) {
        if self.run.path_of(file).is_ok_and(|path| path.exists()) {
            self.file(file);
        }
    }

    fn names(&mut self, plan: &PlanRecord, file: &FileRef, expected: PathBuf) {
        if self.run.layout.resolve(&file.path).as_ref() != Some(&expected) {
            let what = format!("a record names {:?} instead of {}", file.path, expected.display());
            self.problem(self.run.layout.plan(plan.generation), what);
        }
    }
}

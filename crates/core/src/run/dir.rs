//! An existing run directory and checked access to its records.

use std::fs;
use std::path::Path;

use super::json::{GONE, or_quarantine, read_bytes};
use super::{
    ArchiveRecord, BestOf, BestRecord, FileRef, Keep, Layout, Outcome, PlanRecord, ResultRecord, RunRecord,
    SoupLayout, SoupPlan, StartRecord, StateError, find_json, read_json,
};
use crate::checkpoint::Reader;
use crate::durable_fs::{Digest, digest_file, exists, quarantined_name, refresh};
use crate::search::{
    Algorithm, Genotype, MemberId, OptionWeights, Schedule, SearchSettings, Space, TrainedMember,
};

/// The part of a run's configuration that its records are checked against.
#[derive(Debug, Clone)]
pub struct Terms {
    pub search: SearchSettings,
    /// The epochs at which generations end.
    pub schedule: Schedule,
    /// Which generations keep their members' files.
    pub keep: Keep,
    /// The generations whose best member counts.
    pub best_of: BestOf,
    /// Present if the task has a supernet.
    pub supernet: Option<Supernet>,
}

/// How an architecture is derived from a supernet.
#[derive(Debug, Clone, Copy)]
pub struct Supernet {
    /// Epochs after which the architecture is derived.
    pub epochs: u32,
    /// From the weights of all options to an architecture.
    pub derive: fn(&OptionWeights) -> anyhow::Result<Genotype>,
}

/// A run directory that was opened.
#[derive(Debug)]
pub struct RunDir {
    pub layout: Layout,
    /// `run.json`.
    pub record: RunRecord,
    /// `space.json`.
    pub space: Space,
    pub terms: Terms,
}

impl RunDir {
    /// Opens the run in a directory. `read` parses the text of its `config.toml`, and returns with it the terms and the
    /// search space of that configuration, or why it cannot be used.
    pub fn open<C>(
        root: &Path,
        read: impl FnOnce(&Path, &str) -> Result<(C, Terms, Space), String>,
    ) -> Result<(Self, C), StateError> {
        let layout = Layout::of(root)?;
        let Some(record) = find_json::<RunRecord>(&layout.run())? else {
            return Err(StateError::NoRun(root.to_owned()));
        };
        // The id is part of job names, which are joined by commas in arguments of SLURM commands.
        let plain = |id: &str| id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if record.run_id.is_empty() || !plain(&record.run_id) {
            let reason = format!("invalid run id {:?}", record.run_id);
            return Err(StateError::damaged(&layout.run(), reason));
        }
        let path = layout.config();
        let text = String::from_utf8(unchanged(&path, &record.config)?)
            .map_err(|error| StateError::damaged(&path, error.to_string()))?;
        let (config, terms, wanted) =
            read(&path, &text).map_err(|reason| StateError::damaged(&path, reason))?;
        let path = layout.space();
        let space: Space = serde_json::from_slice(&unchanged(&path, &record.space)?)
            .map_err(|error| StateError::damaged(&path, error.to_string()))?;
        if space != wanted {
            return Err(StateError::damaged(&path, "it is not the space of the run's configuration"));
        }
        Ok((Self { layout, record, space, terms }, config))
    }

    /// The last generation that has a plan.
    pub fn latest_generation(&self) -> Result<Option<u32>, StateError> {
        let dir = self.layout.generations();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::io("read", &dir)(error)),
        };
        let mut numbers: Vec<u32> = Vec::new();
        for entry in entries {
            let name = entry.map_err(StateError::io("read", &dir))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        // A generation has at least one epoch.
        numbers.retain(|&generation| generation < self.terms.schedule.total());
        numbers.sort_unstable();
        for generation in numbers.into_iter().rev() {
            refresh(&self.layout.generation(generation));
            if exists(&self.layout.plan(generation))? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// The last generation that has a plan. Fails if generations up to that of best.json are missing (removed, or
    /// hidden by a file server), because recomputing them would silently discard the search.
    pub fn latest_generation_checked(&self) -> Result<Option<u32>, StateError> {
        // Read best.json first, because another process may publish a generation meanwhile.
        let best = match self.best() {
            Err(error) if error.is_damage() => None,
            found => found?,
        };
        let latest = self.latest_generation()?;
        match best {
            Some(best) if latest.is_none_or(|latest| latest < best.as_of) => {
                // Quarantined plans are recomputed.
                for generation in latest.map_or(0, |latest| latest + 1)..=best.as_of {
                    if !exists(&quarantined_name(&self.layout.plan(generation)))? {
                        return Err(StateError::damaged(
                            &self.layout.generation(best.as_of),
                            "the generation is missing, but best.json refers to it (to continue without it, delete \
                             best.json too)",
                        ));
                    }
                }
                Ok(latest)
            }
            _ => Ok(latest),
        }
    }

    /// The message for a run without a best member.
    pub fn no_best(&self) -> String {
        let state = self.layout.root().display();
        format!(
            "{state} has no best member: no generation is complete yet, or no member has a fitness (supernets do not \
             count); see `pbtnas status --state {state}`"
        )
    }

    pub fn plan(&self, generation: u32) -> Result<PlanRecord, StateError> {
        let path = self.layout.plan(generation);
        let plan: PlanRecord = read_json(&path)?;
        let in_order = plan.members.iter().zip(0..).all(|(member, id)| member.id == MemberId(id));
        if plan.generation != generation || !in_order || plan.members.len() != self.terms.search.population {
            return Err(StateError::damaged(&path, "generation or members do not fit the run"));
        }
        let end = self.terms.schedule.next_boundary(plan.from_epoch);
        // Each previous generation had at least one epoch.
        if end != Some(plan.to_epoch) || plan.from_epoch < generation {
            return Err(StateError::damaged(&path, "its epochs do not fit the run"));
        }
        for member in &plan.members {
            if let StartRecord::Checkpoint(file) = &member.start {
                let before = generation.checked_sub(1).filter(|_| !member.origin.is_made());
                let place = match before {
                    Some(before) => self.layout.final_checkpoint(before, member.id),
                    None => self.layout.start(generation, member.id),
                };
                self.check_path(&path, file, &place)?;
            }
            let may_be_supernet = self.terms.search.algorithm == Algorithm::AdversarialNas;
            if !(may_be_supernet && member.genotype == Genotype::supernet(&self.space)) {
                self.space
                    .check_genotype(&member.genotype)
                    .map_err(|source| StateError::Space { path: path.clone(), source })?;
            }
        }
        Ok(plan)
    }

    /// A member's result, from its own file or from the archive. [`RunDir::results`] is faster for a whole generation.
    pub fn result(&self, generation: u32, member: MemberId) -> Result<Option<ResultRecord>, StateError> {
        if let Some(result) = self.result_file(generation, member)? {
            return Ok(Some(result));
        }
        let archived = self.archive(generation)?.map(|archive| archive.results);
        Ok(archived.and_then(|results| results.into_iter().nth(member.0 as usize)))
    }

    /// A member's own `result.json`, which is removed when the generation is archived.
    pub fn result_file(&self, generation: u32, member: MemberId) -> Result<Option<ResultRecord>, StateError> {
        let path = self.layout.result(generation, member);
        let Some(result) = find_json::<ResultRecord>(&path)? else { return Ok(None) };
        if (result.generation, result.member) != (generation, member) {
            return Err(StateError::damaged(&path, "it belongs to another member"));
        }
        self.check_result(&path, &result)?;
        Ok(Some(result))
    }

    /// A member's result. A damaged one is quarantined: the member continues from its last snapshot and produces the
    /// same result again.
    pub fn result_or_quarantine(
        &self,
        generation: u32,
        member: MemberId,
    ) -> Result<Option<ResultRecord>, StateError> {
        or_quarantine(&self.layout.result(generation, member), self.result(generation, member))
    }

    /// The results of a generation's members, in order of ids.
    pub fn results(&self, generation: u32) -> Result<Vec<Option<ResultRecord>>, StateError> {
        match self.archive(generation)? {
            Some(archive) => Ok(archive.results.into_iter().map(Some).collect()),
            None => (0..self.terms.search.population as u32)
                .map(|member| self.result(generation, MemberId(member)))
                .collect(),
        }
    }

    /// The archive of a generation; none as long as its members' files are kept.
    pub fn archive(&self, generation: u32) -> Result<Option<ArchiveRecord>, StateError> {
        let path = self.layout.archive(generation);
        let Some(archive) = find_json::<ArchiveRecord>(&path)? else { return Ok(None) };
        let in_order = archive
            .results
            .iter()
            .zip(0..)
            .all(|(result, id)| (result.generation, result.member) == (archive.generation, MemberId(id)));
        let population = self.terms.search.population;
        let whole = archive.results.len() == population && archive.attempts.len() == population;
        if archive.generation != generation || !in_order || !whole {
            return Err(StateError::damaged(&path, "generation or members do not fit the run"));
        }
        archive.results.iter().try_for_each(|result| self.check_result(&path, result))?;
        if let Some(preview) = &archive.preview {
            self.check_path(&path, preview, &self.layout.best_preview(generation))?;
        }
        Ok(Some(archive))
    }

    /// The plan of a soup's round.
    pub fn soup_plan(&self, soup: &SoupLayout, round: u32) -> Result<SoupPlan, StateError> {
        let path = soup.plan(round);
        let plan: SoupPlan = read_json(&path)?;
        // The first round has one ingredient, and each round adds one.
        if plan.round != round || plan.ingredients.is_empty() || plan.ingredients.len() != round as usize {
            return Err(StateError::damaged(&path, "its ingredients do not fit the round"));
        }
        for one in plan.ingredients.iter().chain(&plan.candidates) {
            let place = match one.fitness {
                Some(_) => self.layout.final_checkpoint(one.generation, one.member),
                None => self.layout.start(one.generation, one.member),
            };
            self.check_path(&path, &one.checkpoint, &place)?;
        }
        Ok(plan)
    }

    /// Checks that a result names only the member's own files.
    fn check_result(&self, path: &Path, result: &ResultRecord) -> Result<(), StateError> {
        let (generation, member) = (result.generation, result.member);
        match &result.outcome {
            Outcome::Trained { checkpoint, preview, .. } => {
                if let Some(preview) = preview {
                    self.check_path(path, preview, &self.layout.preview(generation, member))?;
                }
                self.check_path(path, checkpoint, &self.layout.final_checkpoint(generation, member))
            }
            Outcome::Failed { .. } => Ok(()),
        }
    }

    /// Checks that the record at `path` names the file `place`.
    fn check_path(&self, path: &Path, file: &FileRef, place: &Path) -> Result<(), StateError> {
        if self.layout.resolve(&file.path).as_deref() == Some(place) {
            return Ok(());
        }
        let wanted = self.layout.relative(place);
        Err(StateError::damaged(path, format!("it names the file {:?} instead of {wanted}", file.path)))
    }

    /// The trained population as input for the search. A diverged supernet counts as failed. Fails if no architecture
    /// can be derived from a supernet's result.
    pub fn trained<'a>(
        &self,
        plan: &PlanRecord,
        results: impl Iterator<Item = &'a ResultRecord>,
    ) -> Result<Vec<TrainedMember>, StateError> {
        let trained = plan.members.iter().zip(results).map(|(member, result)| {
            let (fitness, has_network, derived) = match &result.outcome {
                Outcome::Trained { fitness, epoch, option_weights, .. } if member.genotype.is_supernet() => {
                    let diverged = fitness.is_none() || option_weights.is_empty();
                    let supernet =
                        self.terms.supernet.filter(|supernet| *epoch >= supernet.epochs && !diverged);
                    let derived = supernet.map(|supernet| (supernet.derive)(option_weights));
                    let derived = derived.transpose().map_err(|error| {
                        let path = self.layout.result(plan.generation, member.id);
                        StateError::damaged(&path, error.to_string())
                    })?;
                    (*fitness, !diverged, derived)
                }
                Outcome::Trained { fitness, .. } => (*fitness, true, None),
                Outcome::Failed { .. } => (None, false, None),
            };
            Ok(TrainedMember {
                id: member.id,
                genotype: member.genotype.clone(),
                fitness,
                has_network,
                derived,
            })
        });
        trained.collect()
    }

    pub fn best(&self) -> Result<Option<BestRecord>, StateError> {
        let path = self.layout.best();
        let Some(best) = find_json::<BestRecord>(&path)? else { return Ok(None) };
        // This file is removed when a better member is found, so it must be the member's own checkpoint.
        let place = self.layout.final_checkpoint(best.generation, best.member);
        self.check_path(&path, &best.checkpoint, &place)?;
        if best.generation > best.as_of || best.as_of >= self.terms.schedule.total() {
            return Err(StateError::damaged(&path, "its generations do not fit the run"));
        }
        self.space
            .check_genotype(&best.genotype)
            .map_err(|error| StateError::damaged(&path, error.to_string()))?;
        Ok(Some(best))
    }

    pub fn path_of(&self, file: &FileRef) -> Result<std::path::PathBuf, StateError> {
        self.layout.resolve(&file.path).ok_or_else(|| {
            StateError::damaged(
                self.layout.root(),
                format!("a record names the invalid path {:?}", file.path),
            )
        })
    }

    /// Checks size and digest of a file that a record names, and returns its path.
    pub fn check_file(&self, file: &FileRef) -> Result<std::path::PathBuf, StateError> {
        let path = self.path_of(file)?;
        let size = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StateError::damaged(&path, GONE));
            }
            found => found.map_err(StateError::io("read", &path))?.len(),
        };
        if size != file.size {
            return Err(StateError::damaged(&path, format!("it has {size} bytes instead of {}", file.size)));
        }
        let found = digest_file(&path)?.digest;
        if found != file.digest {
            return Err(StateError::damaged(
                &path,
                format!("its contents have changed: digest {found} instead of {}", file.digest),
            ));
        }
        Ok(path)
    }

    /// Checks the digest of a checkpoint that a record names and opens it.
    pub fn checkpoint(&self, file: &FileRef) -> Result<Reader, StateError> {
        Ok(Reader::open(&self.check_file(file)?)?)
    }
}

/// Reads a file that `run.json` names; fails if it changed since `pbtnas init`.
fn unchanged(path: &Path, file: &FileRef) -> Result<Vec<u8>, StateError> {
    let bytes = read_bytes(path)?;
    if Digest::of(&bytes) != file.digest {
        return Err(StateError::damaged(path, "it was changed after `pbtnas init`"));
    }
    Ok(bytes)
}

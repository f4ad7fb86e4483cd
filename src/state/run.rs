//! An existing run: its records, read and checked.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{
    BestRecord, FORMAT, FileRef, Layout, MemberPlan, Outcome, PlanRecord, ResultRecord, RunRecord, StateError,
};
use crate::checkpoint::{Digest, Reader, digest_file};
use crate::config::Config;
use crate::search::{MemberId, Space, Trained};

/// Records larger than this are not ours.
const MAX_RECORD: u64 = 1 << 30;

/// Reads a record, after checking that its format is known.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u64,
    }
    let size = fs::metadata(path).map_err(StateError::io("read", path))?.len();
    if size > MAX_RECORD {
        return Err(StateError::damaged(path, format!("it has {size} bytes")));
    }
    let bytes = fs::read(path).map_err(StateError::io("read", path))?;
    let damaged = |error: serde_json::Error| StateError::damaged(path, error.to_string());
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(record),
        Err(error) => match serde_json::from_slice::<Format>(&bytes) {
            Ok(Format { format }) if format != FORMAT => {
                Err(StateError::Format { path: path.to_owned(), found: format, known: FORMAT })
            }
            _ => Err(damaged(error)),
        },
    }
}

/// A run that was opened.
#[derive(Debug)]
pub struct Run {
    /// Where everything is.
    pub layout: Layout,
    /// `run.json`.
    pub record: RunRecord,
    /// `config.toml`.
    pub config: Config,
    /// `space.json`.
    pub space: Space,
}

impl Run {
    /// Opens the run in a directory; configuration and space must be those it was made with.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let layout = Layout::new(std::path::absolute(root).map_err(StateError::io("find", root))?);
        if !layout.run().exists() {
            return Err(StateError::NoRun(root.to_owned()));
        }
        let record: RunRecord = read_json(&layout.run())?;
        if record.format != FORMAT {
            return Err(StateError::Format { path: layout.run(), found: record.format, known: FORMAT });
        }
        let path = layout.config();
        let text = fs::read_to_string(&path).map_err(StateError::io("read", &path))?;
        if Digest::of(text.as_bytes()) != record.config.digest {
            return Err(StateError::damaged(
                &path,
                "it was changed after `pbtnas init`; put it back as it was (a run keeps its configuration), \
                 or start a new run with the changed one",
            ));
        }
        let config =
            Config::parse(&path, &text).map_err(|error| StateError::damaged(&path, error.to_string()))?;
        let path = layout.space();
        let bytes = fs::read(&path).map_err(StateError::io("read", &path))?;
        if Digest::of(&bytes) != record.space.digest {
            return Err(StateError::damaged(&path, "it was changed after `pbtnas init`"));
        }
        let space: Space =
            serde_json::from_slice(&bytes).map_err(|error| StateError::damaged(&path, error.to_string()))?;
        Ok(Self { layout, record, config, space })
    }

    /// The last generation that has a plan, if any has.
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
        numbers.sort_unstable();
        Ok(numbers.into_iter().rev().find(|&generation| self.layout.plan(generation).exists()))
    }

    /// A generation's plan.
    pub fn plan(&self, generation: u32) -> Result<PlanRecord, StateError> {
        let path = self.layout.plan(generation);
        let plan: PlanRecord = read_json(&path)?;
        let in_order = plan.members.iter().zip(0..).all(|(member, id)| member.id == MemberId(id));
        if plan.generation != generation || !in_order || plan.members.len() != self.config.search.population {
            return Err(StateError::damaged(&path, "generation or members do not fit the run"));
        }
        for member in &plan.members {
            self.space
                .check_genotype(&member.genotype)
                .map_err(|source| StateError::Space { path: path.clone(), source })?;
        }
        Ok(plan)
    }

    /// A member's result, if it is there.
    pub fn result(&self, generation: u32, member: MemberId) -> Result<Option<ResultRecord>, StateError> {
        let path = self.layout.result(generation, member);
        if !path.exists() {
            return Ok(None);
        }
        let result: ResultRecord = read_json(&path)?;
        if (result.generation, result.member) != (generation, member) {
            return Err(StateError::damaged(&path, "it belongs to another member"));
        }
        Ok(Some(result))
    }

    /// What the search sees of a member and its result.
    pub fn trained(plan: &MemberPlan, result: &ResultRecord) -> Trained {
        let (fitness, has_network) = match &result.outcome {
            Outcome::Trained { fitness, .. } => (*fitness, true),
            Outcome::Failed { .. } => (None, false),
        };
        Trained { id: plan.id, genotype: plan.genotype.clone(), fitness, has_network }
    }

    /// The best member so far, if there is one.
    pub fn best(&self) -> Result<Option<BestRecord>, StateError> {
        let path = self.layout.best();
        if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
    }

    /// The path of a file that a record names.
    pub fn path_of(&self, file: &FileRef) -> Result<std::path::PathBuf, StateError> {
        self.layout.resolve(&file.path).ok_or_else(|| {
            StateError::damaged(self.layout.root(), format!("a record names the file {:?}", file.path))
        })
    }

    /// Checks size and digest of a file that a record names.
    pub fn check_file(&self, file: &FileRef) -> Result<std::path::PathBuf, StateError> {
        let path = self.path_of(file)?;
        let size = fs::metadata(&path).map_err(StateError::io("read", &path))?.len();
        if size != file.size {
            return Err(StateError::damaged(&path, format!("it has {size} bytes instead of {}", file.size)));
        }
        let found = digest_file(&path)?.digest;
        if found != file.digest {
            return Err(StateError::damaged(
                &path,
                format!("its contents have changed: {found} instead of {}", file.digest),
            ));
        }
        Ok(path)
    }

    /// Opens a checkpoint that a record names, after checking its digest.
    pub fn checkpoint(&self, file: &FileRef) -> Result<Reader, StateError> {
        Ok(Reader::open(&self.check_file(file)?)?)
    }
}

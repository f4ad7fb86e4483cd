//! Retention and verification of collected files, which members write during training. Their contents are up to the
//! task.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::json::GONE;
use super::{BestRecord, Keep, Outcome, RunDir, StartRecord, StateError, kept_generations};
use crate::checkpoint::Reader;
use crate::durable_fs::{digest_file, exists, remove};

/// Removes files collected in generations before `current` that no remaining checkpoint names.
///
/// A checkpoint names the files that its member started with or collected itself. Whatever a member of the current
/// generation needs is therefore named by its start, or is in the current generation's directory, which is not touched.
///
/// A survivor may need files of a much older generation, so every call visits the directories of all generations that
/// still exist. Empty ones are removed, so there are at most as many as named files, plus one generation's.
pub fn drop_collected(run: &RunDir, current: u32, best: Option<&BestRecord>) -> Result<(), StateError> {
    let keep = run.terms.keep;
    if keep == Keep::All {
        return Ok(());
    }
    // List before reading the names: files that are collected from here on are kept for now.
    let there = Listing::before(run, current)?;
    if there.folders.is_empty() {
        return Ok(());
    }
    let named = match names(run, kept_generations(keep, current), current, best) {
        Err(error) if error.is_damage() => {
            tracing::warn!(
                "{}; keeping all collected files for now, because this checkpoint may need some",
                error
            );
            return Ok(());
        }
        found => found?,
    };
    for (name, path) in &there.files {
        if !named.contains(name) {
            remove(path)?;
        }
    }
    for folder in &there.folders {
        // Directories that are not empty stay.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// The contents of the directories of finished generations.
#[derive(Default)]
struct Listing {
    /// Names as in checkpoints, with paths.
    files: Vec<(String, PathBuf)>,
    /// Innermost first.
    folders: Vec<PathBuf>,
}

impl Listing {
    fn before(run: &RunDir, current: u32) -> Result<Self, StateError> {
        let root = run.layout.collected();
        let mut listing = Self::default();
        let entries = match fs::read_dir(&root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
            entries => entries.map_err(StateError::io("read", &root))?,
        };
        for entry in entries {
            let entry = entry.map_err(StateError::io("read", &root))?;
            let name = entry.file_name();
            let generation = name.to_str().and_then(|name| name.parse::<u32>().ok());
            let over = generation.is_some_and(|generation| {
                generation < current && name.to_str() == Some(&format!("{generation:04}"))
            });
            // Symbolic links point outside the run: do not remove their targets.
            if over && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                listing.add(&root, &entry.path())?;
            }
        }
        Ok(listing)
    }

    fn add(&mut self, root: &Path, folder: &Path) -> Result<(), StateError> {
        for entry in walkdir::WalkDir::new(folder).contents_first(true) {
            let entry = match entry.map_err(std::io::Error::from) {
                // A concurrent `pbtnas step` removed it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entry => entry.map_err(StateError::io("read", folder))?,
            };
            if entry.file_type().is_dir() {
                self.folders.push(entry.into_path());
            } else if entry.file_type().is_file() {
                let name = entry.path().strip_prefix(root).unwrap_or(entry.path());
                self.files.push((name.to_string_lossy().into_owned(), entry.into_path()));
            }
        }
        Ok(())
    }
}

/// The files that are named by the remaining checkpoints of kept generations and by the best member's. Fails if such a
/// checkpoint is missing: a file server may hide it, or it may be rebuilt.
///
/// Soups name no files, because training never continues from them.
fn names(
    run: &RunDir,
    first_kept: u32,
    current: u32,
    best: Option<&BestRecord>,
) -> Result<BTreeSet<String>, StateError> {
    let mut checkpoints = BTreeSet::new();
    for generation in first_kept..=current {
        for member in run.plan(generation)?.members {
            match &member.start {
                StartRecord::Checkpoint(file) if member.origin.is_made() => {
                    checkpoints.insert(run.path_of(file)?);
                }
                // A survivor starts from a final checkpoint of the previous generation.
                _ => {}
            }
            if generation < current {
                checkpoints.extend(snapshots(&run.layout.progress(generation, member.id))?);
            }
        }
        for result in run.results(generation)?.into_iter().flatten() {
            if let Outcome::Trained { checkpoint, .. } = &result.outcome {
                checkpoints.insert(run.path_of(checkpoint)?);
            }
        }
    }
    checkpoints.extend(best.map(|best| run.path_of(&best.checkpoint)).transpose()?);
    let mut names = BTreeSet::new();
    for path in checkpoints {
        names.extend(Reader::open(&path)?.meta().files.iter().cloned());
    }
    Ok(names)
}

/// The snapshots of a member, from which a lost final checkpoint can be rebuilt.
fn snapshots(dir: &Path) -> Result<Vec<PathBuf>, StateError> {
    if !exists(dir)? {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let paths = entries.map_err(StateError::io("read", dir))?.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect())
}

/// Checks that a collected file exists and matches the digest in its name, if there is one.
pub fn check_collected(run: &RunDir, name: &str) -> Result<(), StateError> {
    let path = run.layout.collected().join(name);
    if !exists(&path)? {
        return Err(StateError::damaged(&path, GONE));
    }
    let Some(digits) = digest_in(&path) else { return Ok(()) };
    let found = digest_file(&path)?.digest;
    if !found.starts_with(digits) {
        return Err(StateError::damaged(&path, format!("its contents have changed (digest {found})")));
    }
    Ok(())
}

/// The first half of a digest in a file name, the DIGITS of `NAME-DIGITS.EXTENSION`.
pub fn digest_in(path: &Path) -> Option<&str> {
    path.extension()?;
    let (_, digits) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    let hexadecimal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 32 && hexadecimal).then_some(digits)
}

//! Files that members collect while they train (see `tasks::Place`): which of them nobody needs any more, and whether
//! they are sound. Only tasks know what is in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::publish::remove;
use super::read::GONE;
use super::{BestRecord, Outcome, Run, StartRecord, StateError, is_there, kept_generations};
use crate::checkpoint::{Reader, digest_file};
use crate::config::Keep;

/// Removes what members of generations before `current` have collected, unless a checkpoint that is left names it.
///
/// A checkpoint names files that its member began with or collected itself. So what a member of the current
/// generation needs is named by its start, or lies in its own folder, which is not looked at.
///
/// A survivor may need files of a generation that is long over. So all folders of generations that are still there
/// are looked at, each time, whatever became of earlier steps. There are no more of them than files that are named,
/// plus one generation's: empty ones are removed.
pub fn drop_collected(run: &Run, current: u32, best: Option<&BestRecord>) -> Result<(), StateError> {
    let keep = run.config.storage.keep;
    if keep == Keep::All {
        return Ok(());
    }
    // Before the names are read: what is collected from here on stays for now.
    let there = Listing::before(run, current)?;
    if there.folders.is_empty() {
        return Ok(());
    }
    let named = match names(run, kept_generations(keep, current), current, best) {
        Err(error) if error.is_damage() => {
            eprintln!(
                "pbtnas: {}; no collected file is removed this time, since it may need some",
                error.what()
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
        // Others stay.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// What lies in the folders of generations that are over.
#[derive(Default)]
struct Listing {
    /// Names, as checkpoints name them, and paths.
    files: Vec<(String, PathBuf)>,
    /// Inner ones first.
    folders: Vec<PathBuf>,
}

impl Listing {
    fn before(run: &Run, current: u32) -> Result<Self, StateError> {
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
            // What somebody linked here lies elsewhere and is not ours to remove.
            if over && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                listing.add(&root, &entry.path())?;
            }
        }
        Ok(listing)
    }

    fn add(&mut self, root: &Path, folder: &Path) -> Result<(), StateError> {
        for entry in walkdir::WalkDir::new(folder).contents_first(true) {
            let entry = match entry.map_err(std::io::Error::from) {
                // Another step was quicker.
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

/// The files that checkpoints name: all that are left of generations that are kept, and the best member's. Fails if
/// one is not there that should be: it may be hidden (by a file server), or be made again from the one before it.
///
/// Soups name no files: nothing is trained on from them.
fn names(
    run: &Run,
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
                // A survivor's is a final one of the generation before.
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

/// Snapshots of a member, from one of which a lost final checkpoint is made again.
fn snapshots(dir: &Path) -> Result<Vec<PathBuf>, StateError> {
    if !is_there(dir)? {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let paths = entries.map_err(StateError::io("read", dir))?.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect())
}

/// Checks a file that a checkpoint names: it must be there, and have the digest in its name, if it has one there.
pub fn check_collected(run: &Run, name: &str) -> Result<(), StateError> {
    let path = run.layout.collected().join(name);
    if !is_there(&path)? {
        return Err(StateError::damaged(&path, GONE));
    }
    let Some(digits) = digest_in(&path) else { return Ok(()) };
    let found = digest_file(&path)?.digest;
    if !found.starts_with(digits) {
        return Err(StateError::damaged(&path, format!("its contents have changed: {found}")));
    }
    Ok(())
}

/// The digits of `NAME-DIGITS.EXTENSION`: the first half of a digest.
pub fn digest_in(path: &Path) -> Option<&str> {
    path.extension()?;
    let (_, digits) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    let hexadecimal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 32 && hexadecimal).then_some(digits)
}

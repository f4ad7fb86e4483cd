//! Which files of old generations stay on disk. What they say always does.

use std::fs;
use std::path::{Path, PathBuf};

use super::collected::drop_collected;
use super::publish::{TEMPORARY, is_left_behind, link, remove};
use super::read::MAX_RECORD;
use super::{
    ArchiveRecord, BestRecord, FORMAT, FileRef, Outcome, ResultRecord, Run, StateError, is_there,
    publish_json, read_attempts,
};
use crate::config::Keep;
use crate::search::MemberId;

/// The generations whose files stay while `current` is being trained, as a range's first number. What
/// `current` starts from, the final checkpoints of the generation before, is always among them.
pub fn kept_generations(keep: Keep, current: u32) -> u32 {
    match keep {
        Keep::All => 0,
        Keep::Best => current.saturating_sub(1),
        Keep::Generations(count) => current.saturating_sub(count.max(1)),
    }
}

/// Drops the members' files of generations before those that are kept, after writing results and attempts
/// into one archive for each generation; the best member's checkpoint and final evaluations stay. What members have
/// collected goes with the last checkpoint that names it.
/// `beaten` is the record that `best` replaced, if it did.
///
/// Call it only when the plan of `current` is published. Generations that were dropped before are not
/// looked at again: the work per step does not grow with the number of generations.
pub fn collect(
    run: &Run,
    current: u32,
    best: Option<&BestRecord>,
    beaten: Option<&BestRecord>,
) -> Result<(), StateError> {
    let first_kept = kept_generations(run.config.storage.keep, current);
    let kept = best.map(|best| run.path_of(&best.checkpoint)).transpose()?;
    // A crash may have kept an earlier step from doing this: look back a little further than one generation.
    for generation in first_kept.saturating_sub(3)..first_kept {
        drop_generation(run, generation, kept.as_deref())?;
    }
    // Whatever a process of a generation that is over has left half written, nobody needs.
    if let Some(over) = current.checked_sub(1).filter(|over| *over >= first_kept) {
        drop_temporaries(&run.layout.generation(over))?;
    }
    drop_files(run.layout.root(), &is_left_behind)?;
    left_folders(run.layout.root()).iter().for_each(|folder| drop_folder(folder));
    if let Some(beaten) = beaten.filter(|beaten| beaten.generation < first_kept) {
        let path = run.path_of(&beaten.checkpoint)?;
        if Some(&path) != kept.as_ref() {
            remove(&path)?;
            let member = run.layout.member(beaten.generation, beaten.member);
            drop_empty(&[&member, &run.layout.members(beaten.generation)]);
        }
    }
    drop_collected(run, current, best)
}

fn drop_generation(run: &Run, generation: u32, kept: Option<&Path>) -> Result<(), StateError> {
    let members = run.layout.members(generation);
    if !is_there(&members)? {
        return Ok(());
    }
    let archived = archive(run, generation);
    if let Err(error) = &archived {
        eprintln!("pbtnas: {}; the records of generation {generation} stay as they are", error.what());
    }
    for member in (0..run.config.search.population as u32).map(MemberId) {
        let dir = run.layout.member(generation, member);
        // What somebody linked here lies elsewhere and is not ours to remove.
        if dir.is_symlink() {
            continue;
        }
        let mut parts = vec![run.layout.progress(generation, member)];
        parts.extend(archived.is_ok().then(|| run.layout.attempts(generation, member)));
        for part in parts.into_iter().filter(|part| !part.is_symlink()) {
            drop_files(&part, &|_| true)?;
            drop_empty(&[&part]);
        }
        let checkpoint = run.layout.final_checkpoint(generation, member);
        let stays = kept == Some(checkpoint.as_path());
        drop_files(&dir, &|name| match name {
            _ if name.starts_with("evaluation-") => false,
            _ if name.ends_with(".json") => archived.is_ok(),
            _ => !(stays && checkpoint.ends_with(name)),
        })?;
        drop_empty(&[&dir]);
    }
    drop_temporaries(&run.layout.generation(generation))?;
    drop_empty(&[&members]);
    let label = format!("g{generation:04}-");
    drop_files(&run.layout.logs(), &|name| name.starts_with(&label))
}

/// Removes the temporary files and folders below a directory on which nobody works any more.
pub fn drop_temporaries(dir: &Path) -> Result<(), StateError> {
    let mut entries = walkdir::WalkDir::new(dir).into_iter();
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { continue };
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        if entry.file_type().is_dir() {
            entries.skip_current_dir();
            drop_folder(entry.path());
        } else if entry.file_type().is_file() {
            remove(entry.path())?;
        }
    }
    Ok(())
}

/// The temporary folders in a directory that processes of this machine have left which are gone.
pub fn left_folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        is_left_behind(&entry.file_name().to_string_lossy())
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    left.map(|entry| entry.path()).collect()
}

/// Removes a temporary folder. If that fails (somebody may still have a file of it open), it stays for now.
pub fn drop_folder(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            eprintln!("pbtnas: failed to remove {}: {error}; it stays for now", path.display());
        }
        _ => {}
    }
}

/// Publishes what became of the members of a generation.
fn archive(run: &Run, generation: u32) -> Result<(), StateError> {
    let path = run.layout.archive(generation);
    if is_there(&path)? {
        return Ok(());
    }
    let (mut results, mut attempts) = (Vec::new(), Vec::new());
    for member in (0..run.config.search.population as u32).map(MemberId) {
        let result = run.result(generation, member)?.ok_or_else(|| {
            StateError::damaged(&run.layout.result(generation, member), "the result has been lost")
        })?;
        results.push(result);
        attempts.push(read_attempts(&run.layout.attempts(generation, member))?);
    }
    let preview = keep_preview(run, generation, &results)?;
    let mut record = ArchiveRecord { format: FORMAT, generation, results, preview, attempts };
    // Curves are the only part that a large population makes too large to be read.
    let size = serde_json::to_vec_pretty(&record).map(|json| json.len() as u64);
    if size.is_ok_and(|size| size > MAX_RECORD - 4096) {
        for result in &mut record.results {
            if let Outcome::Trained { curve, .. } = &mut result.outcome {
                curve.clear();
            }
        }
    }
    publish_json(&path, &record)?;
    Ok(())
}

/// Keeps the preview of the best of a generation's members, if there is one: its reference under the name that stays.
fn keep_preview(run: &Run, generation: u32, results: &[ResultRecord]) -> Result<Option<FileRef>, StateError> {
    let with = results.iter().filter(|result| result.fitness().is_some());
    // Among equals the first, as everywhere.
    let best = with.reduce(|best, other| if other.fitness() > best.fitness() { other } else { best });
    let Some(Outcome::Trained { preview: Some(preview), .. }) = best.map(|best| &best.outcome) else {
        return Ok(None);
    };
    let (from, path) = (run.path_of(preview)?, run.layout.best_preview(generation));
    // Somebody may have removed a picture to save space.
    if !is_there(&from)? && !is_there(&path)? {
        return Ok(None);
    }
    if !is_there(&path)? {
        link(&from, &path)?;
    }
    Ok(Some(FileRef { path: run.layout.relative(&path), ..preview.clone() }))
}

/// Removes the files in a directory, not those below it, whose names are not wanted any more.
fn drop_files(dir: &Path, unwanted: &dyn Fn(&str) -> bool) -> Result<(), StateError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StateError::io("read", dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StateError::io("read", dir))?;
        let file = entry.file_type().is_ok_and(|kind| !kind.is_dir());
        if file && unwanted(&entry.file_name().to_string_lossy()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes directories that are empty; others stay.
fn drop_empty(dirs: &[&Path]) {
    for dir in dirs {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_current_generation_starts_from_is_always_kept() {
        for current in 0..10 {
            for keep in [Keep::All, Keep::Best, Keep::Generations(1), Keep::Generations(3)] {
                assert!(kept_generations(keep, current) <= current.saturating_sub(1));
            }
        }
        assert_eq!(kept_generations(Keep::Generations(2), 7), 5);
        assert_eq!(kept_generations(Keep::All, 7), 0);
    }
}

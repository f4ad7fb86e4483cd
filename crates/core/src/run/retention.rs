//! Checkpoint retention: which files of old generations stay on disk. Results and attempts are always kept.

use std::fs;
use std::path::{Path, PathBuf};

use super::collected::drop_collected;
use super::json::MAX_RECORD;
use super::{
    ArchiveRecord, BestRecord, FORMAT, FileRef, Keep, Outcome, ResultRecord, RunDir, StateError,
    publish_json, read_attempts, soup_candidates,
};
use crate::durable_fs::{TEMPORARY, exists, is_abandoned, link, remove};
use crate::search::MemberId;

/// The first generation whose files are kept while `current` is being trained. The previous generation, from whose
/// final checkpoints `current` starts, is always kept.
pub fn kept_generations(keep: Keep, current: u32) -> u32 {
    match keep {
        Keep::All => 0,
        Keep::Best => current.saturating_sub(1),
        Keep::Generations(count) => current.saturating_sub(count.max(1)),
    }
}

/// Removes the members' files of generations before the kept ones, after writing results and attempts to one archive
/// per generation. Final evaluations are kept, and the checkpoints of the best member and of the candidates of its
/// soup. Collected files are removed together with the last checkpoint that names them, but those of candidates are not
/// kept, since a soup names none. `beaten` is the record that `best` replaced, if any.
///
/// Call this only after the plan of `current` is published. Generations that were removed earlier are not visited
/// again, so the work does not grow with the number of generations. At the end of the search (`over`) all are visited
/// once, in case a crash interrupted earlier calls.
pub fn collect(
    run: &RunDir,
    current: u32,
    best: Option<&BestRecord>,
    beaten: Option<&BestRecord>,
    over: bool,
) -> Result<(), StateError> {
    let first_kept = kept_generations(run.terms.keep, current);
    let kept = match best {
        Some(best) => kept_for_soup(run, best)?,
        None => Some(Vec::new()),
    };
    // The generations whose files may belong to the best member's soup.
    let of_soup = |best: &BestRecord| [best.generation, best.generation + 1];
    let first = if over { 0 } else { first_kept.saturating_sub(3) };
    let beaten = beaten.into_iter().flat_map(of_soup).filter(|&generation| generation < first);
    for generation in beaten.chain(first..first_kept) {
        match &kept {
            Some(kept) => drop_generation(run, generation, kept)?,
            // It is unknown which files are needed.
            None if best.is_some_and(|best| of_soup(best).contains(&generation)) => {}
            None => drop_generation(run, generation, &[])?,
        }
    }
    // Partially written files of a finished generation are not needed.
    if let Some(last) = current.checked_sub(1).filter(|last| *last >= first_kept) {
        drop_temporaries(&run.layout.generation(last))?;
    }
    drop_files(run.layout.root(), &is_abandoned)?;
    abandoned_dirs(run.layout.root()).iter().for_each(|folder| drop_folder(folder));
    drop_collected(run, current, best)
}

/// The checkpoints of the best member and of the candidates of its soup; none if a damaged record hides them.
fn kept_for_soup(run: &RunDir, best: &BestRecord) -> Result<Option<Vec<PathBuf>>, StateError> {
    let candidates = match soup_candidates(run, best) {
        // A search does not need the records of old generations.
        Err(error) if error.is_damage() => {
            tracing::warn!("{error}; keeping the files of the best member's generation");
            return Ok(None);
        }
        found => found?,
    };
    let files = [&best.checkpoint].into_iter().chain(candidates.iter().map(|one| &one.checkpoint));
    files.map(|file| run.path_of(file)).collect::<Result<_, _>>().map(Some)
}

fn drop_generation(run: &RunDir, generation: u32, kept: &[PathBuf]) -> Result<(), StateError> {
    let members = run.layout.members(generation);
    if !exists(&members)? {
        return Ok(());
    }
    let archived = archive(run, generation);
    if let Err(error) = &archived {
        tracing::warn!("{error}; keeping the records of generation {generation}");
    }
    for member in (0..run.terms.search.population as u32).map(MemberId) {
        let dir = run.layout.member(generation, member);
        // Symbolic links point outside the run: do not remove their targets.
        if dir.is_symlink() {
            continue;
        }
        let mut parts = vec![run.layout.progress(generation, member)];
        parts.extend(archived.is_ok().then(|| run.layout.attempts(generation, member)));
        for part in parts.into_iter().filter(|part| !part.is_symlink()) {
            drop_files(&part, &|_| true)?;
            drop_empty(&[&part]);
        }
        drop_files(&dir, &|name| match name {
            _ if name.starts_with("evaluation-") => false,
            _ if name.ends_with(".json") => archived.is_ok(),
            _ => !kept.contains(&dir.join(name)),
        })?;
        drop_empty(&[&dir]);
    }
    drop_temporaries(&run.layout.generation(generation))?;
    drop_empty(&[&members]);
    let label = format!("g{generation:04}-");
    drop_files(&run.layout.logs(), &|name| name.starts_with(&label))
}

/// Removes the temporary files and directories below a directory that is not in use any more.
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

/// The temporary directories in a directory that belong to processes of this machine that no longer exist.
pub fn abandoned_dirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        is_abandoned(&entry.file_name().to_string_lossy())
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
    });
    left.map(|entry| entry.path()).collect()
}

/// Removes a temporary directory, or logs a warning (another process may still have a file open).
pub fn drop_folder(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("failed to remove {}: {error}; keeping it for now", path.display());
        }
        _ => {}
    }
}

/// Publishes the archive of a generation.
fn archive(run: &RunDir, generation: u32) -> Result<(), StateError> {
    let path = run.layout.archive(generation);
    if exists(&path)? {
        return Ok(());
    }
    let (mut results, mut attempts) = (Vec::new(), Vec::new());
    for member in (0..run.terms.search.population as u32).map(MemberId) {
        let result = run.result(generation, member)?.ok_or_else(|| {
            StateError::damaged(&run.layout.result(generation, member), "the result is missing")
        })?;
        results.push(result);
        attempts.push(read_attempts(&run.layout.attempts(generation, member))?);
    }
    let preview = keep_preview(run, generation, &results)?;
    let mut record = ArchiveRecord { format: FORMAT, generation, results, preview, attempts };
    // Only the curves of a large population can make the record too large to be read.
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

/// Links the preview of a generation's best member to the name that is kept, and returns the reference.
fn keep_preview(
    run: &RunDir,
    generation: u32,
    results: &[ResultRecord],
) -> Result<Option<FileRef>, StateError> {
    let with = results.iter().filter(|result| result.fitness().is_some());
    // Ties go to the lowest member id, as in the ranking.
    let best = with.reduce(|best, other| if other.fitness() > best.fitness() { other } else { best });
    let Some(Outcome::Trained { preview: Some(preview), .. }) = best.map(|best| &best.outcome) else {
        return Ok(None);
    };
    let (from, path) = (run.path_of(preview)?, run.layout.best_preview(generation));
    // Users may remove pictures to save space.
    if !exists(&from)? && !exists(&path)? {
        return Ok(None);
    }
    if !exists(&path)? {
        link(&from, &path)?;
    }
    Ok(Some(FileRef { path: run.layout.relative(&path), ..preview.clone() }))
}

/// Removes the unwanted files directly in a directory.
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

/// Removes those of the directories that are empty.
fn drop_empty(dirs: &[&Path]) {
    for dir in dirs {
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_generation_is_always_kept() {
        for current in 0..10 {
            for keep in [Keep::All, Keep::Best, Keep::Generations(1), Keep::Generations(3)] {
                assert!(kept_generations(keep, current) <= current.saturating_sub(1));
            }
        }
        assert_eq!(kept_generations(Keep::Generations(2), 7), 5);
        assert_eq!(kept_generations(Keep::All, 7), 0);
    }
}

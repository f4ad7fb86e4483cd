//! Which tensors stay on disk. JSON files always do.

use std::fs;
use std::path::Path;

use super::publish::TEMPORARY;
use super::{BestRecord, Run, StateError};
use crate::config::Keep;

/// The generations whose tensors stay while `current` is being trained, as a range's first number. What
/// `current` starts from, the final checkpoints of the generation before, is always among them.
pub fn kept_generations(keep: Keep, current: u32) -> u32 {
    match keep {
        Keep::All => 0,
        Keep::Best => current.saturating_sub(1),
        Keep::Generations(count) => current.saturating_sub(count.max(1)),
    }
}

/// Drops tensors of generations before those that are kept, the best member's checkpoint excepted.
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
        drop_tensors(run, generation, kept.as_deref())?;
    }
    match beaten {
        Some(beaten) if beaten.generation < first_kept => {
            let path = run.path_of(&beaten.checkpoint)?;
            if Some(&path) != kept.as_ref() { remove(&path) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn drop_tensors(run: &Run, generation: u32, kept: Option<&Path>) -> Result<(), StateError> {
    let members = run.layout.generation(generation).join("members");
    for entry in walkdir::WalkDir::new(&members).into_iter().flatten() {
        let name = entry.file_name().to_string_lossy();
        let tensors = name.ends_with(".safetensors") || name.starts_with(TEMPORARY);
        if entry.file_type().is_file() && tensors && kept != Some(entry.path()) {
            remove(entry.path())?;
        }
    }
    Ok(())
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

//! Attempts at a piece of work (a member's step, a soup's evaluation), in a directory of its own: a small file when one begins, another when it ends in an orderly way.

use std::fs;
use std::path::Path;

use chrono::Utc;

use super::{
    AttemptEnd, AttemptStart, Ending, FORMAT, Published, StateError, ensure_dir, publish_json, read_json,
};

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// How it began.
    pub start: AttemptStart,
    /// How it ended; none while it runs, and if it was killed.
    pub end: Option<AttemptEnd>,
}

impl Attempt {
    /// Whether it counts as a failure, given that it runs no more. Being stopped by a signal does not.
    pub fn failed(&self) -> bool {
        !matches!(
            self.end.as_ref().map(|end| &end.ending),
            Some(Ending::Done | Ending::Stopped { .. } | Ending::Superseded)
        )
    }

    /// Why, in words.
    pub fn reason(&self) -> String {
        match self.end.as_ref().map(|end| &end.ending) {
            None => "it ended without a word (killed, out of memory, or its machine was lost)".into(),
            Some(Ending::Done) => "done".into(),
            Some(Ending::Stopped { signal }) => format!("stopped by {signal}"),
            Some(Ending::Superseded) => "another attempt was faster".into(),
            Some(Ending::Failed { message }) => message.clone(),
        }
    }
}

/// Claims the next attempt; returns its number.
pub fn begin_attempt(
    dir: &Path,
    job: Option<String>,
    host: String,
) -> Result<(u32, AttemptStart), StateError> {
    ensure_dir(dir)?;
    let start = AttemptStart { format: FORMAT, job, host, pid: std::process::id(), started: Utc::now() };
    let mut number = 1 + numbers(dir)?.last().copied().unwrap_or(0);
    while publish_json(&dir.join(format!("{number:04}.start.json")), &start)? == Published::Existed {
        number += 1;
    }
    Ok((number, start))
}

/// Records how an attempt ended.
pub fn end_attempt(dir: &Path, number: u32, ending: Ending) -> Result<(), StateError> {
    let path = dir.join(format!("{number:04}.end.json"));
    publish_json(&path, &AttemptEnd { format: FORMAT, ended: Utc::now(), ending })?;
    Ok(())
}

/// The attempts so far, oldest first.
pub fn read_attempts(dir: &Path) -> Result<Vec<Attempt>, StateError> {
    numbers(dir)?
        .into_iter()
        .map(|number| {
            let start: AttemptStart = read_json(&dir.join(format!("{number:04}.start.json")))?;
            let end = dir.join(format!("{number:04}.end.json"));
            let end = if end.exists() { Some(read_json(&end)?) } else { None };
            Ok(Attempt { number, start, end })
        })
        .collect()
}

fn numbers(dir: &Path) -> Result<Vec<u32>, StateError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StateError::io("read", dir)(error)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(StateError::io("read", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".start.json"));
        numbers.extend(number.and_then(|digits| digits.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_numbered_and_only_failures_count() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("attempts");
        let begin = || begin_attempt(&dir, None, "host".into()).unwrap().0;
        let end = |number, ending| end_attempt(&dir, number, ending).unwrap();
        assert!(read_attempts(&dir).unwrap().is_empty());
        assert_eq!((begin(), begin(), begin()), (1, 2, 3));
        end(1, Ending::Stopped { signal: "SIGTERM".into() });
        end(3, Ending::Failed { message: "no".into() });
        let attempts = read_attempts(&dir).unwrap();
        let failed: Vec<bool> = attempts.iter().map(Attempt::failed).collect();
        assert_eq!(failed, [false, true, true]);
    }
}

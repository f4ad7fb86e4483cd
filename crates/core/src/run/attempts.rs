//! Records of attempts at a unit of work (training a member for a generation, evaluating a soup), in one directory per
//! unit: a file when an attempt starts, another when it ends in an orderly way.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use super::{
    AttemptEnd, AttemptEndRecord, AttemptStartRecord, FORMAT, LastSeen, StateError, find_json, publish_json,
    read_json,
};
use crate::durable_fs::{Lock, Published, ensure_dir, names_in};

/// The records of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    pub start: AttemptStartRecord,
    /// None while the attempt runs, and if it was killed.
    pub end: Option<AttemptEndRecord>,
}

impl Attempt {
    pub fn ending(&self) -> Option<&AttemptEnd> {
        self.end.as_ref().map(|end| &end.ending)
    }

    /// Whether the attempt failed because of the filesystem.
    pub fn storage_failed(&self) -> bool {
        matches!(self.ending(), Some(AttemptEnd::StorageFailed { .. }))
    }

    /// Why the attempt ended, as text.
    pub fn reason(&self) -> String {
        match self.ending() {
            None => "it ended without a record (killed, out of memory, or its machine failed)".into(),
            Some(AttemptEnd::Done) => "done".into(),
            Some(AttemptEnd::Stopped { signal }) => format!("stopped by {signal}"),
            Some(AttemptEnd::Superseded) => "another attempt finished first".into(),
            Some(AttemptEnd::StorageFailed { message } | AttemptEnd::Failed { message }) => message.clone(),
        }
    }
}

/// The attempts that count as failures of the member, provided that none is running: errors and sudden ends.
///
/// Attempts that were stopped, superseded or failed because of the filesystem do not count. Neither does a sudden end
/// after which the scheduler requeued the same job, because then the scheduler or the machine ended it.
pub fn failures(attempts: &[Attempt]) -> Vec<&Attempt> {
    let requeued = |at: usize, job: &Option<String>| {
        job.is_some() && attempts[at + 1..].iter().any(|later| later.start.job == *job)
    };
    let counts = |(at, attempt): &(usize, &Attempt)| match attempt.ending() {
        None => !requeued(*at, &attempt.start.job),
        Some(AttemptEnd::Failed { .. }) => true,
        Some(_) => false,
    };
    attempts.iter().enumerate().filter(counts).map(|(_, attempt)| attempt).collect()
}

/// A unit without remaining attempts; other processes cannot begin one meanwhile.
#[derive(Debug)]
pub struct Exhausted {
    /// Why the last attempt failed.
    pub reason: String,
    pub failures: usize,
    pub attempts: usize,
    _lock: Lock,
}

/// Whether a unit has used up its attempts; none while another process holds its lock and may be running one without a
/// recorded end.
pub fn exhausted(lock: &Path, attempts: &Path, max_attempts: u32) -> Result<Option<Exhausted>, StateError> {
    let Some(lock) = Lock::try_take(lock) else { return Ok(None) };
    let attempts = read_attempts(attempts)?;
    let failed = failures(&attempts);
    let last = failed.last().filter(|_| failed.len() >= max_attempts as usize);
    Ok(last.map(|last| Exhausted {
        reason: last.reason(),
        failures: failed.len(),
        attempts: attempts.len(),
        _lock: lock,
    }))
}

/// Claims the next attempt number; `left` describes the previous attempt.
pub fn begin_attempt(
    dir: &Path,
    job: Option<String>,
    host: String,
    left: Option<LastSeen>,
) -> Result<(u32, AttemptStartRecord), StateError> {
    ensure_dir(dir)?;
    let (pid, started) = (std::process::id(), Utc::now());
    let start = AttemptStartRecord { format: FORMAT, job, host, pid, started, left };
    let mut number = numbers(dir)?.last().copied().unwrap_or(0);
    loop {
        let full = || StateError::damaged(dir, "no attempt number is left");
        number = number.checked_add(1).ok_or_else(full)?;
        if publish_json(&dir.join(start_name(number)), &start)? == Published::Created {
            return Ok((number, start));
        }
    }
}

/// Records how an attempt ended.
pub fn end_attempt(dir: &Path, number: u32, ending: AttemptEnd) -> Result<(), StateError> {
    let path = dir.join(end_name(number));
    publish_json(&path, &AttemptEndRecord { format: FORMAT, ended: Utc::now(), ending })?;
    Ok(())
}

/// The attempts so far, oldest first, without those whose records are damaged.
pub fn read_attempts(dir: &Path) -> Result<Vec<Attempt>, StateError> {
    let sound = |attempt: &Result<Attempt, StateError>| match attempt {
        Err(error) if error.is_damage() => {
            tracing::warn!("{error}; the attempt is ignored");
            false
        }
        _ => true,
    };
    find_attempts(dir)?.into_iter().filter(sound).collect()
}

/// The attempts so far, oldest first, each with its own error.
pub fn find_attempts(dir: &Path) -> Result<Vec<Result<Attempt, StateError>>, StateError> {
    let read = |number| {
        let start: AttemptStartRecord = read_json(&dir.join(start_name(number)))?;
        let end = find_json(&dir.join(end_name(number)))?;
        Ok(Attempt { number, start, end })
    };
    Ok(numbers(dir)?.into_iter().map(read).collect())
}

/// Updates the `known` attempts (oldest first) from the directory. Known records are not read again, damaged ones are
/// skipped (`verify` reports them).
pub fn refresh_attempts(dir: &Path, known: &mut Vec<Attempt>) -> Result<(), StateError> {
    let names = names_in(dir)?;
    let end_of = |number| match names.contains(OsStr::new(&end_name(number))) {
        true => sound_part(find_json(&dir.join(end_name(number)))).map(Option::flatten),
        false => Ok(None),
    };
    for number in begun(&names) {
        match known.binary_search_by_key(&number, |attempt| attempt.number) {
            Ok(at) if known[at].end.is_none() => known[at].end = end_of(number)?,
            Ok(_) => {}
            Err(at) => {
                if let Some(start) = sound_part(read_json(&dir.join(start_name(number))))? {
                    known.insert(at, Attempt { number, start, end: end_of(number)? });
                }
            }
        }
    }
    Ok(())
}

fn sound_part<T>(read: Result<T, StateError>) -> Result<Option<T>, StateError> {
    match read {
        Err(error) if error.is_damage() => Ok(None),
        read => read.map(Some),
    }
}

/// Whether a later attempt has started.
pub fn is_overtaken(dir: &Path, number: u32) -> Result<bool, StateError> {
    Ok(numbers(dir)?.last().is_some_and(|last| *last > number))
}

fn start_name(number: u32) -> String {
    format!("{number:04}.start.json")
}

fn end_name(number: u32) -> String {
    format!("{number:04}.end.json")
}

fn numbers(dir: &Path) -> Result<Vec<u32>, StateError> {
    Ok(begun(&names_in(dir)?))
}

/// The numbers of the started attempts, from the file names in their directory.
fn begun(names: &BTreeSet<OsString>) -> Vec<u32> {
    let number = |name: &OsString| {
        let number: u32 = name.to_str()?.split('.').next()?.parse().ok()?;
        (*name == *start_name(number)).then_some(number)
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn attempts_are_numbered_and_failures_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("attempts");
        let begin = || begin_attempt(&dir, None, "host".into(), None).unwrap().0;
        let begin_in = |job: &str| begin_attempt(&dir, Some(job.into()), "host".into(), None).unwrap().0;
        let end = |number, ending| end_attempt(&dir, number, ending).unwrap();
        assert!(read_attempts(&dir).unwrap().is_empty());
        ensure_dir(&dir).unwrap();
        for foreign in ["+5.start.json", "00005.start.json", ".start.json", "5.start.json", "notes.txt"] {
            fs::write(dir.join(foreign), "").unwrap();
        }
        assert_eq!((begin(), begin(), begin(), begin()), (1, 2, 3, 4));
        assert!(is_overtaken(&dir, 3).unwrap() && !is_overtaken(&dir, 4).unwrap());
        end(1, AttemptEnd::Stopped { signal: "SIGTERM".into() });
        end(3, AttemptEnd::Failed { message: "no".into() });
        end(4, AttemptEnd::StorageFailed { message: "disk full".into() });
        // Two sudden ends: job 8 was requeued by the scheduler, job 9 was not.
        assert_eq!((begin_in("8_1"), begin_in("9_1"), begin_in("8_1")), (5, 6, 7));
        end(7, AttemptEnd::Superseded);
        let attempts = read_attempts(&dir).unwrap();
        let mut known = attempts[..5].to_vec();
        (known[2].end, known[4].end) = (None, attempts[3].end.clone());
        refresh_attempts(&dir, &mut known).unwrap();
        assert_eq!(known[2..4], attempts[2..4]);
        assert_eq!(known[5..], attempts[5..]);
        assert_eq!(known[4].end, attempts[3].end, "known records are not read again");
        let failed: Vec<u32> = failures(&attempts).iter().map(|attempt| attempt.number).collect();
        assert_eq!(failed, [2, 3, 6]);
        fs::write(dir.join(start_name(u32::MAX)), "").unwrap();
        refresh_attempts(&dir, &mut known).unwrap();
        assert_eq!(known.len(), 7, "a damaged attempt is skipped");
        assert!(begin_attempt(&dir, None, "host".into(), None).is_err());
    }
}

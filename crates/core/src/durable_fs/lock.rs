//! Advisory locks: they save work, but correctness does not depend on them (design rule 3).

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use fs2::FileExt;

/// A lock that is held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
}

impl Lock {
    /// Takes the lock if it is free; always succeeds on a filesystem without locks.
    pub fn try_take(path: &Path) -> Option<Self> {
        let Ok(file) = File::options().create(true).append(true).open(path) else {
            return Some(Self { _file: None });
        };
        match file.try_lock_exclusive() {
            Ok(()) => Some(Self { _file: Some(file) }),
            Err(error) if error.kind() == fs2::lock_contended_error().kind() => None,
            Err(_) => Some(Self { _file: None }),
        }
    }

    /// Waits for the lock up to `patience`, then continues without it.
    pub fn take(path: &Path, patience: Duration) -> Self {
        let until = Instant::now() + patience;
        loop {
            match Self::try_take(path) {
                Some(lock) => return lock,
                None if Instant::now() >= until => return Self { _file: None },
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_has_one_holder_and_is_released_on_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::try_take(&path);
        assert!(first.is_some());
        assert!(Lock::try_take(&path).is_none());
        drop(first);
        assert!(Lock::try_take(&path).is_some());
        assert!(Lock::try_take(Path::new("/nowhere/at/all")).is_some(), "works without locks");
    }
}

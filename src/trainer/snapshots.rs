//! Resumable snapshots within a step. Their names hold position and digest, so that a damaged one is known
//! without another file: `000012-000000340-DIGEST.safetensors`, epoch and step.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::life::Life;
use crate::checkpoint::{Digest, Written, digest_file, write};
use crate::error::message;
use crate::state::{Staged, StateError, ensure_dir, remove, stage, stage_link};
use crate::tasks::Session;

/// Snapshots that stay: the newest, and the one before it in case that is damaged.
const KEPT: usize = 2;

impl Life<'_> {
    /// The folder of snapshots.
    pub fn progress(&self) -> PathBuf {
        self.trainer.run.layout.progress(self.plan.generation, self.planned.id)
    }

    /// Writes a snapshot, then drops old ones. If the filesystem refuses, training goes on without; whether it was
    /// kept.
    pub fn keep_snapshot(&self, session: &dyn Session) -> bool {
        if let Err(error) = self.snapshot(session) {
            eprintln!("pbtnas: no snapshot was kept: {}", message(&error));
            return false;
        }
        self.told.saved();
        if let Err(error) = self.drop_snapshots(KEPT) {
            eprintln!("pbtnas: a snapshot was kept, and an older one was not removed: {}", message(&error));
        }
        true
    }

    /// Writes a snapshot; its path, size and digest.
    pub fn snapshot(&self, session: &dyn Session) -> Result<(PathBuf, Written)> {
        let (epoch, step) = session.position();
        let dir = self.progress();
        ensure_dir(&dir)?;
        let (staged, written) = self.stage_in(&dir, session)?;
        let name = snapshot_name(epoch, step, &written);
        // In place of one of that name: its contents were these, and if they no longer are, now they are again.
        staged.replace(&name)?;
        Ok((dir.join(name), written))
    }

    /// Writes the session into a temporary file. If it is a file already, that gets another name and is not copied.
    pub fn stage_in(&self, dir: &Path, session: &dyn Session) -> Result<(Staged, Written)> {
        if let Some(file) = session.file() {
            return Ok((stage_link(file, dir)?, digest_file(file).map_err(StateError::from)?));
        }
        let (meta, entries) = session.describe()?;
        stage(dir, |out| {
            let mut out = BufWriter::new(out);
            let written = write(&mut out, &meta, entries, |entry, out| {
                out.write_all(&session.tensor(entry).map_err(WriteError)?).map_err(WriteError::from)
            })?;
            out.flush().map_err(WriteError::from)?;
            Ok(written)
        })
        .map_err(|WriteError(error)| {
            error.context(format!("failed to write a checkpoint into {}", dir.display()))
        })
    }

    /// Snapshots and the digests in their names, oldest first.
    pub fn snapshots(&self) -> Result<Vec<(PathBuf, String)>, StateError> {
        let dir = self.progress();
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StateError::io("read", &dir))?,
        };
        let mut snapshots = Vec::new();
        for entry in entries {
            let path = entry.map_err(StateError::io("read", &dir))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let digest = name.strip_suffix(".safetensors").and_then(|stem| stem.rsplit_once('-'));
            snapshots.extend(digest.map(|(_, digest)| digest.to_owned()).map(|digest| (path, digest)));
        }
        snapshots.sort();
        Ok(snapshots)
    }

    /// Whether some attempt wrote a snapshot with this digest.
    pub fn is_snapshot(&self, digest: &Digest) -> Result<bool, StateError> {
        Ok(self.snapshots()?.iter().any(|(_, short)| digest.starts_with(short)))
    }

    /// Removes all but the newest snapshots.
    pub fn drop_snapshots(&self, kept: usize) -> Result<()> {
        let snapshots = self.snapshots()?;
        for (path, _) in snapshots.iter().rev().skip(kept) {
            remove(path)?;
        }
        Ok(())
    }
}

/// The name of a snapshot of this position with these contents.
pub fn snapshot_name(epoch: u32, step: u64, written: &Written) -> String {
    format!("{epoch:06}-{step:09}-{}.safetensors", written.digest.short())
}

/// Any way in which writing a session can fail.
struct WriteError(anyhow::Error);

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self(anyhow!(error))
    }
}

impl From<StateError> for WriteError {
    fn from(error: StateError) -> Self {
        Self(error.into())
    }
}

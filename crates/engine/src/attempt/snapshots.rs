//! Resumable snapshots within a generation. Their names contain the position (epoch and step) and the digest, so that
//! damage is detected without another file: `000012-000000340-DIGEST.safetensors`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::run::AttemptRun;
use crate::task::Session;
use pbtnas_core::checkpoint::write;
use pbtnas_core::durable_fs::{Digest, FileDigest, StorageError, digest_file};
use pbtnas_core::durable_fs::{Staged, ensure_dir, remove, stage, stage_link};
use pbtnas_core::fault::message;
use pbtnas_core::run::StateError;

/// The number of snapshots to keep: the newest, and the previous one in case the newest is damaged.
const KEPT: usize = 2;

impl AttemptRun<'_> {
    /// The folder of the snapshots.
    pub fn progress(&self) -> PathBuf {
        self.trainer.run.layout.progress(self.plan.generation, self.planned.id)
    }

    /// Writes a snapshot, then removes old ones. Returns whether the snapshot was saved; a failure is reported and does
    /// not stop the training.
    pub fn keep_snapshot(&self, session: &dyn Session) -> bool {
        if let Err(error) = self.snapshot(session) {
            tracing::warn!("failed to save a snapshot: {}", message(&error));
            return false;
        }
        self.last_metrics.saved();
        if let Err(error) = self.drop_snapshots(KEPT) {
            tracing::warn!("failed to remove an old snapshot: {}", message(&error));
        }
        true
    }

    /// Writes a snapshot; returns its path, size and digest.
    pub fn snapshot(&self, session: &dyn Session) -> Result<(PathBuf, FileDigest)> {
        let (epoch, step) = session.position();
        let dir = self.progress();
        ensure_dir(&dir)?;
        let (staged, written) = self.stage_in(&dir, session)?;
        let name = snapshot_name(epoch, step, &written);
        // Replaces a file of the same name, which has the same contents unless it is damaged.
        staged.replace(&name)?;
        Ok((dir.join(name), written))
    }

    /// Writes the session to a temporary file. If the session is a file already, links it instead of copying.
    pub fn stage_in(&self, dir: &Path, session: &dyn Session) -> Result<(Staged, FileDigest)> {
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

    /// The snapshots with the digests in their names, oldest first.
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

    /// Whether there is a snapshot with this digest.
    pub fn is_snapshot(&self, digest: &Digest) -> Result<bool, StateError> {
        Ok(self.snapshots()?.iter().any(|(_, short)| digest.starts_with(short)))
    }

    /// Removes all but the newest `kept` snapshots.
    pub fn drop_snapshots(&self, kept: usize) -> Result<()> {
        let snapshots = self.snapshots()?;
        for (path, _) in snapshots.iter().rev().skip(kept) {
            remove(path)?;
        }
        Ok(())
    }
}

/// The file name of a snapshot.
pub fn snapshot_name(epoch: u32, step: u64, written: &FileDigest) -> String {
    format!("{epoch:06}-{step:09}-{}.safetensors", written.digest.short())
}

/// An error of writing a session.
struct WriteError(anyhow::Error);

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self(anyhow!(error))
    }
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> Self {
        Self(error.into())
    }
}

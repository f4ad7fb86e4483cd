//! Any other program as a task: a user's own training script, in PyTorch or anything else.
//!
//! The search space is declared in the configuration; a command is run to make a fresh checkpoint, to train from
//! one and to evaluate one. The contract is files, environment variables and one JSON document each way, written
//! down in docs/command-task.md. `src/python/pbtnas.py` makes it a decorator for scripts in Python.

mod accept;
mod config;
mod contract;
mod output;
mod process;
mod session;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub use accept::accept;
pub use config::CommandConfig;
pub use contract::{Progress, read_result};

use super::{Maker, Place, Session, Start, Task};
use crate::checkpoint::{Fresh, Reader, TensorSpec, tensors_in};
use crate::search::{Genotype, Space};
use session::{Caller, CommandSession, Folder};

/// The helper for scripts in Python; each run has its own copy, so that program and helper are of one version.
const HELPER: &str = include_str!("../../python/pbtnas.py");

/// See the module.
pub struct CommandTask {
    config: CommandConfig,
    space: Space,
    /// How often the program is to save.
    snapshot_seconds: u64,
}

impl CommandTask {
    /// The task; the configuration must have been checked. The program is to save every `snapshot_seconds`.
    pub fn new(config: CommandConfig, snapshot_seconds: u64) -> Self {
        Self { space: config.space(), config, snapshot_seconds }
    }
}

impl Task for CommandTask {
    fn space(&self) -> &Space {
        &self.space
    }

    fn maker(&self) -> Maker {
        Maker::Member
    }

    fn fresh(&self, genotype: &Genotype, place: &Place) -> Result<Fresh> {
        let folder = Folder::new(&place.scratch)?;
        let caller = Caller { task: self, genotype, place, folder: &folder };
        // The file stays readable when its folder is gone.
        Ok(Fresh::made(caller.init("command noise")?))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        Ok(tensors_in(checkpoint))
    }

    fn check(&self) -> Result<()> {
        match self.config.missing() {
            Some((key, why)) => {
                bail!("[command] {key}: {why} (paths are relative to the configuration's folder)")
            }
            None => Ok(()),
        }
    }

    fn clear(&self, scratch: &Path) {
        process::end_left(scratch);
    }

    fn final_samples(&self) -> usize {
        self.config.final_samples as usize
    }

    fn prepare(&self, dir: &Path) -> Result<Vec<String>> {
        const NAME: &str = "pbtnas.py";
        let path = dir.join(NAME);
        std::fs::write(&path, HELPER).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(vec![NAME.into()])
    }

    fn session<'a>(&'a self, start: Start<'a>, place: Place) -> Result<Box<dyn Session + 'a>> {
        let (genotype, from) = match start {
            Start::Fresh(genotype, _) => (genotype, None),
            Start::Checkpoint(reader) => (&reader.meta().genotype, Some(reader)),
        };
        Ok(Box::new(CommandSession::new(self, genotype, from, place)?))
    }
}

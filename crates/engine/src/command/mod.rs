//! The task `command`: a user's own training program, in PyTorch or anything else.
//!
//! The configuration declares the search space. pbtnas runs the program to write a fresh checkpoint, to train from a
//! checkpoint and to evaluate one. The contract consists of files, environment variables and a JSON document in each
//! direction (docs/command-task.md). `python/pbtnas.py` implements it as a decorator for Python scripts.

mod accept;
mod config;
mod contract;
mod output;
mod process;
mod session;

use std::path::Path;

use anyhow::{Context, Result, bail};

pub use accept::accept;
pub use config::{CommandConfig, CommandKind};
pub use contract::{ScriptProgress, read_result};

use crate::task::{MemberContext, OffspringBuilder, Session, Start, Task};
use pbtnas_core::checkpoint::{InitialTensors, Reader, TensorSpec, tensors_in};
use pbtnas_core::search::{Genotype, Space};
use session::{Caller, CommandSession, ScriptFolder};

/// The Python helper. Every run has its own copy, so that the program and the helper have the same version.
const HELPER: &str = include_str!("../python/pbtnas.py");

pub struct CommandTask {
    config: CommandConfig,
    space: Space,
    /// The interval between the program's snapshots.
    snapshot_seconds: u64,
}

impl CommandTask {
    /// Requires a configuration that has passed [`CommandConfig::check`]. The program saves a snapshot every
    /// `snapshot_seconds`.
    pub fn new(config: CommandConfig, snapshot_seconds: u64) -> Self {
        Self { space: config.search_space(), config, snapshot_seconds }
    }
}

impl Task for CommandTask {
    fn space(&self) -> &Space {
        &self.space
    }

    fn offspring_builder(&self) -> OffspringBuilder {
        OffspringBuilder::Member
    }

    fn fresh(&self, genotype: &Genotype, place: &MemberContext) -> Result<InitialTensors> {
        let folder = ScriptFolder::new(&place.scratch)?;
        let caller = Caller { task: self, genotype, place, folder: &folder };
        // The open file stays readable after its folder is removed.
        Ok(InitialTensors::copied(caller.init("command noise")?, &self.config.target_networks))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        Ok(tensors_in(checkpoint, &self.config.target_networks))
    }

    fn check(&self) -> Result<()> {
        match self.config.missing() {
            Some((key, why)) => {
                bail!("[command] {key}: {why} (paths are relative to the folder of the configuration)")
            }
            None => Ok(()),
        }
    }

    fn clear(&self, scratch: &Path) {
        process::kill_leftovers(scratch);
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

    fn session<'a>(&'a self, start: Start<'a>, place: MemberContext) -> Result<Box<dyn Session + 'a>> {
        let (genotype, from) = match start {
            Start::Fresh(genotype, _) => (genotype, None),
            Start::Checkpoint(reader) => (&reader.meta().genotype, Some(reader)),
        };
        Ok(Box::new(CommandSession::new(self, genotype, from, place)?))
    }
}

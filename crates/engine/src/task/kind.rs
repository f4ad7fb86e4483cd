//! The registry of tasks. The crate of a task registers it; no other code refers to a task by name.

use std::any::Any;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use pbtnas_core::run::{BestOf, Supernet};
use pbtnas_core::search::{Algorithm, Space};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::ValueDeserializer;

use super::Task;
use crate::config::{BadValue, SearchConfig, TrainingConfig};
use crate::device::Compute;
use crate::{command, synthetic};

/// A kind of task, selected by `[task] kind`. Its settings are in the section of the same name.
pub trait TaskKind: Sync {
    fn name(&self) -> &'static str;

    /// Reads the section, or returns the defaults if it is missing; none if it is missing and has no defaults.
    fn read(
        &self,
        section: Option<ValueDeserializer>,
    ) -> Result<Option<Arc<dyn TaskConfig>>, toml::de::Error>;

    /// Keys of the section whose values are paths, relative to the folder of the configuration file.
    fn paths(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The settings of a task.
pub trait TaskConfig: Debug + Send + Sync + Any {
    /// Returns the first invalid value. Opens no file.
    fn check(&self, search: &SearchConfig) -> Result<(), BadValue>;

    /// Returns the first value that is invalid if this is the task of `[task] kind`.
    fn check_chosen(&self, _search: &SearchConfig) -> Result<(), BadValue> {
        Ok(())
    }

    /// The search space. Opens no file.
    fn space(&self) -> Space;

    /// The task. Opens no file.
    fn task(self: Arc<Self>, training: &TrainingConfig) -> Box<dyn Task>;

    /// The section with every key, as it is written to the run directory.
    fn to_table(&self) -> Result<toml::Table, toml::ser::Error>;

    /// Makes the default paths, which are relative to the folder of the configuration file, absolute.
    fn resolve(&self, folder: &Path) -> Arc<dyn TaskConfig>;

    /// The device, threads and precision of members; none if they need no device.
    fn compute(&self) -> Option<Compute> {
        None
    }

    /// The generations whose best member counts, unless `[search]` says otherwise.
    fn best_of(&self) -> BestOf {
        BestOf::AllGenerations
    }

    /// The time that a member's process needs to exit after a signal, if longer than the default.
    fn grace(&self) -> Option<Duration> {
        None
    }

    /// How an architecture is derived from a supernet, if the task has one.
    fn supernet(&self) -> Option<Supernet> {
        None
    }

    /// The sub-section with settings of one algorithm, which `compare` counts as part of the variant.
    fn algorithm_section(&self) -> Option<(Algorithm, &'static str)> {
        None
    }
}

/// Reads a section whose keys all have defaults.
pub fn read_section<C: DeserializeOwned + Default>(
    section: Option<ValueDeserializer>,
) -> Result<C, toml::de::Error> {
    section.map_or_else(|| Ok(C::default()), C::deserialize)
}

/// A section as a table.
pub fn section_table(section: &impl Serialize) -> Result<toml::Table, toml::ser::Error> {
    toml::Table::try_from(section)
}

static REGISTERED: OnceLock<Vec<&'static dyn TaskKind>> = OnceLock::new();
static BUILT_IN: [&dyn TaskKind; 2] = [&command::CommandKind, &synthetic::SyntheticKind];

/// Registers the tasks of other crates. Must be called before a configuration is read; later calls have no effect.
pub fn register(kinds: &[&'static dyn TaskKind]) {
    let _ = REGISTERED.set(kinds.to_vec());
}

/// All tasks of this program.
pub fn kinds() -> impl Iterator<Item = &'static dyn TaskKind> {
    REGISTERED.get().into_iter().flatten().chain(&BUILT_IN).copied()
}

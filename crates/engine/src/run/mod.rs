//! A run: its directory, and the configuration that it was created with.

#[cfg(test)]
pub(crate) mod collected_tests;
#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::path::Path;

use pbtnas_core::run::{RunDir, StateError};

use crate::config::Config;

/// An opened run. Dereferences to its [`RunDir`].
#[derive(Debug)]
pub struct Run {
    dir: RunDir,
    /// `config.toml`.
    pub config: Config,
}

impl Run {
    /// Opens the run in a directory; configuration and space must be those it was created with.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let (dir, config) = RunDir::open(root, |path, text| {
            let config = Config::parse(path, text).map_err(|error| error.to_string())?;
            let terms = config.terms().map_err(|error| error.to_string())?;
            let space = config.space();
            Ok((config, terms, space))
        })?;
        Ok(Self { dir, config })
    }
}

impl Deref for Run {
    type Target = RunDir;

    fn deref(&self) -> &RunDir {
        &self.dir
    }
}

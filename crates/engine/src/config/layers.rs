//! A configuration file and those that it extends.
//!
//! `extends = "base.toml"` takes all values of another file; the keys of this file replace them one by one. The file of
//! an experiment thus contains only its differences.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::error::{offset_of, path_at};
use super::{BadValue, ConfigError};
use crate::task::kinds;

/// A longer chain is treated as circular.
const MAX_LAYERS: usize = 16;
/// The maximum size of a configuration file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A file of a chain.
struct ConfigFile {
    path: PathBuf,
    text: String,
    table: Table,
}

/// The files of a chain, the extending file first.
pub struct Layers(Vec<ConfigFile>);

impl Layers {
    /// Reads a file and those that it extends.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut layers: Vec<ConfigFile> = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let text = read(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            let mut table: Table =
                toml::from_str(&text).map_err(|error| ConfigError::from_toml(&path, &text, &error))?;
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let fault =
                |message: &str| Err(ConfigError::bad_value(&path, &text, &BadValue::new("extends", message)));
            next = match table.remove("extends") {
                None => None,
                Some(_) if layers.len() == MAX_LAYERS => {
                    return fault("circular chain of configuration files");
                }
                Some(Value::String(base)) if folder.join(&base).is_file() => Some(folder.join(base)),
                Some(Value::String(base)) => {
                    return fault(&format!("file not found: {}", folder.join(base).display()));
                }
                Some(_) => return fault("must be the path of a configuration file, as text"),
            };
            for (section, key) in paths() {
                if let Some(Value::String(value)) = table.get_mut(section).and_then(|s| s.get_mut(key)) {
                    *value = absolute(&folder.join(&*value)).to_string_lossy().into_owned();
                }
            }
            layers.push(ConfigFile { path, text, table });
        }
        Ok(Self(layers))
    }

    /// Merges all values into the text of one configuration.
    pub fn merged(&self) -> String {
        let mut merged = Table::new();
        for layer in self.0.iter().rev() {
            merge(&mut merged, &layer.table);
        }
        merged.to_string()
    }

    /// Converts an error of the parser about the merged text, with the file and line of the value.
    pub fn misread(&self, merged: &str, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(0, |span| span.start);
        let key = path_at(merged, offset).join(".");
        let layer = self.layer_of(&key);
        let line = offset_of(&layer.text, &key).map_or(0, |(offset, _)| offset);
        ConfigError::at(&layer.path, &layer.text, line, &key, error.message())
    }

    /// A value of the right type that is invalid.
    pub fn bad_value(&self, bad: &BadValue) -> ConfigError {
        let layer = self.layer_of(&bad.key);
        ConfigError::bad_value(&layer.path, &layer.text, bad)
    }

    /// The file that a value comes from: the first one in the chain that contains it.
    fn layer_of(&self, key: &str) -> &ConfigFile {
        let has = |layer: &&ConfigFile| matches!(offset_of(&layer.text, key), Some((_, true)));
        self.0.iter().find(has).unwrap_or(&self.0[0])
    }
}

/// Sections and keys whose values are paths, relative to the folder of the file that sets them.
fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    kinds().flat_map(|kind| kind.paths().iter().map(|key| (kind.name(), *key)))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    match text.len() as u64 {
        0..=MAX_FILE => Ok(text),
        _ => {
            Err(io::Error::other(format!("it has more than {MAX_FILE} bytes, the limit for a configuration")))
        }
    }
}

/// Makes a path absolute and, if it exists, canonical. The task reports missing folders.
pub fn absolute(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.canonicalize().unwrap_or(absolute)
}

fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::command::CommandConfig;

    const BASE: &str = "seed = 1\n[search]\npopulation = 8\nepochs = 10\nepochs_per_generation = 2\n\n[task]\n\
                        kind = \"command\"\n[command]\ncommand = [\"true\"]\ndirectory = \"images\"\nthreads = 7\n\
                        variables = [{ name = \"width\", options = [\"1\", \"2\"] }]\n";

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_extending_file_overrides_single_values() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "base.toml", BASE);
        std::fs::create_dir(dir.path().join("images")).unwrap();
        write(dir.path(), "a/middle.toml", "extends = \"../base.toml\"\n[search]\nepochs = 20\n");
        let path = write(
            dir.path(),
            "a/top.toml",
            "extends = \"middle.toml\"\nseed = 5\n[command]\nhang_seconds = 6\n",
        );
        let config = Config::load(&path).unwrap();
        assert_eq!((config.seed, config.search.population, config.search.epochs), (5, 8, 20));
        let command: &CommandConfig = config.task.settings().unwrap();
        assert_eq!((command.threads, command.hang_seconds), (7, 6));
        // A path is relative to the file that contains it.
        assert_eq!(command.directory, absolute(&dir.path().join("images")));
    }

    #[test]
    fn errors_refer_to_the_file_that_contains_them() {
        let dir = tempfile::tempdir().unwrap();
        let top =
            write(dir.path(), "top.toml", "extends = \"base.toml\"\n[search]\nepochs = 20\ntau = 0.7\n");
        let error = || Config::load(&top).unwrap_err().to_string();
        assert!(error().contains("top.toml:1: extends: file not found"), "{}", error());
        write(dir.path(), "base.toml", BASE);
        assert!(error().contains("top.toml:4: search.tau: "), "{}", error());
        std::fs::write(&top, "extends = \"base.toml\"\n").unwrap();
        write(dir.path(), "base.toml", &BASE.replace("population = 8", "populaton = 8"));
        assert!(error().contains("base.toml:3: unknown key `populaton`"), "{}", error());
        write(dir.path(), "base.toml", &BASE.replace("population = 8", "population = \"8\""));
        assert!(error().contains("base.toml:3: "), "{}", error());
        write(dir.path(), "base.toml", &format!("extends = \"top.toml\"\n{BASE}"));
        assert!(error().contains("circular"), "{}", error());
    }

    #[test]
    fn oversized_files_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.toml");
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = Config::load(&path).unwrap_err();
        let ConfigError::Read { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains("more than 1048576 bytes"), "{source}");
    }
}

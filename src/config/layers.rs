//! A configuration file and those that it extends.
//!
//! `extends = "base.toml"` takes every value of another file; the keys that follow it replace single values.
//! So a file that describes an experiment shows what is different about it, and nothing else.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::ConfigError;
use super::fault::{offset_of, path_at};

/// A chain longer than this goes round in a circle.
const MAX_LAYERS: usize = 16;
/// Bytes. A longer file is something else.
const MAX_FILE: u64 = 1 << 20;

/// Keys that hold a path, relative to the folder of the file that they stand in.
const PATHS: [(&str, &str); 4] =
    [("gan", "data"), ("gan", "inception"), ("rl", "models"), ("command", "directory")];

/// A file of the chain.
struct Layer {
    path: PathBuf,
    text: String,
    table: Table,
}

/// The files of a chain, the one that was asked for first.
pub struct Layers(Vec<Layer>);

impl Layers {
    /// Reads a file and those that it extends.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let text = read(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            let mut table: Table =
                toml::from_str(&text).map_err(|error| ConfigError::from_toml(&path, &text, &error))?;
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let fault =
                |message: &str| Err(ConfigError::bad_value(&path, &text, "extends", message.to_owned()));
            next = match table.remove("extends") {
                None => None,
                Some(_) if layers.len() == MAX_LAYERS => {
                    return fault("the files extend each other in a circle");
                }
                Some(Value::String(base)) if folder.join(&base).is_file() => Some(folder.join(base)),
                Some(Value::String(base)) => {
                    return fault(&format!("there is no file {}", folder.join(base).display()));
                }
                Some(_) => return fault("must be the path of a configuration file, as text"),
            };
            for (section, key) in PATHS {
                if let Some(Value::String(value)) = table.get_mut(section).and_then(|s| s.get_mut(key)) {
                    *value = absolute(&folder.join(&*value)).to_string_lossy().into_owned();
                }
            }
            layers.push(Layer { path, text, table });
        }
        Ok(Self(layers))
    }

    /// All values together, as the text of one configuration.
    pub fn merged(&self) -> String {
        let mut merged = Table::new();
        for layer in self.0.iter().rev() {
            merge(&mut merged, &layer.table);
        }
        merged.to_string()
    }

    /// What the parser says about the merged text, with the file and the line where the value stands.
    pub fn misread(&self, merged: &str, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(0, |span| span.start);
        let key = path_at(merged, offset).join(".");
        let layer = self.layer_of(&key);
        let line = offset_of(&layer.text, &key).map_or(0, |(offset, _)| offset);
        ConfigError::at(&layer.path, &layer.text, line, &key, error.message())
    }

    /// A value that has the right type but cannot be used.
    pub fn bad_value(&self, key: &str, message: String) -> ConfigError {
        let layer = self.layer_of(key);
        ConfigError::bad_value(&layer.path, &layer.text, key, message)
    }

    /// The file that a value comes from: the first of the chain that has it.
    fn layer_of(&self, key: &str) -> &Layer {
        let has = |layer: &&Layer| matches!(offset_of(&layer.text, key), Some((_, true)));
        self.0.iter().find(has).unwrap_or(&self.0[0])
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    match text.len() as u64 {
        0..=MAX_FILE => Ok(text),
        _ => {
            Err(io::Error::other(format!("it has more than {MAX_FILE} bytes, which no configuration needs")))
        }
    }
}

/// A folder that is not there yet keeps its path as written; the task says what is missing.
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

    const BASE: &str = "seed = 1\n[search]\npopulation = 8\nepochs = 10\nepochs_per_step = 2\n\n[task]\n\
                        kind = \"gan\"\n[gan]\ndata = \"images\"\nbatch = 7\n";

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_extending_file_shows_only_what_is_different() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "base.toml", BASE);
        std::fs::create_dir(dir.path().join("images")).unwrap();
        write(dir.path(), "a/middle.toml", "extends = \"../base.toml\"\n[search]\nepochs = 20\n");
        let path =
            write(dir.path(), "a/top.toml", "extends = \"middle.toml\"\nseed = 5\n[gan]\nlatent = 6\n");
        let config = Config::load(&path).unwrap();
        assert_eq!((config.seed, config.search.population, config.search.epochs), (5, 8, 20));
        assert_eq!((config.gan.batch, config.gan.latent), (7, 6));
        // A path belongs to the file that it stands in.
        assert_eq!(config.gan.data, absolute(&dir.path().join("images")));
    }

    #[test]
    fn a_fault_is_shown_in_the_file_that_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let top =
            write(dir.path(), "top.toml", "extends = \"base.toml\"\n[search]\nepochs = 20\ntau = 0.7\n");
        let error = || Config::load(&top).unwrap_err().to_string();
        assert!(error().contains("top.toml:1: extends: there is no file"), "{}", error());
        write(dir.path(), "base.toml", BASE);
        assert!(error().contains("top.toml:4: search.tau: "), "{}", error());
        std::fs::write(&top, "extends = \"base.toml\"\n").unwrap();
        write(dir.path(), "base.toml", &BASE.replace("population = 8", "populaton = 8"));
        assert!(error().contains("base.toml:3: unknown key `populaton`"), "{}", error());
        write(dir.path(), "base.toml", &BASE.replace("population = 8", "population = \"8\""));
        assert!(error().contains("base.toml:3: "), "{}", error());
        write(dir.path(), "base.toml", &format!("extends = \"top.toml\"\n{BASE}"));
        assert!(error().contains("circle"), "{}", error());
    }

    #[test]
    fn a_file_that_is_no_configuration_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.toml");
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = Config::load(&path).unwrap_err();
        let ConfigError::Read { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains("more than 1048576 bytes"), "{source}");
    }
}

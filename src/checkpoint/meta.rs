//! What a checkpoint says of itself, in the metadata of its header.

use std::collections::{BTreeMap, HashMap};

use crate::search::Genotype;

/// Version of what the metadata means.
const FORMAT: &str = "1";
/// Key of the names of files; absent where there are none.
const FILES: &str = "files";

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The architecture.
    pub genotype: Genotype,
    /// Epochs that are complete.
    pub epoch: u32,
    /// Steps done in the epoch that is not; what a step is, the task says.
    pub step: u64,
    /// Collected files that are needed to train on from here, relative to the run's folder of collected files: those
    /// that the member began with, and its own (see `tasks::Place`). They stay on disk as long as this checkpoint.
    pub files: Vec<String>,
}

impl Meta {
    /// The header's metadata.
    pub(super) fn to_map(&self) -> Result<BTreeMap<&'static str, String>, std::io::Error> {
        let mut map = self.identity()?;
        map.extend([("epoch", self.epoch.to_string()), ("step", self.step.to_string())]);
        if let Some(bad) = self.files.iter().find(|name| !is_name(name)) {
            return Err(std::io::Error::other(format!("{bad:?} cannot be the name of a collected file")));
        }
        if !self.files.is_empty() {
            map.insert(FILES, serde_json::to_string(&self.files)?);
        }
        Ok(map)
    }

    /// What is the same in every checkpoint of an architecture.
    pub fn identity(&self) -> Result<BTreeMap<&'static str, String>, serde_json::Error> {
        let genotype = serde_json::to_string(&self.genotype)?;
        Ok(BTreeMap::from([("format", FORMAT.to_owned()), ("genotype", genotype)]))
    }

    pub(super) fn from_map(map: &HashMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| map.get(key).ok_or_else(|| format!("its metadata has no {key:?}"));
        let format = get("format")?;
        if format != FORMAT {
            return Err(format!("it has format {format:?}, this program reads {FORMAT:?}"));
        }
        let wrong = |key: &str| format!("its metadata has a bad {key:?}");
        let files: Vec<String> = match map.get(FILES) {
            Some(names) => serde_json::from_str(names).map_err(|_| wrong(FILES))?,
            None => Vec::new(),
        };
        if let Some(bad) = files.iter().find(|name| !is_name(name)) {
            return Err(format!("it names the file {bad:?}, which is no path below a folder"));
        }
        Ok(Self {
            genotype: serde_json::from_str(get("genotype")?).map_err(|_| wrong("genotype"))?,
            epoch: get("epoch")?.parse().map_err(|_| wrong("epoch"))?,
            step: get("step")?.parse().map_err(|_| wrong("step"))?,
            files,
        })
    }
}

/// Whether a text is a path below a folder, written in the one way that two names of a file can be compared by.
fn is_name(name: &str) -> bool {
    name.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    fn meta(files: Vec<String>) -> Meta {
        Meta { genotype: Genotype::new([("x".into(), "a".into())]), epoch: 3, step: 7, files }
    }

    fn again(map: BTreeMap<&str, String>) -> Result<Meta, String> {
        Meta::from_map(&map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    #[test]
    fn a_checkpoint_without_files_says_nothing_of_files() {
        let map = meta(vec![]).to_map().unwrap();
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), ["epoch", "format", "genotype", "step"]);
        assert_eq!(again(map).unwrap(), meta(vec![]));
    }

    /// Anything, and what looks like a path.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "(\\.{0,2}|[a-z\0]{0,2}|/){0,6}",
            "[0-9]{4}/[0-9]{2}/[a-z0-9-]{1,40}\\.ep"
        ]
    }

    proptest! {
        #[test]
        fn names_come_back_as_they_were_or_are_refused(names in prop::collection::vec(name(), 0..5)) {
            let below = |name: &String| {
                let parts: Vec<_> = Path::new(name).components().collect();
                let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
                // Written as the system would write it.
                let written = parts.iter().map(|part| part.as_os_str().to_str().unwrap()).collect::<Vec<_>>();
                plain && !name.is_empty() && !name.contains('\0') && written.join("/") == *name
            };
            let sound = names.iter().all(below);
            let meta = meta(names);
            prop_assert_eq!(meta.to_map().is_ok(), sound);
            let mut map = super::tests::meta(vec![]).to_map().unwrap();
            map.insert(FILES, serde_json::to_string(&meta.files).unwrap());
            match again(map) {
                Ok(read) => prop_assert!(sound && read == meta),
                Err(reason) => prop_assert!(!sound && reason.contains("names the file"), "{}", reason),
            }
        }
    }
}

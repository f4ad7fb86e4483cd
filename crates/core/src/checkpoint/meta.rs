//! The metadata in the header of a checkpoint.

use std::collections::{BTreeMap, HashMap};

use crate::search::Genotype;

/// Version of the metadata.
const FORMAT: &str = "1";
/// Key of the collected files' names; absent if there are none.
const FILES: &str = "files";

/// The metadata of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub genotype: Genotype,
    /// Completed epochs.
    pub epoch: u32,
    /// Steps done in the current epoch; the task defines what a step is.
    pub step: u64,
    /// Collected files that are needed to continue training: those that the member started with and its own. Paths
    /// are relative to the run's `collected` directory. Retention keeps the files as long as this checkpoint.
    pub files: Vec<String>,
}

impl Meta {
    pub(super) fn to_map(&self) -> Result<BTreeMap<&'static str, String>, std::io::Error> {
        let mut map = self.identity()?;
        map.extend([("epoch", self.epoch.to_string()), ("step", self.step.to_string())]);
        if let Some(bad) = self.files.iter().find(|name| !is_name(name)) {
            return Err(std::io::Error::other(format!("invalid name of a collected file: {bad:?}")));
        }
        if !self.files.is_empty() {
            map.insert(FILES, serde_json::to_string(&self.files)?);
        }
        Ok(map)
    }

    /// The part of the metadata that is the same in every checkpoint of a genotype.
    pub fn identity(&self) -> Result<BTreeMap<&'static str, String>, serde_json::Error> {
        let genotype = serde_json::to_string(&self.genotype)?;
        Ok(BTreeMap::from([("format", FORMAT.to_owned()), ("genotype", genotype)]))
    }

    pub(super) fn from_map(map: &HashMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| map.get(key).ok_or_else(|| format!("metadata key {key:?} is missing"));
        let format = get("format")?;
        if format != FORMAT {
            return Err(format!("unsupported format {format:?} (expected {FORMAT:?})"));
        }
        let wrong = |key: &str| format!("metadata key {key:?} has an invalid value");
        let files: Vec<String> = match map.get(FILES) {
            Some(names) => serde_json::from_str(names).map_err(|_| wrong(FILES))?,
            None => Vec::new(),
        };
        if let Some(bad) = files.iter().find(|name| !is_name(name)) {
            return Err(format!("invalid name of a collected file: {bad:?}"));
        }
        Ok(Self {
            genotype: serde_json::from_str(get("genotype")?).map_err(|_| wrong("genotype"))?,
            epoch: get("epoch")?.parse().map_err(|_| wrong("epoch"))?,
            step: get("step")?.parse().map_err(|_| wrong("step"))?,
            files,
        })
    }
}

/// Whether a name is a normalised relative path without `.` and `..`, so that equal files have equal names.
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
    fn files_key_is_absent_without_files() {
        let map = meta(vec![]).to_map().unwrap();
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), ["epoch", "format", "genotype", "step"]);
        assert_eq!(again(map).unwrap(), meta(vec![]));
    }

    /// Arbitrary strings and path-like ones.
    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "(\\.{0,2}|[a-z\0]{0,2}|/){0,6}",
            "[0-9]{4}/[0-9]{2}/[a-z0-9-]{1,40}\\.ep"
        ]
    }

    proptest! {
        #[test]
        fn file_names_round_trip_or_are_rejected(names in prop::collection::vec(name(), 0..5)) {
            let below = |name: &String| {
                let parts: Vec<_> = Path::new(name).components().collect();
                let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
                // In the normalised form.
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
                Err(reason) => prop_assert!(!sound && reason.contains("collected file"), "{}", reason),
            }
        }
    }
}

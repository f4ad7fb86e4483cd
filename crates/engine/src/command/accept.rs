//! Validation of the checkpoints that the user's program writes.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

use pbtnas_core::checkpoint::{AVERAGE, MODEL, OPTIMIZER, Reader};
use pbtnas_core::search::Genotype;

/// Opens a checkpoint that the program wrote and checks it against the contract.
///
/// A violation fails this member and does not mean that the run is damaged, so the errors are plain messages.
pub fn accept(path: &Path, genotype: &Genotype) -> Result<Reader> {
    let reader = Reader::open(path).map_err(|error| anyhow!("its checkpoint is invalid: {error}"))?;
    if reader.meta().genotype != *genotype {
        bail!("the genotype in its checkpoint's metadata differs from the one in `metadata` of the request");
    }
    if !reader.meta().files.is_empty() {
        bail!("its checkpoint's metadata has the key \"files\", which is reserved for pbtnas");
    }
    let names: BTreeSet<String> = reader.entries().map(|entry| entry.name).collect();
    if !names.iter().any(|name| name.starts_with(MODEL)) {
        bail!("its checkpoint has no tensor whose name starts with {MODEL}");
    }
    for name in &names {
        if name.starts_with(MODEL) {
            continue;
        }
        let of = match (name.strip_prefix(AVERAGE), name.strip_prefix(OPTIMIZER)) {
            (Some(model), _) => {
                let model = format!("{MODEL}{model}");
                if reader.entry(&model) != reader.entry(name) {
                    bail!("its tensor {name:?} has no counterpart {model:?} with the same shape and type");
                }
                continue;
            }
            (None, Some(of)) => of,
            (None, None) => {
                bail!("the name of its tensor {name:?} does not start with {MODEL}, {AVERAGE} or {OPTIMIZER}")
            }
        };
        let parameter = of.split_once('/').and_then(|(network, rest)| {
            rest.split_once('/').map(|(_, rest)| format!("{MODEL}{network}/{rest}"))
        });
        match parameter {
            Some(parameter) if names.contains(&parameter) => {}
            Some(parameter) => bail!("its tensor {name:?} belongs to {parameter:?}, which is missing"),
            None => bail!("its tensor {name:?} is not named optimizer/NETWORK/MOMENT/PARAMETER"),
        }
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use pbtnas_core::checkpoint::{Entry, Meta, write};

    fn checkpoint(names: &[(&str, usize)], genotype: &str) -> Result<Reader> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.safetensors");
        let entries = names
            .iter()
            .map(|(name, size)| Entry { name: (*name).into(), dtype: Dtype::F32, shape: vec![*size] })
            .collect();
        let meta = Meta {
            genotype: Genotype::new([("x".into(), genotype.into())]),
            epoch: 1,
            step: 0,
            files: Vec::new(),
        };
        let mut file = std::fs::File::create(&path).unwrap();
        write(&mut file, &meta, entries, |entry, out| out.write_all(&vec![0; entry.shape[0] * 4])).unwrap();
        accept(&path, &Genotype::new([("x".into(), "a".into())]))
    }

    #[test]
    fn valid_checkpoints_are_accepted() {
        let names = [("model/net/w", 2), ("average/net/w", 2), ("optimizer/net/step/w", 1)];
        assert_eq!(checkpoint(&names, "a").unwrap().entries().count(), 3);
    }

    #[test]
    fn invalid_checkpoints_are_rejected_with_the_reason() {
        for (names, genotype, said) in [
            (vec![("model/net/w", 2)], "b", "the genotype in its checkpoint's metadata differs"),
            (vec![], "a", "no tensor whose name starts with model/"),
            (vec![("model/net/w", 2), ("net/w", 2)], "a", "does not start with"),
            (vec![("model/net/w", 2), ("average/net/w", 3)], "a", "has no counterpart \"model/net/w\""),
            (vec![("model/net/w", 2), ("average/net/v", 2)], "a", "has no counterpart \"model/net/v\""),
            (vec![("model/net/w", 2), ("optimizer/net/step/v", 1)], "a", "\"model/net/v\", which is missing"),
            (vec![("model/net/w", 2), ("optimizer/net", 1)], "a", "not named optimizer/NETWORK"),
        ] {
            let error = checkpoint(&names, genotype).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let genotype = Genotype::new([]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 100]).unwrap();
        let error = accept(file.path(), &genotype).unwrap_err();
        assert!(error.to_string().contains("is invalid"), "{error}");
        assert_eq!(
            crate::fault::exit_code(&error),
            crate::fault::exit::FAILED,
            "the member fails, not the run"
        );
    }
}

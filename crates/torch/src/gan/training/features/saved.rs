//! Named tensors in a file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use safetensors::Dtype;
use tch::{Device, Kind, Tensor};

use crate::nn::{Values, bytes_of};
use pbtnas_core::checkpoint::{Entry, MODEL, Meta, Reader, write};
use pbtnas_core::search::Genotype;

/// Writes tensors; those of a network (`features/…`) under `model/`.
pub fn save(path: &Path, values: &Values) -> Result<()> {
    let named: BTreeMap<String, &Tensor> = values
        .iter()
        .map(|(name, value)| {
            let full = if name.starts_with("features/") { format!("{MODEL}{name}") } else { name.clone() };
            (full, value)
        })
        .collect();
    let entries = named
        .iter()
        .map(|(name, value)| Entry {
            name: name.clone(),
            dtype: if value.kind() == Kind::Double { Dtype::F64 } else { Dtype::F32 },
            shape: value.size().iter().map(|&size| size.unsigned_abs() as usize).collect(),
        })
        .collect();
    let mut file =
        std::fs::File::create(path).with_context(|| format!("failed to write {}", path.display()))?;
    let meta = Meta { genotype: Genotype::new([]), epoch: 0, step: 0, files: Vec::new() };
    write(&mut file, &meta, entries, |entry, out| match named.get(&entry.name) {
        Some(value) => out.write_all(&bytes_of(value)),
        None => Ok(()),
    })
    .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(())
}

/// Reads what [`save`] wrote, under the same names.
pub fn load(path: &Path, device: Device) -> Result<Values> {
    let reader = Reader::open(path)?;
    let mut values = Values::new();
    for entry in reader.entries() {
        let kind = match entry.dtype {
            Dtype::F64 => Kind::Double,
            Dtype::F32 => Kind::Float,
            other => bail!("{} holds tensors of type {other:?}", path.display()),
        };
        let shape = entry.shape.iter().map(|&size| i64::try_from(size)).collect::<Result<Vec<_>, _>>();
        let shape = shape.with_context(|| format!("{} has a bad {:?}", path.display(), entry.name))?;
        let value = Tensor::f_from_data_size(&reader.bytes(&entry)?, &shape, kind)
            .with_context(|| format!("{} has a bad {:?}", path.display(), entry.name))?
            .to_device(device);
        let name = entry.name.strip_prefix(MODEL).unwrap_or(&entry.name);
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

//! Model soups: the mean of several checkpoints of one architecture (facts: Model soups).

use std::io::Write;

use super::elements::{from_doubles, is_floating, to_doubles};
use super::{AVERAGE, CheckpointError, Entry, Init, MODEL, Meta, Reader, TensorSpec, Written, write};

/// Writes the mean of checkpoints of one architecture, tensor by tensor.
///
/// Floating tensors and averaged copies are averaged, running statistics among them. The vectors of spectral
/// norms and integer tensors are the first one's, and there is no optimizer. Memory is one tensor.
pub fn soup<W: Write>(
    out: &mut W,
    tensors: &[TensorSpec],
    ingredients: &[&Reader],
    meta: &Meta,
) -> Result<Written, CheckpointError> {
    let mut entries = Vec::new();
    for spec in tensors {
        for prefix in [Some(MODEL), spec.averaged.then_some(AVERAGE)].into_iter().flatten() {
            let name = format!("{prefix}{}", spec.name);
            entries.push(Entry { name, dtype: spec.dtype, shape: spec.shape.clone() });
        }
    }
    let first_s_own = |entry: &Entry| {
        let name = entry.name.strip_prefix(MODEL).unwrap_or(&entry.name);
        !is_floating(entry.dtype)
            || tensors.iter().any(|spec| spec.name == name && spec.init == Init::Direction)
    };
    write(out, meta, entries, |entry, out| {
        let Some((first, _)) = ingredients.split_first().filter(|_| first_s_own(entry)) else {
            return Ok(out.write_all(&mean(entry, ingredients)?)?);
        };
        first.stream(entry, |chunk| out.write_all(chunk).map_err(CheckpointError::from))
    })
}

/// The mean of a tensor, summed in double precision.
fn mean(entry: &Entry, ingredients: &[&Reader]) -> Result<Vec<u8>, CheckpointError> {
    let mut sums = vec![0f64; entry.shape.iter().product()];
    for reader in ingredients {
        let mut at = sums.iter_mut();
        reader.stream(entry, |chunk| {
            to_doubles(entry.dtype, chunk, |value| at.next().into_iter().for_each(|sum| *sum += value));
            Ok::<_, CheckpointError>(())
        })?;
    }
    let count = ingredients.len() as f64;
    Ok(from_doubles(entry.dtype, sums.into_iter().map(|sum| sum / count)))
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::search::Genotype;

    #[test]
    fn what_has_a_mean_is_averaged_and_the_rest_is_the_first_one_s() {
        let dir = tempfile::tempdir().unwrap();
        let spec = |name: &str, dtype, init, averaged| TensorSpec {
            name: format!("net/{name}"),
            shape: vec![2],
            dtype,
            init,
            trained: true,
            averaged,
        };
        let tensors = [
            spec("weight", Dtype::F32, Init::Normal(0.0, 1.0), true),
            spec("u", Dtype::F32, Init::Direction, false),
            spec("count", Dtype::I64, Init::Constant(0.0), false),
        ];
        let meta = Meta { genotype: Genotype::new([]), epoch: 4, step: 0, files: Vec::new() };
        let readers: Vec<Reader> = [1.0f32, 2.0, 6.0]
            .iter()
            .map(|&value| {
                let path = dir.path().join(value.to_string());
                let entry = |name: &str, dtype| Entry { name: name.into(), dtype, shape: vec![2] };
                let entries = vec![
                    entry("model/net/weight", Dtype::F32),
                    entry("average/net/weight", Dtype::F32),
                    entry("model/net/u", Dtype::F32),
                    entry("model/net/count", Dtype::I64),
                    entry("optimizer/net/exp_avg/weight", Dtype::F32),
                ];
                let mut file = std::fs::File::create(&path).unwrap();
                write(&mut file, &meta, entries, |entry, out| {
                    let value = if entry.name.starts_with("average/") { 10.0 * value } else { value };
                    for _ in 0..2 {
                        match entry.dtype {
                            Dtype::I64 => out.write_all(&(value as i64).to_le_bytes())?,
                            _ => out.write_all(&value.to_le_bytes())?,
                        }
                    }
                    Ok::<_, std::io::Error>(())
                })
                .unwrap();
                Reader::open(&path).unwrap()
            })
            .collect();
        let path = dir.path().join("soup");
        let mut file = std::fs::File::create(&path).unwrap();
        soup(&mut file, &tensors, &readers.iter().collect::<Vec<_>>(), &meta).unwrap();
        let soup = Reader::open(&path).unwrap();
        let values = |name: &str| {
            let entry = soup.entries().find(|entry| entry.name == name).unwrap();
            soup.bytes(&entry).unwrap()
        };
        let floats = |name: &str| -> Vec<f32> {
            values(name).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        assert_eq!(floats("model/net/weight"), [3.0; 2]);
        assert_eq!(floats("average/net/weight"), [30.0; 2]);
        assert_eq!(floats("model/net/u"), [1.0; 2]);
        assert_eq!(values("model/net/count"), [1i64.to_le_bytes(), 1i64.to_le_bytes()].concat());
        assert!(soup.entry("optimizer/net/exp_avg/weight").is_none());
        assert_eq!(soup.meta(), &meta);
    }
}

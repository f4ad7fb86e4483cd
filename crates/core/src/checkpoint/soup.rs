//! Model soups: the mean of checkpoints of one architecture (facts: Model soups).

use std::io::Write;

use super::elements::{from_doubles, is_floating, to_doubles};
use super::{AVERAGE, CheckpointError, Entry, Init, MODEL, Meta, Reader, TensorSpec, write};
use crate::durable_fs::FileDigest;

/// Writes the mean of checkpoints of one architecture, tensor by tensor.
///
/// Floating tensors, running statistics and averaged copies included, are averaged. Integer tensors and the vectors of
/// spectral norms, those of a target network included, are copied from the first ingredient; optimizer state is omitted. With `part`, only tensors whose
/// names (without `model/` and `average/`) start with one of its prefixes are averaged. Holds one tensor in memory.
pub fn soup<W: Write>(
    out: &mut W,
    tensors: &[TensorSpec],
    ingredients: &[&Reader],
    part: Option<&[String]>,
    meta: &Meta,
) -> Result<FileDigest, CheckpointError> {
    let mut entries = Vec::new();
    for spec in tensors {
        for prefix in [Some(MODEL), spec.average.map(|_| AVERAGE)].into_iter().flatten() {
            let name = format!("{prefix}{}", spec.name);
            entries.push(Entry { name, dtype: spec.dtype, shape: spec.shape.clone() });
        }
    }
    let of_the_first = |entry: &Entry| {
        let model = entry.name.strip_prefix(MODEL);
        let name = model.or(entry.name.strip_prefix(AVERAGE)).unwrap_or(&entry.name);
        !is_floating(entry.dtype)
            || tensors.iter().any(|spec| spec.name == name && spec.init == Init::Direction)
            || part.is_some_and(|prefixes| !prefixes.iter().any(|prefix| name.starts_with(prefix)))
    };
    write(out, meta, entries, |entry, out| {
        let Some((first, _)) = ingredients.split_first().filter(|_| of_the_first(entry)) else {
            return Ok(out.write_all(&mean(entry, ingredients)?)?);
        };
        first.stream(entry, |chunk| out.write_all(chunk).map_err(CheckpointError::from))
    })
}

/// The mean of a tensor, accumulated in double precision.
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
    use std::path::Path;

    use safetensors::Dtype;

    use super::super::Average;
    use super::*;
    use crate::search::Genotype;

    fn values(soup: &Reader, name: &str) -> Vec<u8> {
        soup.bytes(&soup.entries().find(|entry| entry.name == name).unwrap()).unwrap()
    }

    fn floats(soup: &Reader, name: &str) -> Vec<f32> {
        values(soup, name).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// The soup of three checkpoints with the values 1, 2 and 6; averaged copies have ten times these values.
    fn cook(dir: &Path, part: Option<&[String]>) -> Reader {
        let spec = |name: &str, dtype, init, averaged| TensorSpec {
            name: name.into(),
            shape: vec![2],
            dtype,
            init,
            trained: true,
            average: averaged,
        };
        let tensors = [
            spec("net/weight", Dtype::F32, Init::Normal { mean: 0.0, std: 1.0 }, Some(Average::Target)),
            spec("net/u", Dtype::F32, Init::Direction, Some(Average::Target)),
            spec("net/count", Dtype::I64, Init::Constant(0.0), None),
            spec("network/weight", Dtype::F32, Init::Normal { mean: 0.0, std: 1.0 }, Some(Average::Moving)),
        ];
        let meta = Meta { genotype: Genotype::new([]), epoch: 4, step: 0, files: Vec::new() };
        let readers: Vec<Reader> = [1.0f32, 2.0, 6.0]
            .iter()
            .map(|&value| {
                let path = dir.join(value.to_string());
                let entry = |name: &str, dtype| Entry { name: name.into(), dtype, shape: vec![2] };
                let entries = vec![
                    entry("model/net/weight", Dtype::F32),
                    entry("average/net/weight", Dtype::F32),
                    entry("model/net/u", Dtype::F32),
                    entry("average/net/u", Dtype::F32),
                    entry("model/net/count", Dtype::I64),
                    entry("model/network/weight", Dtype::F32),
                    entry("average/network/weight", Dtype::F32),
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
        let path = dir.join("soup");
        let mut file = std::fs::File::create(&path).unwrap();
        soup(&mut file, &tensors, &readers.iter().collect::<Vec<_>>(), part, &meta).unwrap();
        let soup = Reader::open(&path).unwrap();
        assert_eq!(soup.meta(), &meta);
        soup
    }

    #[test]
    fn floating_tensors_are_averaged_and_others_copied_from_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let soup = cook(dir.path(), None);
        for network in ["net", "network"] {
            assert_eq!(floats(&soup, &format!("model/{network}/weight")), [3.0; 2]);
            assert_eq!(floats(&soup, &format!("average/{network}/weight")), [30.0; 2]);
        }
        assert_eq!(floats(&soup, "model/net/u"), [1.0; 2]);
        assert_eq!(floats(&soup, "average/net/u"), [10.0; 2]);
        assert_eq!(values(&soup, "model/net/count"), [1i64.to_le_bytes(), 1i64.to_le_bytes()].concat());
        assert!(soup.entry("optimizer/net/exp_avg/weight").is_none());
    }

    #[test]
    fn tensors_outside_the_part_are_copied_from_the_first() {
        let dir = tempfile::tempdir().unwrap();
        for (prefixes, net, network) in [
            (vec!["net/"], 3.0, 1.0),
            (vec!["network/"], 1.0, 3.0),
            (vec!["network/", "net/"], 3.0, 3.0),
            // These prefixes do not match any floating tensor.
            (vec!["net/weight/more", "model/", "average/", "u"], 1.0, 1.0),
            (vec![], 1.0, 1.0),
        ] {
            let part: Vec<String> = prefixes.into_iter().map(str::to_owned).collect();
            let soup = cook(dir.path(), Some(&part));
            for (name, value) in [("net", net), ("network", network)] {
                assert_eq!(floats(&soup, &format!("model/{name}/weight")), [value; 2], "{part:?}");
                assert_eq!(floats(&soup, &format!("average/{name}/weight")), [10.0 * value; 2], "{part:?}");
            }
            assert_eq!(floats(&soup, "model/net/u"), [1.0; 2]);
        }
    }
}

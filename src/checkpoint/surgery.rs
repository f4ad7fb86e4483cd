//! An offspring's checkpoint out of its parents', tensor by tensor (paper, section 3.3 and Algorithm 2).

use std::collections::BTreeMap;
use std::io::Write;

use safetensors::Dtype;

use super::file::CHUNK;
use super::{
    AVERAGE, CheckpointError, Entry, MODEL, Meta, OPTIMIZER, Reader, TensorSpec, Written, fresh, write,
};
use crate::search::{Address, Space};

/// The (lambda, gamma) of shrink-perturb: `lambda * w + gamma * w_fresh`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShrinkPerturb {
    /// lambda, what is left of the weights.
    pub shrink: f32,
    /// gamma, how much of a fresh initialisation is added.
    pub perturb: f32,
}

/// What the donor gives to an offspring.
pub struct Donation<'a> {
    /// The worse parent's checkpoint.
    pub donor: &'a Reader,
    /// The variables it gives.
    pub replaced: &'a [String],
    /// How the given weights are adapted.
    pub shrink_perturb: ShrinkPerturb,
    /// Where the noise is drawn; it must differ for each child.
    pub noise: Address<'a>,
}

/// Writes an offspring's checkpoint.
///
/// `tensors` are those of the offspring's architecture. Layers of replaced variables come from the donor:
/// every floating tensor of the network itself is shrink-perturbed, integer tensors and averaged copies are
/// taken as they are. Everything else is the base's. An optimizer's moments are the base's wherever a
/// parameter of that name and shape is still there, and dropped elsewhere (facts: matched by name).
///
/// Memory is a few chunks of a mebibyte, whatever the size of the checkpoints.
pub fn offspring<W: Write>(
    out: &mut W,
    space: &Space,
    tensors: &[TensorSpec],
    base: &Reader,
    donation: &Donation,
    meta: &Meta,
) -> Result<Written, CheckpointError> {
    let specs: BTreeMap<&str, &TensorSpec> = tensors.iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let mut entries = Vec::new();
    for spec in tensors {
        let entry = |prefix: &str| Entry {
            name: format!("{prefix}{}", spec.name),
            dtype: spec.dtype,
            shape: spec.shape.clone(),
        };
        entries.push(entry(MODEL));
        if spec.averaged {
            entries.push(entry(AVERAGE));
        }
    }
    entries.extend(base.entries().filter(|entry| {
        let Some(parameter) = parameter_of(&entry.name) else { return false };
        let before = base.entry(&format!("{MODEL}{parameter}"));
        specs.get(parameter.as_str()).is_some_and(|spec| before == Some((spec.dtype, &spec.shape)))
    }));

    let donated =
        |name: &str| space.owner(name).is_some_and(|variable| donation.replaced.contains(&variable.name));
    write(out, meta, entries, |entry, out| {
        let (name, is_model) = match (entry.name.strip_prefix(MODEL), entry.name.strip_prefix(AVERAGE)) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => return copy(base, entry, out),
        };
        match specs.get(name) {
            Some(spec) if donated(name) && is_model && spec.dtype == Dtype::F32 => {
                perturbed_copy(donation, spec, entry, out)
            }
            _ if donated(name) => copy(donation.donor, entry, out),
            _ => copy(base, entry, out),
        }
    })
}

/// The parameter that a tensor of an optimizer belongs to: `optimizer/NETWORK/MOMENT/REST` is about
/// `NETWORK/REST`.
fn parameter_of(name: &str) -> Option<String> {
    let (network, rest) = name.strip_prefix(OPTIMIZER)?.split_once('/')?;
    let (_, rest) = rest.split_once('/')?;
    Some(format!("{network}/{rest}"))
}

fn copy(from: &Reader, entry: &Entry, out: &mut dyn Write) -> Result<(), CheckpointError> {
    from.stream(entry, |chunk| out.write_all(chunk).map_err(CheckpointError::from))
}

/// Copies a tensor of the donor, shrunk and perturbed.
fn perturbed_copy(
    donation: &Donation,
    spec: &TensorSpec,
    entry: &Entry,
    out: &mut dyn Write,
) -> Result<(), CheckpointError> {
    let ShrinkPerturb { shrink, perturb } = donation.shrink_perturb;
    let mut noise = fresh(spec, &donation.noise);
    let mut changed = Vec::with_capacity(CHUNK);
    donation.donor.stream(entry, |chunk| {
        changed.clear();
        for (bytes, noise) in chunk.chunks_exact(4).zip(&mut noise) {
            let weight = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            changed.extend_from_slice(&(shrink * weight + perturb * noise).to_le_bytes());
        }
        out.write_all(&changed).map_err(CheckpointError::from)
    })
}

impl From<std::io::Error> for CheckpointError {
    fn from(source: std::io::Error) -> Self {
        Self::Io { doing: "write", path: "the new checkpoint".into(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Init;
    use super::*;
    use crate::search::{Genotype, MemberId, Variable};
    use std::path::Path;

    fn space() -> Space {
        let variable = |name: &str| Variable {
            name: name.into(),
            options: vec!["small".into(), "large".into()],
            owns: vec![format!("net/{name}/")],
        };
        Space { variables: vec![variable("a"), variable("b")] }
    }

    /// Layers `a` and `b`, whose size is 2 or 5, an integer counter in `b`, and a fixed head.
    fn tensors(a: usize, b: usize) -> Vec<TensorSpec> {
        let spec = |name: &str, size, dtype, averaged| TensorSpec {
            name: format!("net/{name}"),
            shape: vec![size],
            dtype,
            init: Init::Normal(0.0, 1.0),
            trained: dtype == Dtype::F32,
            averaged,
        };
        vec![
            spec("a/weight", a, Dtype::F32, true),
            spec("b/weight", b, Dtype::F32, true),
            spec("b/count", 1, Dtype::I64, false),
            spec("head", 1, Dtype::F32, true),
        ]
    }

    /// A checkpoint in which a tensor's values are all `value`, and averages and moments are marked.
    fn parent(path: &Path, tensors: &[TensorSpec], value: f32) -> Reader {
        let mut entries = Vec::new();
        for spec in tensors {
            let entry = |name: String| Entry { name, dtype: spec.dtype, shape: spec.shape.clone() };
            entries.push(entry(format!("model/{}", spec.name)));
            if spec.averaged {
                let rest = spec.name.strip_prefix("net/").unwrap();
                entries.push(entry(format!("average/{}", spec.name)));
                entries.push(entry(format!("optimizer/net/exp_avg/{rest}")));
                entries.push(Entry {
                    name: format!("optimizer/net/step/{rest}"),
                    dtype: Dtype::F32,
                    shape: vec![],
                });
            }
        }
        let meta = Meta { genotype: Genotype::new([]), epoch: 1, step: 0 };
        let mut bytes = Vec::new();
        write(&mut bytes, &meta, entries, |entry, out| {
            let value = match entry.name.split('/').next() {
                Some("average") => value + 10.0,
                Some("optimizer") => value + 20.0,
                _ => value,
            };
            for _ in 0..entry.shape.iter().product() {
                match entry.dtype {
                    Dtype::I64 => out.write_all(&(value as i64).to_le_bytes())?,
                    _ => out.write_all(&value.to_le_bytes())?,
                }
            }
            Ok::<_, std::io::Error>(())
        })
        .unwrap();
        std::fs::write(path, bytes).unwrap();
        Reader::open(path).unwrap()
    }

    fn f32s(reader: &Reader, name: &str) -> Vec<f32> {
        let (dtype, shape) = reader.entry(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(dtype, Dtype::F32);
        let entry = Entry { name: name.into(), dtype, shape: shape.to_vec() };
        let bytes = reader.bytes(&entry).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn child(dir: &Path, replaced: &[String], shape: (usize, usize), member: u32) -> Reader {
        let base = parent(&dir.join("base"), &tensors(2, 2), 1.0);
        let donor = parent(&dir.join("donor"), &tensors(2, 5), 2.0);
        let donation = Donation {
            donor: &donor,
            replaced,
            shrink_perturb: ShrinkPerturb { shrink: 0.4, perturb: 0.1 },
            noise: Address { run: 1, generation: 2, member: Some(MemberId(member)), purpose: "noise" },
        };
        let meta = Meta { genotype: Genotype::new([]), epoch: 1, step: 0 };
        let path = dir.join(format!("child{member}"));
        let mut file = std::fs::File::create(&path).unwrap();
        offspring(&mut file, &space(), &tensors(shape.0, shape.1), &base, &donation, &meta).unwrap();
        Reader::open(&path).unwrap()
    }

    #[test]
    fn a_replaced_layer_is_the_donor_s_shrunk_and_perturbed() {
        let dir = tempfile::tempdir().unwrap();
        let child = child(dir.path(), &["b".into()], (2, 5), 3);
        let spec = &tensors(2, 5)[1];
        let address = Address { run: 1, generation: 2, member: Some(MemberId(3)), purpose: "noise" };
        let expected: Vec<f32> = fresh(spec, &address).map(|noise| 0.4 * 2.0 + 0.1 * noise).collect();
        assert_eq!(f32s(&child, "model/net/b/weight"), expected);
        // Averages come without noise, everything else from the base.
        assert_eq!(f32s(&child, "average/net/b/weight"), [12.0; 5]);
        assert_eq!(f32s(&child, "model/net/a/weight"), [1.0; 2]);
        assert_eq!(f32s(&child, "average/net/a/weight"), [11.0; 2]);
        assert_eq!(f32s(&child, "model/net/head"), [1.0]);
        // Integers are copied.
        let count = Entry { name: "model/net/b/count".into(), dtype: Dtype::I64, shape: vec![1] };
        assert_eq!(child.bytes(&count).unwrap(), 2i64.to_le_bytes());
    }

    #[test]
    fn moments_stay_where_name_and_shape_fit() {
        let dir = tempfile::tempdir().unwrap();
        // Layer b grew, so its moments fit no longer; layer a was replaced by one of the same shape.
        let child = child(dir.path(), &["a".into(), "b".into()], (2, 5), 0);
        assert!(child.entry("optimizer/net/exp_avg/b/weight").is_none());
        assert!(child.entry("optimizer/net/step/b/weight").is_none());
        assert_eq!(f32s(&child, "optimizer/net/exp_avg/a/weight"), [21.0; 2]);
        assert_eq!(f32s(&child, "optimizer/net/step/a/weight"), [21.0]);
        assert_eq!(f32s(&child, "optimizer/net/exp_avg/head"), [21.0]);
    }

    #[test]
    fn two_children_of_the_same_parents_get_different_noise() {
        let dir = tempfile::tempdir().unwrap();
        let replaced = ["a".to_owned()];
        let (one, two) = (child(dir.path(), &replaced, (2, 2), 1), child(dir.path(), &replaced, (2, 2), 2));
        assert_ne!(f32s(&one, "model/net/a/weight"), f32s(&two, "model/net/a/weight"));
    }

    #[test]
    fn a_parent_of_another_architecture_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = parent(&dir.path().join("base"), &tensors(2, 2), 1.0);
        let donation = Donation {
            donor: &base,
            replaced: &[],
            shrink_perturb: ShrinkPerturb { shrink: 0.4, perturb: 0.1 },
            noise: Address { run: 1, generation: 1, member: None, purpose: "noise" },
        };
        let meta = base.meta().clone();
        let error = offspring(&mut Vec::new(), &space(), &tensors(5, 2), &base, &donation, &meta);
        assert!(error.unwrap_err().to_string().contains("has no tensor \"average/net/a/weight\""));
    }
}

//! Building an offspring's checkpoint from its parents', tensor by tensor (paper, section 3.3 and Algorithm 2).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use rand::Rng;
use rand::seq::index;
use rand_distr::{Distribution, StandardNormal};

use super::elements::{ElementRule, changed, is_floating};
use crate::durable_fs::FileDigest;
use serde::{Deserialize, Serialize};

use super::{
    AVERAGE, Average, CheckpointError, Entry, InitialTensors, MODEL, Meta, OPTIMIZER, Reader, TensorSpec,
    write,
};
use crate::search::{RngKey, Space, rng};

/// The (lambda, gamma) of shrink-perturb: `lambda * w + gamma * w_fresh`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShrinkPerturb {
    /// Factor of the donor's weights.
    pub lambda: f32,
    /// Factor of fresh weights.
    pub gamma: f32,
}

impl Default for ShrinkPerturb {
    /// The paper's.
    fn default() -> Self {
        Self { lambda: 0.4, gamma: 0.1 }
    }
}

/// How an offspring is built from its base.
pub enum Surgery<'a> {
    /// Unchanged.
    Copy,
    /// The layers of the `replaced` variables come from the donor and are shrink-perturbed (Algorithm 2).
    Mix { donor: &'a Reader, replaced: &'a [String], shrink_perturb: ShrinkPerturb },
    /// The layers of a variable and their averaged copies are reinitialised.
    Redraw { variable: &'a str },
    /// Noise is added to the weights of some layers, as in SEARL.
    MutateWeights,
    /// The whole network is shrink-perturbed.
    ShrinkPerturb(ShrinkPerturb),
}

/// Writes an offspring's checkpoint.
///
/// `new` is a freshly initialised network of the offspring's architecture: it declares the tensors and provides the
/// noise and the redrawn layers. `noise` is the key of the random numbers and must differ for each child.
/// Shrink-perturb acts on every floating tensor under `model/`, and that of the whole network on target networks, with
/// the fresh numbers of the tensors that they follow; integer tensors and other averaged copies are copied unchanged.
/// Everything else comes from the base. Optimizer state of the base is kept where the parameter's name and
/// shape are unchanged and dropped otherwise (facts: matched by name).
///
/// Uses a few chunks of 1 MiB of memory, whatever the size of the checkpoints.
pub fn offspring<W: Write>(
    out: &mut W,
    space: &Space,
    new: &InitialTensors,
    base: &Reader,
    surgery: &Surgery,
    noise: &RngKey,
    meta: &Meta,
) -> Result<FileDigest, CheckpointError> {
    let tensors = new.tensors();
    let specs: BTreeMap<&str, &TensorSpec> = tensors.iter().map(|spec| (spec.name.as_str(), spec)).collect();
    let mut entries = Vec::new();
    for spec in tensors {
        let entry = |prefix: &str| Entry {
            name: format!("{prefix}{}", spec.name),
            dtype: spec.dtype,
            shape: spec.shape.clone(),
        };
        entries.push(entry(MODEL));
        if spec.average.is_some() {
            entries.push(entry(AVERAGE));
        }
    }
    entries.extend(base.entries().filter(|entry| {
        let Some(parameter) = parameter_of(&entry.name) else { return false };
        let before = base.entry(&format!("{MODEL}{parameter}"));
        specs.get(parameter.as_str()).is_some_and(|spec| before == Some((spec.dtype, &spec.shape)))
    }));
    let mutated = match surgery {
        Surgery::MutateWeights => mutated_tensors(tensors, noise),
        _ => BTreeSet::new(),
    };
    let owner = |name: &str| space.owner(name).map(|variable| variable.name.as_str());
    write(out, meta, entries, |entry, out| {
        let (name, is_model) = match (entry.name.strip_prefix(MODEL), entry.name.strip_prefix(AVERAGE)) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => return copy(base, entry, out),
        };
        let Some(spec) = specs.get(name) else { return copy(base, entry, out) };
        let floating = is_floating(spec.dtype);
        let is_whole = is_model || spec.average == Some(Average::Target);
        match surgery {
            Surgery::Mix { donor, replaced, shrink_perturb }
                if owner(name).is_some_and(|owner| replaced.iter().any(|name| name == owner)) =>
            {
                match is_model && floating {
                    true => perturbed_copy(donor, *shrink_perturb, new, spec, noise, entry, out),
                    false => copy(donor, entry, out),
                }
            }
            Surgery::Redraw { variable } if owner(name) == Some(variable) => {
                new.stream(spec, entry, noise, |chunk| Ok(out.write_all(chunk)?))
            }
            Surgery::ShrinkPerturb(shrink_perturb) if is_whole && floating => {
                perturbed_copy(base, *shrink_perturb, new, spec, noise, entry, out)
            }
            Surgery::MutateWeights if mutated.contains(&entry.name) => mutated_copy(base, noise, entry, out),
            _ => copy(base, entry, out),
        }
    })
}

/// The parameter that an optimizer tensor belongs to: `NETWORK/REST` for `optimizer/NETWORK/MOMENT/REST`.
fn parameter_of(name: &str) -> Option<String> {
    let (network, rest) = name.strip_prefix(OPTIMIZER)?.split_once('/')?;
    let (_, rest) = rest.split_once('/')?;
    Some(format!("{network}/{rest}"))
}

fn copy(from: &Reader, entry: &Entry, out: &mut dyn Write) -> Result<(), CheckpointError> {
    from.stream(entry, |chunk| out.write_all(chunk).map_err(CheckpointError::from))
}

/// Copies a tensor, or its target network's, with shrink-perturb by the fresh numbers of the tensor.
fn perturbed_copy(
    from: &Reader,
    shrink_perturb: ShrinkPerturb,
    new: &InitialTensors,
    spec: &TensorSpec,
    noise: &RngKey,
    entry: &Entry,
    out: &mut dyn Write,
) -> Result<(), CheckpointError> {
    let mut at = 0;
    let mut weights = Vec::new();
    let tensor = Entry { name: format!("{MODEL}{}", spec.name), ..entry.clone() };
    new.stream(spec, &tensor, noise, |fresh| {
        weights.resize(fresh.len(), 0);
        from.read_part(entry, at, &mut weights)?;
        at += weights.len();
        changed(spec.dtype, &mut weights, fresh, &mut ShrinkPerturbed(shrink_perturb));
        Ok(out.write_all(&weights)?)
    })
}

struct ShrinkPerturbed(ShrinkPerturb);

impl ElementRule for ShrinkPerturbed {
    fn single(&mut self, weight: f32, fresh: f32) -> f32 {
        self.0.lambda * weight + self.0.gamma * fresh
    }

    fn double(&mut self, weight: f64, fresh: f64) -> f64 {
        f64::from(self.0.lambda) * weight + f64::from(self.0.gamma) * fresh
    }
}

/// Selects the entries to mutate: a random number, at least one, of the trained tensors with more than one dimension,
/// which excludes normalisation layers, and of those of target networks.
fn mutated_tensors(tensors: &[TensorSpec], noise: &RngKey) -> BTreeSet<String> {
    let mut weights = Vec::new();
    for spec in tensors.iter().filter(|spec| spec.trained && spec.shape.len() > 1) {
        weights.push(format!("{MODEL}{}", spec.name));
        if spec.average == Some(Average::Target) {
            weights.push(format!("{AVERAGE}{}", spec.name));
        }
    }
    if weights.is_empty() {
        return BTreeSet::new();
    }
    let mut rng = rng(&RngKey { purpose: &format!("{} mutated tensors", noise.purpose), ..*noise });
    let count = rng.random_range(1..=weights.len());
    index::sample(&mut rng, weights.len(), count).into_iter().map(|at| weights[at].clone()).collect()
}

/// Copies a weight tensor with SEARL's noise on some of its elements (facts: SEARL-like mutation).
fn mutated_copy(
    from: &Reader,
    noise: &RngKey,
    entry: &Entry,
    out: &mut dyn Write,
) -> Result<(), CheckpointError> {
    let mut rng = rng(&RngKey { purpose: &format!("{} mutation {}", noise.purpose, entry.name), ..*noise });
    let rows = entry.shape[0];
    let most = rows.div_ceil(10).max(1);
    let probability = rng.random_range(0..most) as f64 / rows.max(1) as f64;
    let mut mutated = Mutated { probability, rng };
    let mut weights = Vec::new();
    from.stream(entry, |chunk| {
        weights.clear();
        weights.extend_from_slice(chunk);
        changed(entry.dtype, &mut weights, chunk, &mut mutated);
        Ok(out.write_all(&weights)?)
    })
}

struct Mutated<R> {
    probability: f64,
    rng: R,
}

impl<R: Rng> Mutated<R> {
    /// Draws the mutation of an element; none with probability `1 - self.probability`.
    fn draw(&mut self) -> Option<Mutation> {
        if self.rng.random::<f64>() >= self.probability {
            return None;
        }
        let kind: f64 = self.rng.random();
        let normal: f32 = StandardNormal.sample(&mut self.rng);
        Some(match kind {
            kind if kind < 0.05 => Mutation::Noise(10.0, normal),
            kind if kind < 0.1 => Mutation::Redrawn(normal),
            _ => Mutation::Noise(0.1, normal),
        })
    }
}

enum Mutation {
    /// Factor and normal number: adds noise whose standard deviation is `factor` times the element's magnitude.
    Noise(f32, f32),
    /// Replaces the element by this number.
    Redrawn(f32),
}

impl<R: Rng> ElementRule for Mutated<R> {
    fn single(&mut self, weight: f32, _: f32) -> f32 {
        let mutated = match self.draw() {
            None => return weight,
            Some(Mutation::Noise(factor, normal)) => weight + factor * weight.abs() * normal,
            Some(Mutation::Redrawn(normal)) => normal,
        };
        mutated.clamp(-1e6, 1e6)
    }

    fn double(&mut self, weight: f64, _: f64) -> f64 {
        let mutated = match self.draw() {
            None => return weight,
            Some(Mutation::Noise(factor, normal)) => {
                weight + f64::from(factor) * weight.abs() * f64::from(normal)
            }
            Some(Mutation::Redrawn(normal)) => f64::from(normal),
        };
        mutated.clamp(-1e6, 1e6)
    }
}

impl From<std::io::Error> for CheckpointError {
    fn from(source: std::io::Error) -> Self {
        Self::Io { doing: "write", path: "the new checkpoint".into(), source }
    }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::super::{Init, fresh};
    use super::*;
    use crate::search::{Genotype, MemberId, Variable};
    use std::path::Path;

    fn space() -> Space {
        let variable = |name: &str| {
            Variable::choice(name, vec!["small".into(), "large".into()], vec![format!("net/{name}/")])
        };
        Space::new(vec![variable("a"), variable("b")])
    }

    /// Layers `a` and `b` of size 2 or 5, an integer counter in `b` and a fixed head.
    fn tensors(a: usize, b: usize) -> Vec<TensorSpec> {
        let spec = |name: &str, size, dtype, averaged: bool| TensorSpec {
            name: format!("net/{name}"),
            shape: vec![size],
            dtype,
            init: Init::Normal { mean: 0.0, std: 1.0 },
            trained: dtype == Dtype::F32,
            average: averaged.then_some(Average::Moving),
        };
        vec![
            spec("a/weight", a, Dtype::F32, true),
            spec("b/weight", b, Dtype::F32, true),
            spec("b/count", 1, Dtype::I64, false),
            spec("head", 1, Dtype::F32, true),
        ]
    }

    /// A checkpoint whose tensors are `value`, averages `value + 10` and moments `value + 20`.
    fn parent(path: &Path, tensors: &[TensorSpec], value: f32) -> Reader {
        let mut entries = Vec::new();
        for spec in tensors {
            let entry = |name: String| Entry { name, dtype: spec.dtype, shape: spec.shape.clone() };
            entries.push(entry(format!("model/{}", spec.name)));
            if spec.average.is_some() {
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
        let meta = Meta { genotype: Genotype::new([]), epoch: 1, step: 0, files: Vec::new() };
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

    fn noise(member: u32) -> RngKey<'static> {
        RngKey { run: 1, generation: 2, member: Some(MemberId(member)), purpose: "noise" }
    }

    fn operate(dir: &Path, base: &Reader, shape: (usize, usize), surgery: &Surgery, member: u32) -> Reader {
        let path = dir.join(format!("child{member}"));
        let mut file = std::fs::File::create(&path).unwrap();
        let tensors = tensors(shape.0, shape.1);
        let new = InitialTensors::sampled(tensors);
        offspring(&mut file, &space(), &new, base, surgery, &noise(member), base.meta()).unwrap();
        Reader::open(&path).unwrap()
    }

    fn child(dir: &Path, replaced: &[String], shape: (usize, usize), member: u32) -> Reader {
        let base = parent(&dir.join("base"), &tensors(2, 2), 1.0);
        let donor = parent(&dir.join("donor"), &tensors(2, 5), 2.0);
        let shrink_perturb = ShrinkPerturb { lambda: 0.4, gamma: 0.1 };
        operate(dir, &base, shape, &Surgery::Mix { donor: &donor, replaced, shrink_perturb }, member)
    }

    #[test]
    fn replaced_layer_is_the_shrink_perturbed_donor_layer() {
        let dir = tempfile::tempdir().unwrap();
        let child = child(dir.path(), &["b".into()], (2, 5), 3);
        let spec = &tensors(2, 5)[1];
        let expected: Vec<f32> = fresh(spec, &noise(3)).map(|noise| 0.4 * 2.0 + 0.1 * noise).collect();
        assert_eq!(f32s(&child, "model/net/b/weight"), expected);
        // Averages are copied without noise; everything else comes from the base.
        assert_eq!(f32s(&child, "average/net/b/weight"), [12.0; 5]);
        assert_eq!(f32s(&child, "model/net/a/weight"), [1.0; 2]);
        assert_eq!(f32s(&child, "average/net/a/weight"), [11.0; 2]);
        assert_eq!(f32s(&child, "model/net/head"), [1.0]);
        // Integers are copied.
        let count = Entry { name: "model/net/b/count".into(), dtype: Dtype::I64, shape: vec![1] };
        assert_eq!(child.bytes(&count).unwrap(), 2i64.to_le_bytes());
    }

    #[test]
    fn moments_are_kept_where_name_and_shape_match() {
        let dir = tempfile::tempdir().unwrap();
        // Layer b changed its shape and loses its moments; layer a was replaced by one of the same shape.
        let child = child(dir.path(), &["a".into(), "b".into()], (2, 5), 0);
        assert!(child.entry("optimizer/net/exp_avg/b/weight").is_none());
        assert!(child.entry("optimizer/net/step/b/weight").is_none());
        assert_eq!(f32s(&child, "optimizer/net/exp_avg/a/weight"), [21.0; 2]);
        assert_eq!(f32s(&child, "optimizer/net/step/a/weight"), [21.0]);
        assert_eq!(f32s(&child, "optimizer/net/exp_avg/head"), [21.0]);
    }

    #[test]
    fn siblings_get_different_noise() {
        let dir = tempfile::tempdir().unwrap();
        let replaced = ["a".to_owned()];
        let (one, two) = (child(dir.path(), &replaced, (2, 2), 1), child(dir.path(), &replaced, (2, 2), 2));
        assert_ne!(f32s(&one, "model/net/a/weight"), f32s(&two, "model/net/a/weight"));
    }

    #[test]
    fn redrawn_layer_and_its_average_are_reinitialised() {
        let dir = tempfile::tempdir().unwrap();
        let base = parent(&dir.path().join("base"), &tensors(2, 2), 1.0);
        let child = operate(dir.path(), &base, (2, 5), &Surgery::Redraw { variable: "b" }, 4);
        let fresh: Vec<f32> = fresh(&tensors(2, 5)[1], &noise(4)).collect();
        assert_eq!(f32s(&child, "model/net/b/weight"), fresh);
        assert_eq!(f32s(&child, "average/net/b/weight"), fresh);
        assert_eq!(f32s(&child, "model/net/a/weight"), [1.0; 2]);
        assert!(child.entry("optimizer/net/exp_avg/b/weight").is_none());
    }

    #[test]
    fn perturbed_survivor_keeps_averages_and_moments() {
        let dir = tempfile::tempdir().unwrap();
        let base = parent(&dir.path().join("base"), &tensors(2, 2), 1.0);
        let shrink_perturb = ShrinkPerturb { lambda: 0.5, gamma: 2.0 };
        let child = operate(dir.path(), &base, (2, 2), &Surgery::ShrinkPerturb(shrink_perturb), 1);
        for spec in tensors(2, 2).iter().filter(|spec| spec.dtype == Dtype::F32) {
            let expected: Vec<f32> = fresh(spec, &noise(1)).map(|noise| 0.5 + 2.0 * noise).collect();
            assert_eq!(f32s(&child, &format!("model/{}", spec.name)), expected);
            assert_eq!(f32s(&child, &format!("average/{}", spec.name))[0], 11.0);
        }
        assert_eq!(f32s(&child, "optimizer/net/exp_avg/head"), [21.0]);
        let copy = operate(dir.path(), &base, (2, 2), &Surgery::Copy, 2);
        for entry in base.entries() {
            assert_eq!(base.bytes(&entry).unwrap(), copy.bytes(&entry).unwrap(), "{}", entry.name);
        }
    }

    /// Networks with one layer of two dimensions, whose averages have this purpose.
    fn networks(average: Average) -> Vec<TensorSpec> {
        let spec = |name: &str| TensorSpec {
            name: format!("net/{name}/weight"),
            shape: vec![100, 10],
            dtype: Dtype::F32,
            init: Init::Normal { mean: 0.0, std: 1.0 },
            trained: true,
            average: Some(average),
        };
        vec![spec("a"), spec("b")]
    }

    #[test]
    fn target_network_is_perturbed_with_the_numbers_of_its_network() {
        let dir = tempfile::tempdir().unwrap();
        for average in [Average::Moving, Average::Target] {
            let specs = networks(average);
            let base = parent(&dir.path().join("base"), &specs, 1.0);
            let new = InitialTensors::sampled(specs.clone());
            let surgery = Surgery::ShrinkPerturb(ShrinkPerturb { lambda: 0.5, gamma: 2.0 });
            let path = dir.path().join("child");
            let mut file = std::fs::File::create(&path).unwrap();
            offspring(&mut file, &space(), &new, &base, &surgery, &noise(1), base.meta()).unwrap();
            let child = Reader::open(&path).unwrap();
            for spec in &specs {
                let expected: Vec<f32> = match average {
                    Average::Moving => vec![11.0; spec.len()],
                    Average::Target => fresh(spec, &noise(1)).map(|noise| 0.5 * 11.0 + 2.0 * noise).collect(),
                };
                assert_eq!(f32s(&child, &format!("average/{}", spec.name)), expected);
            }
        }
    }

    /// Of k tensors each is mutated with probability (k + 1) / 2k, and then unchanged by chance in 1 of 10 cases.
    #[test]
    fn weights_of_target_networks_are_mutated_as_often_as_others() {
        const CHILDREN: u32 = 400;
        let dir = tempfile::tempdir().unwrap();
        for (average, tensors) in [(Average::Moving, 2.0), (Average::Target, 4.0)] {
            let specs = networks(average);
            let base = parent(&dir.path().join("base"), &specs, 1.0);
            let new = InitialTensors::sampled(specs.clone());
            let mut shares = BTreeMap::<String, f64>::new();
            for member in 0..CHILDREN {
                let path = dir.path().join("child");
                let mut file = std::fs::File::create(&path).unwrap();
                offspring(
                    &mut file,
                    &space(),
                    &new,
                    &base,
                    &Surgery::MutateWeights,
                    &noise(member),
                    base.meta(),
                )
                .unwrap();
                let child = Reader::open(&path).unwrap();
                for entry in base.entries().filter(|entry| !entry.name.starts_with(OPTIMIZER)) {
                    let moved = base.bytes(&entry).unwrap() != child.bytes(&entry).unwrap();
                    *shares.entry(entry.name).or_default() +=
                        f64::from(u8::from(moved)) / f64::from(CHILDREN);
                }
            }
            let expected = 0.9 * (tensors + 1.0) / (2.0 * tensors);
            for (name, share) in shares {
                let mutable = average == Average::Target || name.starts_with(MODEL);
                let expected = if mutable { expected } else { 0.0 };
                assert!(
                    (share - expected).abs() < 0.1 * expected.signum(),
                    "{name}: {share}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn mutated_weights_get_searl_noise() {
        let dir = tempfile::tempdir().unwrap();
        let spec = |name: &str, shape: &[usize]| TensorSpec {
            name: format!("net/{name}"),
            shape: shape.to_vec(),
            dtype: Dtype::F32,
            init: Init::Constant(2.0),
            trained: true,
            average: Some(Average::Moving),
        };
        let specs = [spec("a/weight", &[200, 500]), spec("b/weight", &[100, 300]), spec("b/bias", &[100])];
        let base = parent(&dir.path().join("base"), &specs, 2.0);
        let new = InitialTensors::sampled(specs.to_vec());
        let (mut elements, mut changed, mut far) = (0.0, 0.0, 0.0);
        let mut both = 0;
        for member in 0..30 {
            let path = dir.path().join("mutant");
            let mut file = std::fs::File::create(&path).unwrap();
            let surgery = Surgery::MutateWeights;
            offspring(&mut file, &space(), &new, &base, &surgery, &noise(member), base.meta()).unwrap();
            let child = Reader::open(&path).unwrap();
            assert_eq!(f32s(&child, "model/net/b/bias"), [2.0; 100]);
            assert_eq!(f32s(&child, "average/net/a/weight")[..3], [12.0; 3]);
            let mut touched = 0;
            for name in ["a/weight", "b/weight"] {
                let weights = f32s(&child, &format!("model/net/{name}"));
                let moved = weights.iter().filter(|&&w| w != 2.0).count();
                // The largest probability for a tensor with this number of rows: (ceil(rows / 10) - 1) / rows.
                assert!((moved as f64) < 0.1 * weights.len() as f64, "{name} {moved}");
                if moved > 0 {
                    touched += 1;
                    elements += weights.len() as f64;
                    changed += moved as f64;
                    far += weights.iter().filter(|&&w| (w - 2.0).abs() > 1.0).count() as f64;
                }
            }
            both += usize::from(touched == 2);
        }
        // Mutated tensors change (0 + ... + 9) / 10 percent of their elements on average.
        assert!((0.03..0.075).contains(&(changed / elements)), "{}", changed / elements);
        // 5 % get noise of standard deviation 20 (96 % of it beyond 1), 5 % are redrawn from N(0, 1) (84 % differ
        // from 2 by more than 1), the rest gets noise of standard deviation 0.2 (never beyond 1).
        assert!((0.07..0.11).contains(&(far / changed)), "{}", far / changed);
        assert!((1..30).contains(&both), "{both}");
    }

    #[test]
    fn parent_with_another_architecture_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let base = parent(&dir.path().join("base"), &tensors(2, 2), 1.0);
        let mut out = Vec::new();
        let new = InitialTensors::sampled(tensors(5, 2));
        let error = offspring(&mut out, &space(), &new, &base, &Surgery::Copy, &noise(0), base.meta());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("has no tensor \"average/net/a/weight\"") && error.contains("[2]"), "{error}");
    }

    /// The initial network comes from a user's program (task `command`).
    #[test]
    fn initial_values_come_from_a_checkpoint_if_given() {
        let dir = tempfile::tempdir().unwrap();
        let (base, donor) = (
            parent(&dir.path().join("base"), &tensors(2, 2), 1.0),
            parent(&dir.path().join("donor"), &tensors(2, 5), 2.0),
        );
        let child = |name: &str, surgery: &Surgery, sizes: (usize, usize), target_networks: &[String]| {
            let path = dir.path().join(name);
            // The child's architecture with values 30 and averages 40.
            let new = InitialTensors::copied(
                parent(&dir.path().join("new"), &tensors(sizes.0, sizes.1), 30.0),
                target_networks,
            );
            let mut file = std::fs::File::create(&path).unwrap();
            offspring(&mut file, &space(), &new, &base, surgery, &noise(0), base.meta()).unwrap();
            Reader::open(&path).unwrap()
        };
        let replaced = ["b".to_owned()];
        let shrink_perturb = ShrinkPerturb { lambda: 0.5, gamma: 0.25 };
        let mix = Surgery::Mix { donor: &donor, replaced: &replaced, shrink_perturb };
        let mixed = child("mixed", &mix, (2, 5), &[]);
        assert_eq!(f32s(&mixed, "model/net/b/weight"), [0.5 * 2.0 + 0.25 * 30.0; 5]);
        assert_eq!(f32s(&mixed, "average/net/b/weight"), [12.0; 5]);
        assert_eq!(f32s(&mixed, "model/net/a/weight"), [1.0; 2]);
        assert!(mixed.entry("optimizer/net/exp_avg/a/weight").is_some());
        let redrawn = child("redrawn", &Surgery::Redraw { variable: "a" }, (5, 2), &[]);
        assert_eq!(f32s(&redrawn, "model/net/a/weight"), [30.0; 5]);
        assert_eq!(f32s(&redrawn, "average/net/a/weight"), [40.0; 5]);
        assert_eq!(f32s(&redrawn, "model/net/b/weight"), [1.0; 2]);
        // A target network gets the fresh numbers of its network, not those of its own fresh copy.
        for (target_networks, average) in [(vec![], 11.0), (vec!["net".to_owned()], 0.5 * 11.0 + 0.25 * 30.0)]
        {
            let name = format!("perturbed {}", target_networks.len());
            let perturbed = child(&name, &Surgery::ShrinkPerturb(shrink_perturb), (2, 2), &target_networks);
            assert_eq!(f32s(&perturbed, "model/net/a/weight"), [0.5 * 1.0 + 0.25 * 30.0; 2]);
            assert_eq!(f32s(&perturbed, "average/net/a/weight"), [average; 2]);
        }
    }
}

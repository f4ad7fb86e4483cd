//! Initialisation, tensor by tensor: a network's first weights and the noise of shrink-perturb.
//!
//! A task declares the distribution of each tensor, and each tensor has its own keyed generator. Any single layer can
//! therefore be initialised without building its network, with the same result on every machine.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::Dtype;

use super::file::CHUNK;
use super::{AVERAGE, CheckpointError, Entry, MODEL, Reader, elements};
use crate::search::{RngKey, rng};

/// Distribution of a tensor's initial values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All elements have this value.
    Constant(f32),
    /// Normal, with this mean and standard deviation.
    Normal { mean: f32, std: f32 },
    /// Uniform in [-bound, bound).
    Uniform(f32),
    /// A random vector of length 1 (the vectors of a spectral norm).
    Direction,
    /// A random matrix of `shape[0]` rows whose rows (or columns, if there are fewer) are orthogonal and have this
    /// length (`torch.nn.init.orthogonal_`).
    Orthogonal(f32),
}

/// Declaration of a network's tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Name without the leading `model/`; its first part is the network's name.
    pub name: String,
    pub shape: Vec<usize>,
    /// `F32` or `I64` in the built-in tasks.
    pub dtype: Dtype,
    pub init: Init,
    /// Whether an optimizer trains the tensor; false for buffers such as running means.
    pub trained: bool,
    /// The averaged copy in the checkpoint, if there is one.
    pub average: Option<Average>,
}

/// The purpose of a tensor's averaged copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// A moving average that is evaluated instead of the tensor: only training changes it.
    Moving,
    /// The tensor of a target network, which training reads: what perturbs or mutates the whole network acts on it, too.
    Target,
}

impl TensorSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of a freshly initialised network and their values.
pub struct InitialTensors {
    tensors: Vec<TensorSpec>,
    /// Source of the values; none if they are sampled.
    made: Option<Reader>,
}

impl InitialTensors {
    /// Samples values from the declared distributions, with a separate key per tensor.
    pub fn sampled(tensors: Vec<TensorSpec>) -> Self {
        Self { tensors, made: None }
    }

    /// Takes tensors and values from a checkpoint that the user's program wrote (see [`tensors_in`]).
    pub fn copied(reader: Reader, target_networks: &[String]) -> Self {
        Self { tensors: tensors_in(&reader, target_networks), made: Some(reader) }
    }

    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Passes the bytes of a tensor or its averaged copy (`entry`) to `sink` in chunks. Sampled integers are zeros, and
    /// a sampled average equals its tensor.
    pub fn stream(
        &self,
        spec: &TensorSpec,
        entry: &Entry,
        noise: &RngKey,
        mut sink: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        if let Some(reader) = &self.made {
            return reader.stream(entry, sink);
        }
        if spec.dtype != Dtype::F32 {
            return sink(&vec![0; spec.len() * spec.dtype.bitsize() / 8]);
        }
        let mut bytes = Vec::with_capacity(CHUNK.min(spec.len() * 4));
        for value in fresh(spec, noise) {
            bytes.extend_from_slice(&value.to_le_bytes());
            if bytes.len() >= CHUNK {
                sink(&bytes)?;
                bytes.clear();
            }
        }
        sink(&bytes)
    }
}

/// The tensors under `model/` in a checkpoint that the user's program wrote. Floating tensors count as trained. The
/// averages of `target_networks` are target networks, all others moving averages.
pub fn tensors_in(reader: &Reader, target_networks: &[String]) -> Vec<TensorSpec> {
    let purpose = |name: &str| {
        let network = name.split('/').next().unwrap_or(name);
        match target_networks.iter().any(|target| target == network) {
            true => Average::Target,
            false => Average::Moving,
        }
    };
    let models = reader.entries().filter_map(|entry| {
        let name = entry.name.strip_prefix(MODEL)?.to_owned();
        Some(TensorSpec {
            average: reader.entry(&format!("{AVERAGE}{name}")).map(|_| purpose(&name)),
            trained: elements::is_floating(entry.dtype),
            // The distribution is unknown, but soups need to identify vectors that must not be averaged.
            init: if is_spectral_vector(&name) { Init::Direction } else { Init::Constant(0.0) },
            shape: entry.shape,
            dtype: entry.dtype,
            name,
        })
    });
    models.collect()
}

/// Whether PyTorch's spectral norm uses this name for one of its vectors, in either of its two implementations.
fn is_spectral_vector(name: &str) -> bool {
    let parametrized =
        name.contains(".parametrizations.") && (name.ends_with("._u") || name.ends_with("._v"));
    parametrized || name.ends_with(".weight_u") || name.ends_with(".weight_v")
}

/// The initial values of an `F32` tensor in row-major order. The key is `address` with the tensor's name appended to
/// its purpose.
pub fn fresh<'a>(spec: &'a TensorSpec, address: &RngKey) -> impl Iterator<Item = f32> + use<'a> {
    let purpose = format!("{} {}", address.purpose, spec.name);
    let mut rng = rng(&RngKey { purpose: &purpose, ..*address });
    let length = match spec.init {
        Init::Direction => {
            // The first element already needs the length, so draw the same numbers twice.
            let mut again = rng.clone();
            let square: f64 = (0..spec.len()).map(|_| f64::from(normal(&mut again)).powi(2)).sum();
            square.sqrt().max(1e-12) as f32
        }
        _ => 1.0,
    };
    let mut orthogonal = match spec.init {
        Init::Orthogonal(gain) => orthogonal(&spec.shape, gain, &mut rng).into_iter(),
        _ => Vec::new().into_iter(),
    };
    (0..spec.len()).map(move |_| match spec.init {
        Init::Constant(value) => value,
        Init::Orthogonal(_) => orthogonal.next().unwrap_or_default(),
        Init::Normal { mean, std } => mean + std * normal(&mut rng),
        Init::Uniform(bound) => bound * (2.0 * rng.random::<f32>() - 1.0),
        Init::Direction => normal(&mut rng) / length,
    })
}

/// Gram-Schmidt orthogonalization of normal vectors, in double precision and a single thread: the result does not
/// depend on a library or the number of cores.
fn orthogonal(shape: &[usize], gain: f32, rng: &mut impl Rng) -> Vec<f32> {
    let rows = shape.first().copied().unwrap_or(1);
    let columns = shape.iter().skip(1).product::<usize>();
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<f64> = (0..count * length).map(|_| f64::from(normal(rng))).collect();
    for at in 0..count {
        let (done, rest) = vectors.split_at_mut(at * length);
        let vector = &mut rest[..length];
        for other in done.chunks_exact(length) {
            let along = dot(vector, other);
            vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let norm = dot(vector, vector).sqrt().max(1e-12);
        vector.iter_mut().for_each(|x| *x /= norm);
    }
    let element = |row: usize, column: usize| match rows <= columns {
        true => vectors[row * length + column],
        false => vectors[column * length + row],
    };
    let elements = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    elements.map(|(row, column)| gain * element(row, column) as f32).collect()
}

/// Dot product with eight partial sums, which the compiler vectorises.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0f64; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn normal(rng: &mut impl Rng) -> f32 {
    StandardNormal.sample(rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(init: Init) -> TensorSpec {
        TensorSpec {
            name: "net/weight".into(),
            shape: vec![100, 100],
            dtype: Dtype::F32,
            init,
            trained: true,
            average: None,
        }
    }

    fn values(init: Init) -> Vec<f32> {
        fresh(&spec(init), &RngKey { run: 1, generation: 0, member: None, purpose: "init" }).collect()
    }

    fn moments(values: &[f32]) -> (f32, f32) {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        (mean, variance.sqrt())
    }

    #[test]
    fn distributions_have_the_declared_moments() {
        let (mean, std) = moments(&values(Init::Normal { mean: 1.0, std: 0.02 }));
        assert!((mean - 1.0).abs() < 1e-3 && (std - 0.02).abs() < 1e-3, "{mean} {std}");
        let uniform = values(Init::Uniform(0.5));
        let (mean, std) = moments(&uniform);
        assert!(mean.abs() < 0.02 && (std - 0.5 / 3f32.sqrt()).abs() < 0.01, "{mean} {std}");
        assert!(uniform.iter().all(|v| v.abs() <= 0.5));
        assert!(values(Init::Constant(3.0)).iter().all(|&v| v == 3.0));
        let square: f32 = values(Init::Direction).iter().map(|v| v * v).sum();
        assert!((square - 1.0).abs() < 1e-4, "{square}");
    }

    #[test]
    fn orthogonal_matrices_are_orthogonal_and_isotropic() {
        for shape in [vec![7, 20], vec![20, 7], vec![12, 12], vec![4, 3, 3, 3], vec![32, 1, 5, 5], vec![1, 9]]
        {
            let spec = TensorSpec { shape: shape.clone(), ..spec(Init::Orthogonal(1.5)) };
            let address = RngKey { run: 1, generation: 0, member: None, purpose: "init" };
            let values: Vec<f32> = fresh(&spec, &address).collect();
            let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
            assert_eq!(values.len(), rows * columns);
            let vector = |at: usize| -> Vec<f32> {
                match rows <= columns {
                    true => values[at * columns..][..columns].to_vec(),
                    false => values.iter().skip(at).step_by(columns).copied().collect(),
                }
            };
            for i in 0..rows.min(columns) {
                for j in 0..=i {
                    let product: f32 = vector(i).iter().zip(vector(j)).map(|(a, b)| a * b).sum();
                    let expected = if i == j { 1.5 * 1.5 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-5, "{shape:?} {i} {j}: {product}");
                }
            }
        }
        // The first row of a 2x2 matrix is uniformly distributed over the quadrants.
        let quarter = |seed| {
            let spec = TensorSpec { shape: vec![2, 2], ..spec(Init::Orthogonal(1.0)) };
            let address = RngKey { run: seed, generation: 0, member: None, purpose: "init" };
            let values: Vec<f32> = fresh(&spec, &address).collect();
            (usize::from(values[0] > 0.0)) * 2 + usize::from(values[1] > 0.0)
        };
        let mut counts = [0; 4];
        (0..4000).for_each(|seed| counts[quarter(seed)] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn values_depend_on_name_and_key() {
        let one = spec(Init::Normal { mean: 0.0, std: 1.0 });
        let other = TensorSpec { name: "net/bias".into(), ..one.clone() };
        let address = RngKey { run: 1, generation: 0, member: None, purpose: "init" };
        let first = |spec: &TensorSpec, address| fresh(spec, address).next().unwrap();
        assert_eq!(first(&one, &address), first(&one, &address));
        assert_ne!(first(&one, &address), first(&other, &address));
        assert_ne!(first(&one, &address), first(&one, &RngKey { generation: 1, ..address }));
    }
}

//! Fresh initialisation, tensor by tensor: a network's first weights, and the noise of shrink-perturb.
//!
//! A task declares the distribution of each tensor; the numbers come from an addressed generator of the
//! tensor's own. So any single layer can be initialised without building its network, on any machine, with
//! the same result.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::Dtype;

use super::file::CHUNK;
use super::{AVERAGE, CheckpointError, Entry, MODEL, Reader, elements};
use crate::search::{Address, rng};

/// Distribution of a tensor's first values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All elements the same.
    Constant(f32),
    /// Normal with this mean and standard deviation.
    Normal(f32, f32),
    /// Uniform in [-bound, bound).
    Uniform(f32),
    /// A random direction of length 1 (the vectors of a spectral norm).
    Direction,
    /// As a matrix of `shape[0]` rows, a random one whose rows (or columns, if those are fewer) are orthogonal and of
    /// this length (`torch.nn.init.orthogonal_`).
    Orthogonal(f32),
}

/// A tensor of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// Name without the leading `model/`; its first part is the network's name.
    pub name: String,
    /// Number of elements in each dimension.
    pub shape: Vec<usize>,
    /// Type of its elements; `F32` or `I64` in the tasks that are built in.
    pub dtype: Dtype,
    /// First values.
    pub init: Init,
    /// Whether an optimizer trains it (a buffer, such as a running mean, is not trained).
    pub trained: bool,
    /// Whether an averaged copy is kept.
    pub averaged: bool,
}

impl TensorSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A freshly initialised network of an architecture: which tensors it has, and their first values.
pub struct Fresh {
    tensors: Vec<TensorSpec>,
    /// Where the values are, if they are not drawn.
    made: Option<Reader>,
}

impl Fresh {
    /// Values are drawn from the distributions of the tensors, each at an address of its own.
    pub fn drawn(tensors: Vec<TensorSpec>) -> Self {
        Self { tensors, made: None }
    }

    /// Tensors and values are those of a checkpoint that a program of the user's wrote.
    pub fn made(reader: Reader) -> Self {
        Self { tensors: tensors_in(&reader), made: Some(reader) }
    }

    /// All tensors of the network.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Passes the bytes of a tensor (`entry` is it or its averaged copy) on, a chunk at a time. Drawn integers are
    /// zeros, and a drawn average is the tensor itself.
    pub fn stream(
        &self,
        spec: &TensorSpec,
        entry: &Entry,
        noise: &Address,
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

/// The tensors of the networks in a checkpoint that a program of the user's wrote: every one behind `model/`.
/// What is floating counts as trained.
pub fn tensors_in(reader: &Reader) -> Vec<TensorSpec> {
    let models = reader.entries().filter_map(|entry| {
        let name = entry.name.strip_prefix(MODEL)?.to_owned();
        Some(TensorSpec {
            averaged: reader.entry(&format!("{AVERAGE}{name}")).is_some(),
            trained: elements::is_floating(entry.dtype),
            // The distribution is the program's secret; what matters to a soup is which vectors have no mean.
            init: if is_spectral_vector(&name) { Init::Direction } else { Init::Constant(0.0) },
            shape: entry.shape,
            dtype: entry.dtype,
            name,
        })
    });
    models.collect()
}

/// Whether PyTorch's spectral norm calls its vectors so, in its newer and its older version.
fn is_spectral_vector(name: &str) -> bool {
    let parametrized =
        name.contains(".parametrizations.") && (name.ends_with("._u") || name.ends_with("._v"));
    parametrized || name.ends_with(".weight_u") || name.ends_with(".weight_v")
}

/// The first values of an `F32` tensor, in row-major order, for a network that is initialised at `address`.
/// Each tensor draws at an address of its own: `address.purpose` and the tensor's name.
pub fn fresh<'a>(spec: &'a TensorSpec, address: &Address) -> impl Iterator<Item = f32> + use<'a> {
    let purpose = format!("{} {}", address.purpose, spec.name);
    let mut rng = rng(&Address { purpose: &purpose, ..*address });
    let length = match spec.init {
        Init::Direction => {
            // The length must be known before the first element is given: draw the same numbers twice.
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
        Init::Normal(mean, std) => mean + std * normal(&mut rng),
        Init::Uniform(bound) => bound * (2.0 * rng.random::<f32>() - 1.0),
        Init::Direction => normal(&mut rng) / length,
    })
}

/// The Gram-Schmidt process on vectors of normal numbers, in double precision and one thread: the result depends on no
/// library and no number of cores.
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

/// Several sums side by side, which the processor can add at once.
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
            averaged: false,
        }
    }

    fn values(init: Init) -> Vec<f32> {
        fresh(&spec(init), &Address { run: 1, generation: 0, member: None, purpose: "init" }).collect()
    }

    fn moments(values: &[f32]) -> (f32, f32) {
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        (mean, variance.sqrt())
    }

    #[test]
    fn distributions_have_their_moments() {
        let (mean, std) = moments(&values(Init::Normal(1.0, 0.02)));
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
    fn orthogonal_matrices_are_orthogonal_and_reach_every_direction() {
        for shape in [vec![7, 20], vec![20, 7], vec![12, 12], vec![4, 3, 3, 3], vec![32, 1, 5, 5], vec![1, 9]]
        {
            let spec = TensorSpec { shape: shape.clone(), ..spec(Init::Orthogonal(1.5)) };
            let address = Address { run: 1, generation: 0, member: None, purpose: "init" };
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
        // The first row of a 2x2 matrix is a direction of the plane: all quarters occur equally often.
        let quarter = |seed| {
            let spec = TensorSpec { shape: vec![2, 2], ..spec(Init::Orthogonal(1.0)) };
            let address = Address { run: seed, generation: 0, member: None, purpose: "init" };
            let values: Vec<f32> = fresh(&spec, &address).collect();
            (usize::from(values[0] > 0.0)) * 2 + usize::from(values[1] > 0.0)
        };
        let mut counts = [0; 4];
        (0..4000).for_each(|seed| counts[quarter(seed)] += 1);
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn tensors_differ_by_name_and_by_address() {
        let one = spec(Init::Normal(0.0, 1.0));
        let other = TensorSpec { name: "net/bias".into(), ..one.clone() };
        let address = Address { run: 1, generation: 0, member: None, purpose: "init" };
        let first = |spec: &TensorSpec, address| fresh(spec, address).next().unwrap();
        assert_eq!(first(&one, &address), first(&one, &address));
        assert_ne!(first(&one, &address), first(&other, &address));
        assert_ne!(first(&one, &address), first(&one, &Address { generation: 1, ..address }));
    }
}

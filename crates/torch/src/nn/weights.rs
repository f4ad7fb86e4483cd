//! The part of a member's state that checkpoints hold: weights, averages and optimizer moments.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use safetensors::Dtype;
use tch::{Device, Kind, Tensor, no_grad};

use super::{AdamW, Moments, Values, bytes_of};
use pbtnas_core::checkpoint::{AVERAGE, Entry, MODEL, OPTIMIZER, Reader, TensorSpec, fresh};
use pbtnas_engine::task::{Seeds, Start};

/// Tensors, moving averages and optimizer states by name. The first part of a tensor's name is its network.
pub struct Weights {
    specs: Vec<TensorSpec>,
    pub values: Values,
    /// The moving averages, for the tensors that have one.
    pub averages: Values,
    /// By network, then by parameter without the name of the network.
    moments: BTreeMap<String, BTreeMap<String, Moments>>,
}

impl Weights {
    /// Samples fresh weights, or reads those of a checkpoint.
    pub fn new(specs: Vec<TensorSpec>, start: Start, seeds: &Seeds, device: Device) -> Result<Self> {
        let (mut values, mut averages) = (Values::new(), Values::new());
        let mut moments: BTreeMap<String, BTreeMap<String, Moments>> = BTreeMap::new();
        let mut buffer = Vec::new();
        for spec in &specs {
            let value = match start {
                Start::Fresh(..) => {
                    let numbers: Vec<f32> = fresh(spec, &seeds.at("fresh")).collect();
                    Tensor::from_slice(&numbers).reshape(shape(&spec.shape))
                }
                Start::Checkpoint(reader) => {
                    read(reader, &format!("{MODEL}{}", spec.name), &spec.shape, &mut buffer)?
                }
            };
            if spec.average.is_some() {
                let average = match start {
                    Start::Fresh(..) => value.copy(),
                    Start::Checkpoint(reader) => {
                        read(reader, &format!("{AVERAGE}{}", spec.name), &spec.shape, &mut buffer)?
                    }
                };
                averages.insert(spec.name.clone(), average.to_device(device));
            }
            if let (Start::Checkpoint(reader), Some((network, rest))) = (&start, spec.name.split_once('/'))
                && let Some(found) = read_moments(reader, (network, rest), &spec.shape, device, &mut buffer)?
            {
                moments.entry(network.to_owned()).or_default().insert(rest.to_owned(), found);
            }
            let value = value.to_device(device).set_requires_grad(spec.trained);
            values.insert(spec.name.clone(), value);
        }
        Ok(Self { specs, values, averages, moments })
    }

    /// For tests; the values may have any floating-point type.
    #[cfg(test)]
    pub fn of(specs: Vec<TensorSpec>, values: Values, averages: Values) -> Self {
        Self { specs, values, averages, moments: BTreeMap::new() }
    }

    #[cfg(test)]
    pub fn moments(&self, network: &str) -> Option<&BTreeMap<String, Moments>> {
        self.moments.get(network)
    }

    /// Takes an AdamW step on a loss for the parameters of some networks.
    pub fn update(&mut self, networks: &[&str], adam: &AdamW, loss: &Tensor) {
        let of_network = |network: &str| -> Vec<(String, Tensor)> {
            let trained = self.specs.iter().filter(|spec| spec.trained);
            let parameters = trained.filter_map(|spec| {
                let rest = spec.name.strip_prefix(network)?.strip_prefix('/')?;
                Some((rest.to_owned(), self.values[&spec.name].shallow_clone()))
            });
            parameters.collect()
        };
        let parameters: Vec<_> = networks.iter().map(|network| of_network(network)).collect();
        let leaves: Vec<&Tensor> = parameters.iter().flatten().map(|(_, value)| value).collect();
        let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        let mut rest = gradients.as_slice();
        for (network, parameters) in networks.iter().zip(&parameters) {
            let (own, others) = rest.split_at(parameters.len());
            adam.step(self.moments.entry((*network).to_owned()).or_default(), parameters, own);
            rest = others;
        }
    }

    /// Updates the moving averages: average = decay * average + (1 - decay) * tensor.
    pub fn average(&mut self, decay: f64) {
        no_grad(|| {
            for (name, average) in &mut self.averages {
                let _ = average.lerp_(&self.values[name], 1.0 - decay);
            }
        });
    }

    /// All tensors, replaced by their moving averages where they have one.
    pub fn averaged_values(&self) -> Values {
        let averaged = |(name, value): (&String, &Tensor)| {
            (name.clone(), self.averages.get(name).unwrap_or(value).shallow_clone())
        };
        self.values.iter().map(averaged).collect()
    }

    /// The entries of a checkpoint.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let entry = |name: String, shape: &[usize]| Entry { name, dtype: Dtype::F32, shape: shape.to_vec() };
        for spec in &self.specs {
            entries.push(entry(format!("{MODEL}{}", spec.name), &spec.shape));
            if spec.average.is_some() {
                entries.push(entry(format!("{AVERAGE}{}", spec.name), &spec.shape));
            }
            let Some((network, rest)) = spec.name.split_once('/') else { continue };
            if self.moments.get(network).is_some_and(|moments| moments.contains_key(rest)) {
                entries.push(entry(format!("{OPTIMIZER}{network}/exp_avg/{rest}"), &spec.shape));
                entries.push(entry(format!("{OPTIMIZER}{network}/exp_avg_sq/{rest}"), &spec.shape));
                entries.push(entry(format!("{OPTIMIZER}{network}/step/{rest}"), &[]));
            }
        }
        entries
    }

    /// The bytes of one of [`Weights::entries`].
    pub fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        let name = entry.name.as_str();
        let found = if let Some(name) = name.strip_prefix(MODEL) {
            self.values.get(name).map(bytes_of)
        } else if let Some(name) = name.strip_prefix(AVERAGE) {
            self.averages.get(name).map(bytes_of)
        } else {
            let mut parts = name.strip_prefix(OPTIMIZER).unwrap_or_default().splitn(3, '/');
            let (network, moment, rest) = (parts.next(), parts.next(), parts.next());
            let moments = network.zip(rest).and_then(|(n, rest)| self.moments.get(n)?.get(rest));
            moments.zip(moment).and_then(|(moments, moment)| match moment {
                "exp_avg" => Some(bytes_of(&moments.exp_avg)),
                "exp_avg_sq" => Some(bytes_of(&moments.exp_avg_sq)),
                "step" => Some((moments.step as f32).to_le_bytes().into()),
                _ => None,
            })
        };
        found.with_context(|| format!("no tensor {name:?}"))
    }

    /// Whether all tensors and averages are finite.
    pub fn are_finite(&self) -> bool {
        let mut all = self.values.values().chain(self.averages.values());
        all.all(|value| value.isfinite().all().int64_value(&[]) == 1)
    }
}

fn shape(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}

fn read(reader: &Reader, name: &str, sizes: &[usize], buffer: &mut Vec<u8>) -> Result<Tensor> {
    reader.read(&Entry { name: name.into(), dtype: Dtype::F32, shape: sizes.to_vec() }, buffer)?;
    Ok(Tensor::from_data_size(buffer, &shape(sizes), Kind::Float))
}

/// The optimizer state of a parameter (its network, and the rest of its name), if the checkpoint has one.
fn read_moments(
    reader: &Reader,
    (network, rest): (&str, &str),
    shape: &[usize],
    device: Device,
    buffer: &mut Vec<u8>,
) -> Result<Option<Moments>> {
    let name = |moment: &str| format!("{OPTIMIZER}{network}/{moment}/{rest}");
    if reader.entry(&name("step")).is_none() {
        return Ok(None);
    }
    Ok(Some(Moments {
        exp_avg: read(reader, &name("exp_avg"), shape, buffer)?.to_device(device),
        exp_avg_sq: read(reader, &name("exp_avg_sq"), shape, buffer)?.to_device(device),
        step: read(reader, &name("step"), &[], buffer)?.double_value(&[]),
    }))
}

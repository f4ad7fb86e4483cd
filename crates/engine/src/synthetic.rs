//! The task `synthetic`, without real training: tiny tensors and an analytic fitness. It shows in seconds how a search
//! runs on a cluster, and can be configured to be slow, to crash and to diverge.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::Rng;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use crate::config::{BadValue, SearchConfig, TrainingConfig};
use crate::task::{
    Evaluation, Hyperparameter, Measure, MemberContext, Part, Seeds, Session, Start, Task, TaskConfig,
    TaskKind, read_section, section_table,
};
use pbtnas_core::checkpoint::{Average, Entry, Init, InitialTensors, Meta, Reader, TensorSpec, fresh};
use pbtnas_core::search::{Genotype, Space, Variable, rng};

/// The variable that `rate` adds to the space if it is a range.
const RATE: &str = "rate";
/// The upper bound of `rate` and `noise`.
const MOST: f64 = 1e6;

/// `[synthetic]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Number of layers, with one variable each. One more variable owns no weights.
    pub layers: usize,
    /// Options of each variable. The number of an option determines the quality and the size of its layer.
    pub options: usize,
    /// The learning rate: a weight moves by this part of its moment in a step. A range makes it a hyperparameter.
    pub rate: Hyperparameter,
    /// The standard deviation of fresh weights and the scale of the noise of a step. With 0, training depends only on
    /// the genotypes, so that another program can reproduce it.
    pub noise: f32,
    pub steps_per_epoch: u64,
    /// The duration of a step in milliseconds.
    pub step_milliseconds: u64,
    /// The fraction of attempts that crash, at random.
    pub crash_rate: f64,
    /// Architectures whose first layer has this option always crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash_option: Option<usize>,
    /// Architectures whose first layer has this option diverge: their fitness is not finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverge_option: Option<usize>,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            layers: 6,
            options: 4,
            rate: Hyperparameter::Fixed(0.1),
            noise: 1.0,
            steps_per_epoch: 10,
            step_milliseconds: 0,
            crash_rate: 0.0,
            crash_option: None,
            diverge_option: None,
        }
    }
}

impl SyntheticConfig {
    /// Returns the key and the fault of the first invalid value.
    fn first_bad_value(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [("layers", self.layers), ("options", self.options)] {
            if value == 0 || value > 100 {
                return Err((key, "must be between 1 and 100".into()));
            }
        }
        for (key, option) in [("crash_option", self.crash_option), ("diverge_option", self.diverge_option)] {
            if option.is_some_and(|option| option >= self.options) {
                return Err((key, format!("must be an option: 0 to {}", self.options - 1)));
            }
        }
        let (low, high) = self.rate.bounds();
        for (key, least, most) in
            [("rate", low, high), ("noise", f64::from(self.noise), f64::from(self.noise))]
        {
            if !(least >= 0.0 && most <= MOST) {
                return Err((key, format!("must be between 0 and {MOST}")));
            }
        }
        if !(1..=1 << 40).contains(&self.steps_per_epoch) {
            return Err(("steps_per_epoch", format!("must be between 1 and {}", 1u64 << 40)));
        }
        if self.step_milliseconds > 1 << 32 {
            return Err(("step_milliseconds", format!("must be at most {}", 1u64 << 32)));
        }
        if !(self.crash_rate >= 0.0 && self.crash_rate <= 1.0) {
            return Err(("crash_rate", "must be between 0 and 1".into()));
        }
        Ok(())
    }

    /// A variable for each layer, one that owns no weights, and the rate if it is searched.
    fn search_space(&self) -> Space {
        let options = || (0..self.options).map(|option| format!("o{option}")).collect();
        let layer =
            |layer| Variable::choice(format!("layer{layer}"), options(), vec![format!("net/layer{layer}/")]);
        let mut variables: Vec<Variable> = (0..self.layers).map(layer).collect();
        variables.push(Variable::choice("activation", options(), vec![]));
        variables.extend(self.rate.variable(RATE));
        Space::new(variables)
    }
}

pub struct SyntheticKind;

impl TaskKind for SyntheticKind {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn read(
        &self,
        section: Option<ValueDeserializer>,
    ) -> Result<Option<Arc<dyn TaskConfig>>, toml::de::Error> {
        Ok(Some(Arc::new(read_section::<SyntheticConfig>(section)?)))
    }
}

impl TaskConfig for SyntheticConfig {
    fn check(&self, _: &SearchConfig) -> Result<(), BadValue> {
        self.first_bad_value().map_err(BadValue::below("synthetic"))
    }

    fn space(&self) -> Space {
        self.search_space()
    }

    fn task(self: Arc<Self>, _: &TrainingConfig) -> Box<dyn Task> {
        Box::new(SyntheticTask::new(Self::clone(&self)))
    }

    fn to_table(&self) -> Result<toml::Table, toml::ser::Error> {
        section_table(self)
    }

    fn resolve(&self, _: &Path) -> Arc<dyn TaskConfig> {
        Arc::new(self.clone())
    }
}

pub struct SyntheticTask {
    config: SyntheticConfig,
    space: Space,
}

impl SyntheticTask {
    /// Requires a configuration that has passed [`SyntheticConfig::check`].
    pub fn new(config: SyntheticConfig) -> Self {
        Self { space: config.search_space(), config }
    }
}

/// The number in an option's name.
fn option_number(genotype: &Genotype, variable: &str) -> Result<usize> {
    genotype
        .get(variable)
        .and_then(|value| value.strip_prefix('o'))
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("the genotype has no option for {variable}"))
}

impl SyntheticTask {
    /// For each layer a trained and averaged weight of shape `(option + 1, 3)` and a counter; a head of shape `(3)`.
    fn tensors(&self, genotype: &Genotype) -> Result<Vec<TensorSpec>> {
        let float = |name: String, shape: Vec<usize>| TensorSpec {
            name,
            shape,
            dtype: Dtype::F32,
            init: Init::Normal { mean: 0.0, std: self.config.noise },
            trained: true,
            average: Some(Average::Moving),
        };
        let mut tensors = vec![float("net/head".into(), vec![3])];
        for layer in 0..self.config.layers {
            let option = option_number(genotype, &format!("layer{layer}"))?;
            tensors.push(float(format!("net/layer{layer}/weight"), vec![option + 1, 3]));
            tensors.push(TensorSpec {
                name: format!("net/layer{layer}/steps"),
                shape: vec![],
                dtype: Dtype::I64,
                init: Init::Constant(0.0),
                trained: false,
                average: None,
            });
        }
        Ok(tensors)
    }
}

impl Task for SyntheticTask {
    fn space(&self) -> &Space {
        &self.space
    }

    fn fresh(&self, genotype: &Genotype, _: &MemberContext) -> Result<InitialTensors> {
        Ok(InitialTensors::sampled(self.tensors(genotype)?))
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        self.tensors(&checkpoint.meta().genotype)
    }

    fn parts(&self) -> Vec<Part> {
        [("head", "net/head"), ("layers", "net/layer")]
            .map(|(name, prefix)| Part { name, prefixes: vec![prefix.into()] })
            .into()
    }

    fn final_samples(&self) -> usize {
        1
    }

    fn prepare(&self, _dir: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn session<'a>(&'a self, start: Start<'a>, place: MemberContext) -> Result<Box<dyn Session + 'a>> {
        let seeds = place.seeds;
        let (genotype, epoch, step) = start.origin(self.config.steps_per_epoch)?;
        let mut tensors = Vec::new();
        for spec in self.tensors(&genotype)? {
            let values = match start {
                Start::Checkpoint(reader) => SimulatedTensor::read(reader, &spec)?,
                Start::Fresh(..) => SimulatedTensor::fresh(&spec, seeds),
            };
            tensors.push((spec, values));
        }
        // The only random number that is not reproducible: an attempt that crashed must not always crash again.
        let crash_in = (rand::random::<f64>() < self.config.crash_rate)
            .then(|| rand::random_range(0..self.config.steps_per_epoch));
        let config = &self.config;
        let rate = config.rate.of(RATE, &genotype)? as f32;
        Ok(Box::new(SyntheticSession { config, genotype, rate, tensors, seeds, epoch, step, crash_in }))
    }
}

/// The values of a tensor, its average and its moment.
struct SimulatedTensor {
    model: Vec<f32>,
    average: Vec<f32>,
    /// The moment of a simulated optimizer.
    moment: Vec<f32>,
    count: i64,
}

impl SimulatedTensor {
    fn fresh(spec: &TensorSpec, seeds: Seeds) -> Self {
        if spec.dtype == Dtype::I64 {
            return Self { model: vec![], average: vec![], moment: vec![], count: 0 };
        }
        let model: Vec<f32> = fresh(spec, &seeds.at("fresh")).collect();
        Self { average: model.clone(), moment: vec![0.0; model.len()], model, count: 0 }
    }

    fn read(reader: &Reader, spec: &TensorSpec) -> Result<Self> {
        let bytes = |prefix: &str| {
            let name = format!("{prefix}{}", spec.name);
            reader.bytes(&Entry { name, dtype: spec.dtype, shape: spec.shape.clone() })
        };
        if spec.dtype == Dtype::I64 {
            let count = bytes("model/")?.try_into().map(i64::from_le_bytes).unwrap_or(0);
            return Ok(Self { model: vec![], average: vec![], moment: vec![], count });
        }
        let floats = |bytes: Vec<u8>| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let moment = moment_entry(spec);
        let moment = match reader.entry(&moment.name) {
            Some(_) => floats(reader.bytes(&moment)?),
            None => vec![0.0; spec.len()],
        };
        Ok(Self { model: floats(bytes("model/")?), average: floats(bytes("average/")?), moment, count: 0 })
    }
}

fn moment_entry(spec: &TensorSpec) -> Entry {
    let rest = spec.name.strip_prefix("net/").unwrap_or(&spec.name);
    Entry { name: format!("optimizer/net/exp_avg/{rest}"), dtype: spec.dtype, shape: spec.shape.clone() }
}

struct SyntheticSession<'a> {
    config: &'a SyntheticConfig,
    genotype: Genotype,
    rate: f32,
    tensors: Vec<(TensorSpec, SimulatedTensor)>,
    seeds: Seeds,
    epoch: u32,
    step: u64,
    /// Steps until this attempt crashes.
    crash_in: Option<u64>,
}

impl SyntheticSession<'_> {
    fn first_layer_is(&self, option: Option<usize>) -> Result<bool> {
        Ok(option.is_some() && option == option_number(&self.genotype, "layer0").ok())
    }
}

impl SyntheticSession<'_> {
    /// The mean distance of the averaged weights from 1.
    fn distance(&self) -> f64 {
        let floats = self.tensors.iter().flat_map(|(_, values)| &values.average);
        let (sum, count) =
            floats.fold((0.0, 0.0), |(sum, count), value| (sum + f64::from(value - 1.0).abs(), count + 1.0));
        sum / f64::max(count, 1.0)
    }
}

impl Session for SyntheticSession<'_> {
    fn position(&self) -> (u32, u64) {
        (self.epoch, self.step)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.config.steps_per_epoch
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("distance".into(), self.distance())]
    }

    /// Moves every weight towards a noisy 1.
    fn advance(&mut self, _: u32) -> Result<()> {
        std::thread::sleep(Duration::from_millis(self.config.step_milliseconds));
        if self.first_layer_is(self.config.crash_option)? {
            bail!("this architecture crashes because of [synthetic] crash_option");
        }
        if self.crash_in == Some(0) {
            bail!("random crash because of [synthetic] crash_rate");
        }
        self.crash_in = self.crash_in.map(|steps| steps - 1);
        let purpose = format!("step {} {}", self.epoch, self.step);
        let mut rng = rng(&self.seeds.at(&purpose));
        for (spec, values) in &mut self.tensors {
            if spec.dtype == Dtype::I64 {
                values.count = values.count.wrapping_add(1);
                continue;
            }
            for i in 0..values.model.len() {
                let target = 1.0 + self.config.noise * 0.1 * (rng.random::<f32>() - 0.5);
                values.moment[i] = 0.9 * values.moment[i] + 0.1 * (target - values.model[i]);
                values.model[i] += self.rate * values.moment[i];
                values.average[i] += 0.01 * (values.model[i] - values.average[i]);
            }
        }
        self.step += 1;
        if self.step == self.config.steps_per_epoch {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
        Ok(())
    }

    fn describe(&self) -> Result<(Meta, Vec<Entry>)> {
        let mut entries = Vec::new();
        for (spec, _) in &self.tensors {
            let entry = |prefix: &str| Entry {
                name: format!("{prefix}{}", spec.name),
                dtype: spec.dtype,
                shape: spec.shape.clone(),
            };
            entries.push(entry("model/"));
            if spec.average.is_some() {
                entries.push(entry("average/"));
                entries.push(moment_entry(spec));
            }
        }
        Ok((
            Meta { genotype: self.genotype.clone(), epoch: self.epoch, step: self.step, files: Vec::new() },
            entries,
        ))
    }

    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        for (spec, values) in &self.tensors {
            let floats = match entry.name.strip_suffix(spec.name.as_str()) {
                Some("model/") if spec.dtype == Dtype::I64 => return Ok(values.count.to_le_bytes().into()),
                Some("model/") => &values.model,
                Some("average/") => &values.average,
                _ if entry.name == moment_entry(spec).name => &values.moment,
                _ => continue,
            };
            return Ok(floats.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
        bail!("unknown tensor {:?}", entry.name)
    }

    /// The sum of the option numbers minus the mean distance of the averaged weights from 1. Exact, independent of the
    /// number of samples.
    fn evaluate(&mut self, _: Measure) -> Result<Evaluation> {
        let mut quality = 0.0;
        for (name, _) in self.genotype.iter().filter(|(name, _)| *name != RATE) {
            quality += option_number(&self.genotype, name)? as f64;
        }
        let distance = self.distance();
        let diverged = self.first_layer_is(self.config.diverge_option)?;
        let fitness = if diverged { f64::NAN } else { quality - distance };
        Ok(Evaluation { fitness, metrics: vec![("quality".into(), quality), ("distance".into(), distance)] })
    }

    fn export(&mut self, _dir: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_core::checkpoint::write;
    use pbtnas_core::search::MemberId;

    /// A checkpoint at step `step` of epoch 1, with the largest counters.
    fn checkpoint(task: &SyntheticTask, path: &Path, step: u64) -> Reader {
        let genotype =
            pbtnas_core::search::initial_population(&task.space, 1, pbtnas_core::search::Initial::Uniform, 1)
                .remove(0);
        let session = task.session(Start::Fresh(&genotype, 0), MemberContext::outside(SEEDS, path)).unwrap();
        let (_, entries) = session.describe().unwrap();
        let mut file = std::fs::File::create(path).unwrap();
        let largest = |entry: &Entry| match entry.dtype {
            Dtype::I64 => i64::MAX.to_le_bytes().to_vec(),
            _ => session.tensor(entry).unwrap(),
        };
        let meta = Meta { genotype: genotype.clone(), epoch: 1, step, files: Vec::new() };
        write(&mut file, &meta, entries, |entry, out| out.write_all(&largest(entry))).unwrap();
        Reader::open(path).unwrap()
    }

    const SEEDS: Seeds = Seeds { run: 1, generation: 0, member: MemberId(0) };

    #[test]
    fn invalid_checkpoint_positions_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let task = SyntheticTask::new(SyntheticConfig::default());
        let steps = task.config.steps_per_epoch;
        for step in [steps, u64::MAX] {
            let reader = checkpoint(&task, &dir.path().join("beyond"), step);
            let error = task
                .session(Start::Checkpoint(&reader), MemberContext::outside(SEEDS, dir.path()))
                .err()
                .unwrap();
            assert!(error.to_string().contains("of an epoch, but an epoch has"), "{error}");
        }
        // A counter at its maximum wraps around.
        let reader = checkpoint(&task, &dir.path().join("last"), steps - 1);
        let mut session =
            task.session(Start::Checkpoint(&reader), MemberContext::outside(SEEDS, dir.path())).unwrap();
        session.advance(2).unwrap();
        assert_eq!(session.position(), (2, 0));
    }

    /// The digest is from before `rate` and `noise` existed: their defaults change nothing. (The fitness was lower
    /// then, because a member that had never been restored included its counters in the distance.)
    #[test]
    fn default_training_is_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let task = SyntheticTask::new(SyntheticConfig::default());
        let genotype =
            pbtnas_core::search::initial_population(&task.space, 1, pbtnas_core::search::Initial::Uniform, 3)
                .remove(0);
        let mut session =
            task.session(Start::Fresh(&genotype, 0), MemberContext::outside(SEEDS, dir.path())).unwrap();
        for _ in 0..25 {
            session.advance(99).unwrap();
        }
        let (meta, entries) = session.describe().unwrap();
        let mut bytes = Vec::new();
        write(&mut bytes, &meta, entries, |entry, out| out.write_all(&session.tensor(entry).unwrap()))
            .unwrap();
        let fitness = session.evaluate(Measure::Search).unwrap().fitness;
        let digest = pbtnas_core::durable_fs::Digest::of(&bytes).short()[..16].to_owned();
        assert_eq!((digest.as_str(), fitness), ("969791f25f6c9a0e", 15.022535877697395));
    }

    #[test]
    fn a_searched_rate_applies_and_training_without_noise_is_deterministic() {
        let dir = tempfile::tempdir().unwrap();
        let searched = "rate = { low = 0.01, high = 0.5, scale = \"log\" }\nnoise = 0.0";
        let searched = SyntheticTask::new(toml::from_str(searched).unwrap());
        assert_eq!(searched.space.variables.last().map(|variable| variable.name.as_str()), Some("rate"));
        let mut genotype = pbtnas_core::search::initial_population(
            &searched.space,
            1,
            pbtnas_core::search::Initial::Uniform,
            1,
        )
        .remove(0);
        let mut weight = |rate: &str, seeds: Seeds| {
            genotype.set("rate", rate);
            let mut session = searched
                .session(Start::Fresh(&genotype, 0), MemberContext::outside(seeds, dir.path()))
                .unwrap();
            for _ in 0..2 {
                session.advance(99).unwrap();
            }
            let entry = Entry { name: "model/net/head".into(), dtype: Dtype::F32, shape: vec![3] };
            let bytes = session.tensor(&entry).unwrap();
            f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        // Two steps from weight 0 towards 1.
        let expected = |rate: f32| {
            let moment = 0.1f32;
            let model = rate * moment;
            model + rate * (0.9 * moment + 0.1 * (1.0 - model))
        };
        assert_eq!(weight("0.25", SEEDS), expected(0.25));
        assert_eq!(weight("0.25", Seeds { run: 2, ..SEEDS }), expected(0.25));
        assert_eq!(weight("0.1", SEEDS), expected(0.1));
    }
}

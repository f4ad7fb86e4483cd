//! One GAN in training: discriminator and generator steps, moving average, evaluation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, no_grad};

use super::data::{Images, quantise};
use super::discriminator::Discriminator;
use super::features::Features;
use super::frechet::{Statistics, frechet_distance};
use super::generator::Generator;
use super::grid::grid;
use super::inception_score::InceptionScore;
use super::projection::Mode;
use super::{GanConfig, GanTask};
use crate::checkpoint::{Entry, Meta};
use crate::gpu::device;
use crate::search::{Address, Genotype, rng};
use crate::tasks::nn::{AdamW, Weights, compute_kind, normal, uniform};
use crate::tasks::nn::{Scope, Values};
use crate::tasks::{Evaluation, Measure, Seeds, Session, Start};

/// Images of an evaluation that are generated at a time.
const EVALUATION_BATCH: usize = 100;

/// See the module. A step is one discriminator step; every `discriminator_steps`-th is followed by a
/// generator step, as in the loop of the published code.
pub struct GanSession<'a> {
    task: &'a GanTask,
    genotype: Genotype,
    pub(super) weights: Weights,
    pub(super) generator: Generator,
    discriminator: Discriminator,
    pub(super) images: Images,
    /// Positions of the images in the order of an epoch.
    pub(super) order: Option<(u32, Vec<i64>)>,
    /// The folder that members share.
    shared: PathBuf,
    seeds: Seeds,
    epoch: u32,
    step: u64,
    device: Device,
    /// Of generator and discriminator.
    learning_rates: (f64, f64),
    /// The last loss of the discriminator and of the generator.
    losses: (Option<Tensor>, Option<Tensor>),
}

impl<'a> GanSession<'a> {
    /// From fresh weights or a checkpoint.
    pub fn new(task: &'a GanTask, start: Start, seeds: Seeds, shared: PathBuf) -> Result<Self> {
        let device = device(task.config.device)?;
        let images = Images::open(&task.config)?;
        let (genotype, epoch, step) = start.origin(steps_of(&images, &task.config))?;
        let learning_rates = task.config.learning_rates(&genotype)?;
        let mut scope = Scope::declare();
        task.networks(&genotype, &mut scope)?;
        let weights = Weights::new(scope.into_specs(), start, &seeds, device)?;
        let mut scope = Scope::load(&weights.values).computing_in(compute_kind(task.config.precision));
        let (generator, discriminator) = task.networks(&genotype, &mut scope)?;
        Ok(Self {
            task,
            genotype,
            weights,
            generator,
            discriminator,
            images,
            order: None,
            shared,
            seeds,
            epoch,
            step,
            device,
            learning_rates,
            losses: (None, None),
        })
    }

    fn config(&self) -> &'a GanConfig {
        &self.task.config
    }

    /// Latents `(count, latent)` from an addressed generator: libtorch's own is one for the whole process.
    pub fn latents(&self, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        normal(rng, &[count as i64, self.config().latent as i64], self.device)
    }

    /// Images of the generator in training.
    fn generate(&self, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        let latents = self.latents(rng, count);
        self.generator.forward(&latents, Mode::Training(&mut |shape| uniform(rng, shape, self.device)))
    }

    /// Gradients of a loss, and AdamW's step, for one network.
    fn update(&mut self, network: &'static str, loss: &Tensor) {
        let config = self.config();
        let (of_generator, of_discriminator) = self.learning_rates;
        let adam = AdamW {
            learning_rate: if network == "discriminator" { of_discriminator } else { of_generator },
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
        };
        self.weights.update(&[network], &adam, loss);
    }

    /// Hinge loss on real images and as many generated ones.
    fn discriminator_step(&mut self, real: &Tensor, rng: &mut ChaCha8Rng) {
        let fake = no_grad(|| self.generate(rng, self.config().batch));
        let on_real = self.discriminator.forward(real, true);
        let on_fake = self.discriminator.forward(&fake, true);
        let loss: Tensor =
            (-on_real + 1.0).relu().mean(Kind::Float) + (on_fake + 1.0).relu().mean(Kind::Float);
        self.update("discriminator", &loss);
        self.losses.0 = Some(loss.detach());
    }

    fn generator_step(&mut self, rng: &mut ChaCha8Rng) {
        let images = self.generate(rng, self.config().generator_batch);
        let loss = -self.discriminator.forward(&images, true).mean(Kind::Float);
        self.update("generator", &loss);
        self.losses.1 = Some(loss.detach());
        let weight = 1.0 - self.config().average_decay;
        no_grad(|| {
            for (name, average) in &mut self.weights.averages {
                let _ = average.lerp_(&self.weights.values[name], weight);
            }
        });
    }

    /// The generator with averaged parameters and the running statistics of the trained one.
    fn averaged_generator(&self) -> Result<Generator> {
        let mut values = Values::new();
        for (name, value) in &self.weights.values {
            values.insert(name.clone(), self.weights.averages.get(name).unwrap_or(value).shallow_clone());
        }
        let mut scope = Scope::load(&values).computing_in(compute_kind(self.config().precision));
        Generator::new(self.config(), self.task.channels, &self.genotype, &mut scope)
    }

    /// 8-bit images `(count, channels, size, size)` of a generator.
    fn sample(&self, generator: &Generator, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        no_grad(|| quantise(&generator.forward(&self.latents(rng, count), Mode::Evaluation)))
    }
}

impl Session for GanSession<'_> {
    fn position(&self) -> (u32, u64) {
        (self.epoch, self.step)
    }

    fn steps_per_epoch(&self) -> u64 {
        steps_of(&self.images, self.config())
    }

    fn advance(&mut self, _: u32) -> Result<()> {
        let config = self.config();
        if self.order.as_ref().is_none_or(|(epoch, _)| *epoch != self.epoch) {
            let mut order: Vec<i64> = (0..self.images.len() as i64).collect();
            order.shuffle(&mut rng(&self.seeds.at(&format!("data order {}", self.epoch))));
            self.order = Some((self.epoch, order));
        }
        let Some((_, order)) = &self.order else { bail!("the data has no order") };
        let first = self.step as usize * config.batch;
        let real = self.images.batch(&order[first..first + config.batch], self.device);
        let mut rng = rng(&self.seeds.at(&format!("step {} {}", self.epoch, self.step)));
        self.discriminator_step(&real, &mut rng);
        let total = u64::from(self.epoch) * self.steps_per_epoch() + self.step;
        if total.is_multiple_of(config.discriminator_steps) {
            self.generator_step(&mut rng);
        }
        self.step += 1;
        if self.step == self.steps_per_epoch() {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
        Ok(())
    }

    fn news(&self) -> Vec<(String, f64)> {
        let losses = [("discriminator_loss", &self.losses.0), ("generator_loss", &self.losses.1)];
        losses
            .iter()
            .filter_map(|(name, loss)| Some((name.to_string(), loss.as_ref()?.double_value(&[]))))
            .collect()
    }

    fn describe(&self) -> Result<(Meta, Vec<Entry>)> {
        let (genotype, files) = (self.genotype.clone(), Vec::new());
        Ok((Meta { genotype, epoch: self.epoch, step: self.step, files }, self.weights.entries()))
    }

    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.weights.tensor(entry)
    }

    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation> {
        let (count, purpose, thorough) = match measure {
            Measure::Search => (self.config().evaluation_images, "evaluation", false),
            Measure::Final { samples } => (samples, "final evaluation", true),
        };
        let features = Features::load(&self.shared, self.config(), self.task.channels, self.device)?;
        let generator = self.averaged_generator()?;
        let mut rng = rng(&self.seeds.at(purpose));
        let mut statistics: Option<Statistics> = None;
        let mut score: Option<InceptionScore> = None;
        let mut left = count;
        while left > 0 {
            let images = self.sample(&generator, &mut rng, left.min(EVALUATION_BATCH));
            let (of_images, probabilities) = features.of(&images)?;
            statistics.get_or_insert_with(|| Statistics::new(of_images.size()[1])).add(&of_images);
            if thorough {
                let parts = InceptionScore::PARTS.min(count);
                let classes = probabilities.size()[1];
                match &mut score {
                    Some(score) => score.add(&probabilities)?,
                    None => score.insert(InceptionScore::new(count, parts, classes)?).add(&probabilities)?,
                }
            }
            left = left.saturating_sub(EVALUATION_BATCH);
        }
        let (mean, covariance) = statistics.context("no image was evaluated")?.finish()?;
        // Quantised images would hide it if the weights are no numbers any more.
        let sound = self.weights.are_finite();
        let (real_mean, real_covariance) = &features.real;
        let distance = match sound {
            true => frechet_distance((real_mean, real_covariance), (&mean, &covariance))?,
            false => f64::NAN,
        };
        let mut metrics = vec![("fid".to_owned(), distance)];
        if let Some(score) = score {
            let (is, deviation) = score.finish()?;
            metrics.extend([("is".to_owned(), is), ("is_deviation".to_owned(), deviation)]);
        }
        Ok(Evaluation { fitness: -distance, metrics })
    }

    fn export(&mut self, dir: &Path) -> Result<Vec<String>> {
        let mut rng = rng(&self.seeds.at("export"));
        let images = self.sample(&self.averaged_generator()?, &mut rng, 64);
        let zoom = (64 / self.config().image_size as i64).max(1);
        let path = dir.join("grid.png");
        let written = std::fs::write(&path, grid(&images, 8, zoom)?);
        written.with_context(|| format!("failed to write {}", path.display()))?;
        Ok(vec!["grid.png".into()])
    }

    /// Images of the same latents for all members of all generations.
    fn preview(&mut self) -> Result<Option<Vec<u8>>> {
        let of_all = Address { run: self.seeds.run, generation: 0, member: None, purpose: "preview" };
        let images = self.sample(&self.averaged_generator()?, &mut rng(&of_all), 16);
        grid(&images, 4, 1).map(Some)
    }
}

fn steps_of(images: &Images, config: &GanConfig) -> u64 {
    (images.len() / config.batch) as u64
}

#[cfg(test)]
mod tests {
    use super::super::SpaceKind;
    use super::super::data::tests::write_data_set;
    use super::*;
    use crate::checkpoint::{Reader, write};
    use crate::search::{Initial, MemberId, initial_population};
    use crate::tasks::{Hyperparameter, Place, Task};

    const SEEDS: Seeds = Seeds { run: 1, generation: 2, member: MemberId(3) };

    fn task(folder: &Path, space: SpaceKind) -> GanTask {
        task_with(folder, GanConfig { space, ..GanConfig::default() })
    }

    /// A small task whose space and learning rates are those of `config`.
    fn task_with(folder: &Path, config: GanConfig) -> GanTask {
        write_data_set(folder, 48);
        GanTask::new(GanConfig {
            data: folder.to_owned(),
            image_size: 16,
            bottom_width: 2,
            generator_width: 4,
            discriminator_width: 4,
            latent: 6,
            batch: 8,
            generator_batch: 8,
            discriminator_steps: 2,
            evaluation_images: 70,
            feature_epochs: 1,
            ..config
        })
    }

    fn saved(session: &dyn Session) -> Vec<u8> {
        let (meta, entries) = session.describe().unwrap();
        let mut bytes = Vec::new();
        write(&mut bytes, &meta, entries, |entry, out| out.write_all(&session.tensor(entry).unwrap()))
            .unwrap();
        bytes
    }

    #[test]
    fn every_option_of_every_variable_is_trained_and_evaluated() {
        for space in [SpaceKind::Gan, SpaceKind::GanHard] {
            let dir = tempfile::tempdir().unwrap();
            let task = task(dir.path(), space);
            task.prepare(dir.path()).unwrap();
            let genotypes = initial_population(task.space(), 8, Initial::Balanced, 5);
            for genotype in &genotypes {
                let mut session =
                    task.session(Start::Fresh(genotype), Place::outside(SEEDS, dir.path())).unwrap();
                let before = saved(session.as_ref());
                for _ in 0..3 {
                    session.advance(9).unwrap();
                }
                assert_ne!(before, saved(session.as_ref()));
                let evaluation = session.evaluate(Measure::Search).unwrap();
                assert!(evaluation.fitness.is_finite() && evaluation.fitness < 0.0, "{genotype:?}");
            }
            for variable in &task.space().variables {
                for option in variable.options() {
                    assert!(genotypes.iter().any(|g| g.get(&variable.name) == Some(option)));
                }
            }
        }
    }

    /// The checkpoint of a member after a generator step and three discriminator steps, without its metadata.
    fn trained(config: GanConfig, genotype: &Genotype) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let task = task_with(dir.path(), config);
        let mut session = task.session(Start::Fresh(genotype), Place::outside(SEEDS, dir.path())).unwrap();
        for _ in 0..3 {
            session.advance(99).unwrap();
        }
        let (_, entries) = session.describe().unwrap();
        entries.iter().map(|entry| session.tensor(entry).unwrap()).collect()
    }

    #[test]
    fn the_optimizers_use_the_learning_rates_of_the_genotype() {
        use crate::search::{Range, Scale};
        let searched = Hyperparameter::Searched(Range::new(1e-5, 1e-1, Scale::Log, false).unwrap());
        let fixed = Hyperparameter::Fixed;
        let config = |learning_rate, discriminator_learning_rate| GanConfig {
            learning_rate,
            discriminator_learning_rate,
            ..GanConfig::default()
        };
        let genotype = |config: &GanConfig, rate: &str, discriminator: &str| {
            let mut genotype = initial_population(&config.search_space(), 1, Initial::Uniform, 9).remove(0);
            for (name, value) in [("learning_rate", rate), ("discriminator_learning_rate", discriminator)] {
                if genotype.get(name).is_some() {
                    genotype.set(name, value);
                }
            }
            genotype
        };
        let train = |config: GanConfig, rate, discriminator| {
            let genotype = genotype(&config, rate, discriminator);
            trained(config, &genotype)
        };
        let one = train(config(fixed(1e-3), None), "", "");
        let two = train(config(fixed(1e-3), Some(fixed(4e-3))), "", "");
        assert!(one != two);
        assert!(train(config(fixed(1e-3), Some(fixed(1e-3))), "", "") == one);
        assert!(train(config(searched, None), "0.001", "") == one);
        assert!(train(config(searched, None), "0.004", "") != one);
        assert!(train(config(searched, Some(searched)), "0.001", "0.004") == two);
        assert!(train(config(fixed(1e-3), Some(searched)), "", "0.004") == two);
        assert!(train(config(searched, Some(fixed(4e-3))), "0.001", "") == two);
    }

    #[test]
    fn a_restored_session_goes_on_bit_for_bit_in_the_middle_of_an_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let task = task(dir.path(), SpaceKind::GanHard);
        // With dropout, whose numbers must come back too.
        let mut genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
        genotype.set("generator/projection1/dropout", "0.2");
        let genotype = &genotype;
        let mut whole = task.session(Start::Fresh(genotype), Place::outside(SEEDS, dir.path())).unwrap();
        for _ in 0..4 {
            whole.advance(9).unwrap();
        }
        let path = dir.path().join("snapshot");
        std::fs::write(&path, saved(whole.as_ref())).unwrap();
        let reader = Reader::open(&path).unwrap();
        let mut restored =
            task.session(Start::Checkpoint(&reader), Place::outside(SEEDS, dir.path())).unwrap();
        assert_eq!(restored.position(), (0, 4));
        for _ in 0..5 {
            whole.advance(9).unwrap();
            restored.advance(9).unwrap();
        }
        assert_eq!(whole.position(), (1, 3));
        assert!(saved(whole.as_ref()) == saved(restored.as_ref()));
    }

    #[test]
    fn a_position_beyond_the_end_of_an_epoch_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let task = task(dir.path(), SpaceKind::Gan);
        let genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
        let mut session =
            GanSession::new(&task, Start::Fresh(&genotype), SEEDS, dir.path().to_owned()).unwrap();
        let path = dir.path().join("snapshot");
        for step in [session.steps_per_epoch(), u64::MAX] {
            session.step = step;
            std::fs::write(&path, saved(&session)).unwrap();
            let reader = Reader::open(&path).unwrap();
            let error =
                task.session(Start::Checkpoint(&reader), Place::outside(SEEDS, dir.path())).err().unwrap();
            assert!(format!("{error:#}").contains("steps into an epoch, and an epoch has"), "{error:#}");
        }
    }

    #[test]
    fn a_diverged_member_is_told_by_its_fitness() {
        let dir = tempfile::tempdir().unwrap();
        let task = task(dir.path(), SpaceKind::Gan);
        task.prepare(dir.path()).unwrap();
        let genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
        let shared = dir.path().to_owned();
        let mut session = GanSession::new(&task, Start::Fresh(&genotype), SEEDS, shared).unwrap();
        let _ =
            no_grad(|| session.weights.averages["generator/to_image/bias"].shallow_clone().fill_(f64::NAN));
        assert!(session.evaluate(Measure::Search).unwrap().fitness.is_nan());
    }
}

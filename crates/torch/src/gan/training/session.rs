//! Trains a GAN: discriminator and generator steps, moving average, evaluation.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, no_grad};

use crate::device::device;
use crate::gan::data::quantise;
use crate::gan::discriminator::Discriminator;
use crate::gan::generator::Generator;
use crate::gan::projection::Mode;
use crate::gan::training::cursor::DataCursor;
use crate::gan::training::evaluation::Evaluator;
use crate::gan::{GanConfig, GanTask};
use crate::nn::{Scope, Weights, compute_kind, normal, uniform};
use pbtnas_core::checkpoint::{Entry, Meta};
use pbtnas_core::search::Genotype;
use pbtnas_engine::task::{Evaluation, Measure, Seeds, Session, Start};

/// A GAN in training. A step is one discriminator step; every `discriminator_steps`-th is followed by a generator step,
/// as in the loop of the published code.
pub struct GanSession<'a> {
    task: &'a GanTask,
    genotype: Genotype,
    pub(super) weights: Weights,
    pub(super) generator: Generator,
    discriminator: Discriminator,
    pub(super) cursor: DataCursor,
    evaluator: Evaluator<'a>,
    device: Device,
    /// Learning rates of generator and discriminator.
    learning_rates: (f64, f64),
    /// The last loss of the discriminator and of the generator.
    losses: (Option<Tensor>, Option<Tensor>),
}

impl<'a> GanSession<'a> {
    /// Starts from fresh weights or a checkpoint.
    pub fn new(task: &'a GanTask, start: Start, seeds: Seeds, shared: PathBuf) -> Result<Self> {
        let device = device(task.config.device)?;
        let (genotype, cursor) = DataCursor::new(&task.config, start, seeds, &shared, 1)?;
        let learning_rates = task.config.learning_rates(&genotype)?;
        let weights = Weights::new(task.tensors(&genotype)?, start, &seeds, device)?;
        let mut scope = Scope::load(&weights.values).computing_in(compute_kind(task.config.precision));
        let (generator, discriminator) = task.networks(&genotype, &mut scope)?;
        let evaluator = Evaluator { task, shared, seeds, device };
        Ok(Self {
            task,
            genotype,
            weights,
            generator,
            discriminator,
            cursor,
            evaluator,
            device,
            learning_rates,
            losses: (None, None),
        })
    }

    fn config(&self) -> &'a GanConfig {
        &self.task.config
    }

    /// Latents `(count, latent)`. They come from `rng`, since libtorch's own generator is one for the whole process.
    pub fn latents(&self, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        normal(rng, &[count as i64, self.config().latent as i64], self.device)
    }

    /// Images of the generator in training mode.
    fn generate(&self, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        let latents = self.latents(rng, count);
        self.generator.forward(&latents, Mode::Training(&mut |shape| uniform(rng, shape, self.device)))
    }

    /// Takes an AdamW step of one network on a loss.
    fn update(&mut self, network: &'static str, loss: &Tensor) {
        let (of_generator, of_discriminator) = self.learning_rates;
        let learning_rate = if network == "discriminator" { of_discriminator } else { of_generator };
        let adam = self.config().optimizer(learning_rate);
        self.weights.update(&[network], &adam, loss);
    }

    /// Hinge loss on real images and as many generated ones.
    fn discriminator_step(&mut self, real: &Tensor, rng: &mut ChaCha8Rng) {
        let fake = no_grad(|| self.generate(rng, real.size()[0].unsigned_abs() as usize));
        let on_real = self.discriminator.forward(real, true);
        let on_fake = self.discriminator.forward(&fake, true);
        let loss = hinge(&on_real, &on_fake);
        self.update("discriminator", &loss);
        self.losses.0 = Some(loss.detach());
    }

    fn generator_step(&mut self, rng: &mut ChaCha8Rng) {
        let images = self.generate(rng, self.config().generator_batch);
        let loss = -self.discriminator.forward(&images, true).mean(Kind::Float);
        self.update("generator", &loss);
        self.losses.1 = Some(loss.detach());
        self.weights.average(self.config().average_decay);
    }

    /// The generator with averaged parameters and the running statistics of the trained one.
    fn averaged_generator(&self) -> Result<Generator> {
        let values = self.weights.averaged_values();
        let mut scope = Scope::load(&values).computing_in(compute_kind(self.config().precision));
        Generator::new(self.config(), self.task.channels, &self.genotype, &mut scope)
    }

    /// 8-bit images `(count, channels, size, size)` of a generator.
    fn sample(&self, generator: &Generator, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        no_grad(|| quantise(&generator.forward(&self.latents(rng, count), Mode::Evaluation)))
    }
}

/// The discriminator's loss, from its scores of real and of generated images.
pub fn hinge(on_real: &Tensor, on_fake: &Tensor) -> Tensor {
    (-on_real + 1.0).relu().mean(Kind::Float) + (on_fake + 1.0).relu().mean(Kind::Float)
}

/// The losses of discriminator and generator as metrics, without those of a network that has not been trained yet.
pub fn loss_metrics(losses: &(Option<Tensor>, Option<Tensor>)) -> Vec<(String, f64)> {
    let losses = [("discriminator_loss", &losses.0), ("generator_loss", &losses.1)];
    losses
        .iter()
        .filter_map(|(name, loss)| Some((name.to_string(), loss.as_ref()?.double_value(&[]))))
        .collect()
}

impl Session for GanSession<'_> {
    fn position(&self) -> (u32, u64) {
        (self.cursor.epoch, self.cursor.step)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.cursor.steps_per_epoch()
    }

    fn advance(&mut self, _: u32) -> Result<()> {
        let real = self.cursor.real(self.device)?;
        let mut rng = self.cursor.rng();
        self.discriminator_step(&real, &mut rng);
        if self.cursor.trains_generator(self.config().discriminator_steps) {
            self.generator_step(&mut rng);
        }
        self.cursor.advance();
        Ok(())
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        loss_metrics(&self.losses)
    }

    fn describe(&self) -> Result<(Meta, Vec<Entry>)> {
        let (epoch, step) = self.position();
        Ok((Meta { genotype: self.genotype.clone(), epoch, step, files: Vec::new() }, self.weights.entries()))
    }

    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.weights.tensor(entry)
    }

    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation> {
        let generator = self.averaged_generator()?;
        let sound = self.weights.are_finite();
        self.evaluator.evaluate(measure, sound, &|rng, count| self.sample(&generator, rng, count))
    }

    fn export(&mut self, dir: &Path) -> Result<Vec<String>> {
        let generator = self.averaged_generator()?;
        self.evaluator.export(dir, &|rng, count| self.sample(&generator, rng, count))
    }

    fn preview(&mut self) -> Result<Option<Vec<u8>>> {
        let generator = self.averaged_generator()?;
        self.evaluator.preview(&|rng, count| self.sample(&generator, rng, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gan::SpaceKind;
    use crate::gan::data::tests::write_data_set;
    use pbtnas_core::checkpoint::{Reader, write};
    use pbtnas_core::search::{Initial, MemberId, initial_population};
    use pbtnas_engine::task::{Hyperparameter, MemberContext, Task};

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
    fn every_option_is_trained_and_evaluated() {
        for space in [SpaceKind::Gan, SpaceKind::GanHard] {
            let dir = tempfile::tempdir().unwrap();
            let task = task(dir.path(), space);
            task.prepare(dir.path()).unwrap();
            let genotypes = initial_population(task.space(), 8, Initial::Balanced, 5);
            for genotype in &genotypes {
                let mut session = task
                    .session(Start::Fresh(genotype, 0), MemberContext::outside(SEEDS, dir.path()))
                    .unwrap();
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

    /// 48 images in batches of 10: five steps of the discriminator in an epoch, the last one on 8 images; and of the
    /// generator, in every second one, three (STL-10: 821 and 165).
    #[test]
    fn last_batch_is_smaller_and_the_generators_steps_are_counted_per_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let mut task = task_with(dir.path(), GanConfig::default());
        task.config.batch = 10;
        let genotype = initial_population(task.space(), 1, Initial::Uniform, 5).remove(0);
        let start = Start::Fresh(&genotype, 0);
        let mut session = GanSession::new(&task, start, SEEDS, dir.path().to_owned()).unwrap();
        let steps = |session: &GanSession, network: &str| {
            session.weights.moments(network).map_or(0.0, |moments| moments.values().next().unwrap().step)
        };
        for epoch in 1..3 {
            let mut sizes = Vec::new();
            for _ in 0..5 {
                sizes.push(session.cursor.real(Device::Cpu).unwrap().size()[0]);
                session.advance(9).unwrap();
            }
            assert_eq!(sizes, [10, 10, 10, 10, 8]);
            assert_eq!(session.position(), (epoch, 0));
            assert_eq!(steps(&session, "discriminator"), f64::from(5 * epoch));
            assert_eq!(steps(&session, "generator"), f64::from(3 * epoch));
        }
    }

    /// The checkpoint of a member after a generator step and three discriminator steps, without its metadata.
    fn trained(config: GanConfig, genotype: &Genotype) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let task = task_with(dir.path(), config);
        let mut session =
            task.session(Start::Fresh(genotype, 0), MemberContext::outside(SEEDS, dir.path())).unwrap();
        for _ in 0..3 {
            session.advance(99).unwrap();
        }
        let (_, entries) = session.describe().unwrap();
        entries.iter().map(|entry| session.tensor(entry).unwrap()).collect()
    }

    #[test]
    fn optimizers_use_the_learning_rates_of_the_genotype() {
        use pbtnas_core::search::{Range, Scale};
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
    fn session_restored_within_an_epoch_continues_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let task = task(dir.path(), SpaceKind::GanHard);
        // With dropout, whose random numbers must be restored too.
        let mut genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
        genotype.set("generator/projection1/dropout", "0.2");
        let genotype = &genotype;
        let mut whole =
            task.session(Start::Fresh(genotype, 0), MemberContext::outside(SEEDS, dir.path())).unwrap();
        for _ in 0..4 {
            whole.advance(9).unwrap();
        }
        let path = dir.path().join("snapshot");
        std::fs::write(&path, saved(whole.as_ref())).unwrap();
        let reader = Reader::open(&path).unwrap();
        let mut restored =
            task.session(Start::Checkpoint(&reader), MemberContext::outside(SEEDS, dir.path())).unwrap();
        assert_eq!(restored.position(), (0, 4));
        for _ in 0..5 {
            whole.advance(9).unwrap();
            restored.advance(9).unwrap();
        }
        assert_eq!(whole.position(), (1, 3));
        assert!(saved(whole.as_ref()) == saved(restored.as_ref()));
    }

    #[test]
    fn position_beyond_the_end_of_an_epoch_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let task = task(dir.path(), SpaceKind::Gan);
        let genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
        let mut session =
            GanSession::new(&task, Start::Fresh(&genotype, 0), SEEDS, dir.path().to_owned()).unwrap();
        let path = dir.path().join("snapshot");
        for step in [session.steps_per_epoch(), u64::MAX] {
            session.cursor.step = step;
            std::fs::write(&path, saved(&session)).unwrap();
            let reader = Reader::open(&path).unwrap();
            let error = task
                .session(Start::Checkpoint(&reader), MemberContext::outside(SEEDS, dir.path()))
                .err()
                .unwrap();
            assert!(format!("{error:#}").contains("of an epoch, but an epoch has"), "{error:#}");
        }
    }

    #[test]
    fn fitness_of_a_diverged_member_is_nan() {
        let dir = tempfile::tempdir().unwrap();
        let task = task(dir.path(), SpaceKind::Gan);
        task.prepare(dir.path()).unwrap();
        let genotype = initial_population(task.space(), 1, Initial::Uniform, 9).remove(0);
        let shared = dir.path().to_owned();
        let mut session = GanSession::new(&task, Start::Fresh(&genotype, 0), SEEDS, shared).unwrap();
        let _ =
            no_grad(|| session.weights.averages["generator/to_image/bias"].shallow_clone().fill_(f64::NAN));
        assert!(session.evaluate(Measure::Search).unwrap().fitness.is_nan());
    }
}

//! Trains a supernet.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, no_grad};

use crate::device::device;
use crate::gan::data::quantise;
use crate::gan::projection::Mode;
use crate::gan::supernet::discriminator::SupernetDiscriminator;
use crate::gan::supernet::generator::SupernetGenerator;
use crate::gan::supernet::mixed::{Relax, variable_of};
use crate::gan::supernet::networks;
use crate::gan::training::cursor::DataCursor;
use crate::gan::training::evaluation::Evaluator;
use crate::gan::training::session::{hinge, loss_metrics};
use crate::gan::{GanConfig, GanTask};
use crate::nn::{AdamW, Scope, Weights, compute_kind, normal, uniform};
use pbtnas_core::checkpoint::{Entry, Meta};
use pbtnas_core::search::{Genotype, OptionWeights};
use pbtnas_engine::task::{Evaluation, Measure, Seeds, Session, Start};

/// A supernet in training. A step updates the discriminator's architecture on one half of a batch and its weights on
/// the other; every `discriminator_steps`-th does the same for the generator, with latents of its own.
pub struct SupernetSession<'a> {
    /// The task's configuration with the sizes of the supernet.
    config: GanConfig,
    channels: i64,
    genotype: Genotype,
    pub(super) weights: Weights,
    generator: SupernetGenerator,
    discriminator: SupernetDiscriminator,
    pub(super) cursor: DataCursor,
    evaluator: Evaluator<'a>,
    device: Device,
    learning_rates: (f64, f64),
    /// The last loss of the discriminator and of the generator.
    losses: (Option<Tensor>, Option<Tensor>),
}

impl<'a> SupernetSession<'a> {
    /// Starts from fresh weights or a checkpoint.
    pub fn new(task: &'a GanTask, start: Start, seeds: Seeds, shared: PathBuf) -> Result<Self> {
        let config = task.config.supernet_sizes();
        let channels = task.channels;
        let device = device(config.device)?;
        let (genotype, cursor) = DataCursor::new(&config, start, seeds, &shared, 2)?;
        let learning_rates = config.learning_rates(&genotype)?;
        let weights = Weights::new(task.tensors(&genotype)?, start, &seeds, device)?;
        let mut scope = Scope::load(&weights.values).computing_in(compute_kind(config.precision));
        let (generator, discriminator) = networks(&config, channels, &genotype, &mut scope)?;
        Ok(Self {
            config,
            channels,
            genotype,
            weights,
            generator,
            discriminator,
            cursor,
            evaluator: Evaluator { task, shared, seeds, device },
            device,
            learning_rates,
            losses: (None, None),
        })
    }

    fn temperature(&self) -> f64 {
        self.config.supernet.temperature(self.cursor.epoch)
    }

    fn latents(&self, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        normal(rng, &[count as i64, self.config.latent as i64], self.device)
    }

    /// Images of the generator in training mode; its edges sample their weights.
    fn generate(&self, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        let latents = self.latents(rng, count);
        let mut draw = |shape: &[i64]| gumbel(rng, shape, self.device);
        let relax = Relax::new(self.temperature(), &mut draw);
        // The supernet's space has no dropout.
        let mut none = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, self.device));
        self.generator.forward(&latents, Mode::Training(&mut none), &relax)
    }

    /// The discriminator's scores; its edges sample their weights.
    fn score(&self, images: &Tensor, rng: &mut ChaCha8Rng) -> Tensor {
        let mut draw = |shape: &[i64]| gumbel(rng, shape, self.device);
        self.discriminator.forward(images, &Relax::new(self.temperature(), &mut draw))
    }

    /// Hinge loss on real images and as many generated ones.
    fn discriminator_loss(&self, real: &Tensor, rng: &mut ChaCha8Rng) -> Tensor {
        let fake = no_grad(|| self.generate(rng, real.size()[0].unsigned_abs() as usize));
        let on_real = self.score(real, rng);
        hinge(&on_real, &self.score(&fake, rng))
    }

    fn generator_loss(&self, rng: &mut ChaCha8Rng) -> Tensor {
        let images = self.generate(rng, self.config.generator_batch);
        -self.score(&images, rng).mean(Kind::Float)
    }

    /// Takes an Adam step of the architecture parameters of a network, with an L2 penalty.
    fn learn_architecture(&mut self, network: &str, loss: &Tensor) {
        let supernet = &self.config.supernet;
        let adam = AdamW {
            learning_rate: supernet.learning_rate,
            beta1: supernet.beta1,
            beta2: supernet.beta2,
            epsilon: 1e-8,
            weight_decay: 0.0,
        };
        let parameters =
            self.weights.values.iter().filter(|(name, _)| name.starts_with(&format!("{network}/")));
        let penalty = parameters.map(|(_, value)| value.square().sum(Kind::Float)).reduce(|a, b| a + b);
        let loss = match penalty {
            Some(penalty) => loss + penalty * (supernet.weight_decay / 2.0),
            None => loss.shallow_clone(),
        };
        self.weights.update(&[network], &adam, &loss);
    }

    fn learn_weights(&mut self, network: &str, learning_rate: f64, loss: &Tensor) {
        let adam = self.config.optimizer(learning_rate);
        self.weights.update(&[network], &adam, loss);
    }

    /// The generator with averaged parameters and the running statistics of the trained one.
    fn averaged_generator(&self) -> Result<SupernetGenerator> {
        let values = self.weights.averaged_values();
        let mut scope = Scope::load(&values).computing_in(compute_kind(self.config.precision));
        SupernetGenerator::new(&self.config, self.channels, &self.genotype, &mut scope)
    }

    /// 8-bit images of a generator, whose edges sample their weights for each batch.
    fn sample(&self, generator: &SupernetGenerator, rng: &mut ChaCha8Rng, count: usize) -> Tensor {
        let latents = self.latents(rng, count);
        let mut draw = |shape: &[i64]| gumbel(rng, shape, self.device);
        let relax = Relax::new(self.temperature(), &mut draw);
        no_grad(|| quantise(&generator.forward(&latents, Mode::Evaluation, &relax)))
    }
}

/// Samples the standard Gumbel distribution.
fn gumbel(rng: &mut ChaCha8Rng, shape: &[i64], device: Device) -> Tensor {
    -(-uniform(rng, shape, device).log()).log()
}

impl Session for SupernetSession<'_> {
    fn position(&self) -> (u32, u64) {
        (self.cursor.epoch, self.cursor.step)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.cursor.steps_per_epoch()
    }

    fn option_weights(&self) -> OptionWeights {
        let of_generator = self.weights.values.iter().filter_map(|(name, parameters)| {
            let variable = variable_of(name).filter(|variable| variable.starts_with("generator/"))?;
            let weights = parameters.detach().to_kind(Kind::Double).softmax(-1, None);
            Some((variable, Vec::<f64>::try_from(weights).ok()?))
        });
        let weights: OptionWeights = of_generator.collect();
        let diverged = weights.values().flatten().any(|weight| !weight.is_finite());
        if diverged { OptionWeights::new() } else { weights }
    }

    fn advance(&mut self, _: u32) -> Result<()> {
        let real = self.cursor.real(self.device)?;
        let mut rng = self.cursor.rng();
        let half = real.size()[0] / 2;
        let (for_weights, for_architecture) = (real.narrow(0, 0, half), real.narrow(0, half, half));
        let loss = self.discriminator_loss(&for_architecture, &mut rng);
        self.learn_architecture("discriminator_architecture", &loss);
        let loss = self.discriminator_loss(&for_weights, &mut rng);
        self.learn_weights("discriminator", self.learning_rates.1, &loss);
        self.losses.0 = Some(loss.detach());
        if self.cursor.trains_generator(self.config.discriminator_steps) {
            let loss = self.generator_loss(&mut rng);
            self.learn_architecture("generator_architecture", &loss);
            let loss = self.generator_loss(&mut rng);
            self.learn_weights("generator", self.learning_rates.0, &loss);
            self.losses.1 = Some(loss.detach());
            self.weights.average(self.config.average_decay);
        }
        self.cursor.advance();
        Ok(())
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let mut metrics = loss_metrics(&self.losses);
        metrics.push(("temperature".into(), self.temperature()));
        metrics
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

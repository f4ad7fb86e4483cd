//! Measures a generator, and draws its images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use crate::gan::training::features::Features;
use crate::gan::training::frechet::{Statistics, frechet_distance};
use crate::gan::training::grid::grid;
use crate::gan::training::inception_score::InceptionScore;
use crate::gan::{GanConfig, GanTask};
use pbtnas_core::search::{RngKey, rng};
use pbtnas_engine::task::{Evaluation, Measure, Seeds};

/// Images generated at a time.
const BATCH: usize = 100;

/// Generates that many 8-bit images `(count, channels, size, size)`.
pub type Sample<'a> = dyn Fn(&mut ChaCha8Rng, usize) -> Tensor + 'a;

/// Measures a member.
pub struct Evaluator<'a> {
    pub task: &'a GanTask,
    /// The folder of the files that members share.
    pub shared: PathBuf,
    pub seeds: Seeds,
    pub device: Device,
}

impl Evaluator<'_> {
    fn config(&self) -> &GanConfig {
        &self.task.config
    }

    /// The Fréchet distance to the real images; for a final evaluation the Inception Score too. `sound` says whether
    /// all weights are finite: 8-bit images would hide it if they are not.
    pub fn evaluate(&self, measure: Measure, sound: bool, sample: &Sample) -> Result<Evaluation> {
        let (count, purpose, thorough) = match measure {
            Measure::Search | Measure::Soup { .. } => (self.config().evaluation_images, "evaluation", false),
            Measure::Final { samples } => (samples, "final evaluation", true),
        };
        let features = Features::load(&self.shared, self.config(), self.task.channels, self.device)?;
        let mut rng = rng(&self.seeds.at(purpose));
        let mut statistics: Option<Statistics> = None;
        let mut score: Option<InceptionScore> = None;
        let mut left = count;
        while left > 0 {
            let images = sample(&mut rng, left.min(BATCH));
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
            left = left.saturating_sub(BATCH);
        }
        let (mean, covariance) = statistics.context("no image was evaluated")?.finish()?;
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

    /// Writes a grid of 64 images to `dir`, and returns the name of the file.
    pub fn export(&self, dir: &Path, sample: &Sample) -> Result<Vec<String>> {
        let images = sample(&mut rng(&self.seeds.at("export")), 64);
        let zoom = (64 / self.config().image_size as i64).max(1);
        let path = dir.join("grid.png");
        let written = std::fs::write(&path, grid(&images, 8, zoom)?);
        written.with_context(|| format!("failed to write {}", path.display()))?;
        Ok(vec!["grid.png".into()])
    }

    /// A grid of images of the same 16 latents for all members of all generations.
    pub fn preview(&self, sample: &Sample) -> Result<Option<Vec<u8>>> {
        let of_all = RngKey { run: self.seeds.run, generation: 0, member: None, purpose: "preview" };
        grid(&sample(&mut rng(&of_all), 16), 4, 1).map(Some)
    }
}

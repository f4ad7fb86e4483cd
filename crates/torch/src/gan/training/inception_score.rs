//! The Inception Score (Salimans et al., 2016, <https://arxiv.org/abs/1606.03498>).

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

/// Accumulates exp(mean KL(p(y|x) || p(y))) over each of several parts of the images, batch by batch.
///
/// The parts are those of the published code: of n images, part i of s holds those from i * n / s to (i + 1) * n / s,
/// rounded down, in the order in which they are added.
pub struct InceptionScore {
    images: usize,
    seen: usize,
    parts: Vec<ScoreSplit>,
}

struct ScoreSplit {
    end: usize,
    count: usize,
    /// Sum over images of the sum of p log p.
    information: f64,
    /// `(classes)`, in double precision.
    sum: Tensor,
}

impl InceptionScore {
    /// Number of parts in the published results.
    pub const PARTS: usize = 10;

    /// Fails if a part would be empty.
    pub fn new(images: usize, parts: usize, classes: i64) -> Result<Self> {
        if parts == 0 || images < parts {
            bail!("the Inception Score over {parts} part(s) needs at least as many images, not {images}");
        }
        let part = |i: usize| ScoreSplit {
            end: (i + 1) * images / parts,
            count: 0,
            information: 0.0,
            sum: Tensor::zeros([classes], (Kind::Double, Device::Cpu)),
        };
        Ok(Self { images, seen: 0, parts: (0..parts).map(part).collect() })
    }

    /// Adds probabilities `(n, classes)` of the next images.
    pub fn add(&mut self, probabilities: &Tensor) -> Result<()> {
        let rows = probabilities.size()[0].unsigned_abs() as usize;
        if self.seen + rows > self.images {
            bail!("{} images were announced, but {} were added", self.images, self.seen + rows);
        }
        let p = probabilities.to_device(Device::Cpu).to_kind(Kind::Double);
        let last = self.seen + rows;
        let first = self.seen;
        for part in &mut self.parts {
            let (from, to) = (self.seen, last.min(part.end));
            if to <= from {
                continue;
            }
            let own = p.narrow(0, (from - first) as i64, (to - from) as i64);
            part.count += to - from;
            part.information += own.xlogy(&own).sum(Kind::Double).double_value(&[]);
            part.sum += own.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
            self.seen = to;
        }
        Ok(())
    }

    /// Mean over the parts, and their standard deviation (divided by the number of parts, as published). Fails unless
    /// all images have been added.
    pub fn finish(&self) -> Result<(f64, f64)> {
        if self.seen != self.images {
            bail!("{} images were announced, but {} were added", self.images, self.seen);
        }
        let score = |part: &ScoreSplit| {
            let marginal = &part.sum / part.count as f64;
            let of_marginal = marginal.xlogy(&marginal).sum(Kind::Double).double_value(&[]);
            (part.information / part.count as f64 - of_marginal).exp()
        };
        let scores: Vec<f64> = self.parts.iter().map(score).collect();
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count;
        Ok((mean, variance.sqrt()))
    }
}

/// The Inception Score of probabilities `(n, classes)`: mean and standard deviation over `parts` parts.
#[cfg(test)]
pub fn inception_score(probabilities: &Tensor, parts: usize) -> Result<(f64, f64)> {
    let (images, classes) = probabilities.size2()?;
    let mut score = InceptionScore::new(images.unsigned_abs() as usize, parts, classes)?;
    score.add(probabilities)?;
    score.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;

    #[test]
    fn known_scores() {
        let options = (Kind::Double, Device::Cpu);
        // Certain predictions, all classes equally often: the score is the number of classes.
        let (mean, deviation) = inception_score(&Tensor::eye(6, options), 1).unwrap();
        assert!((mean - 6.0).abs() < 1e-12 && deviation == 0.0);
        // All predictions equal: the score is 1.
        let same = Tensor::from_slice(&[0.5, 0.5, 0.0]).expand([8, 3], false);
        assert!((inception_score(&same, 2).unwrap().0 - 1.0).abs() < 1e-12);
        assert!(inception_score(&(same * f64::NAN), 2).unwrap().0.is_nan());
    }

    #[test]
    fn number_of_images_is_checked() {
        let some = Tensor::ones([3, 4], (Kind::Double, Device::Cpu)) / 4.0;
        assert!(InceptionScore::new(9, 10, 4).is_err());
        let mut score = InceptionScore::new(5, 2, 4).unwrap();
        score.add(&some).unwrap();
        assert!(
            score.finish().unwrap_err().to_string().contains("5 images were announced, but 3 were added")
        );
        assert!(score.add(&some).is_err());
    }

    #[test]
    fn scores_agree_with_numpy_for_any_batches() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("expected.safetensors");
        oracle::run("tests/oracle/inception_score.py", &[&file]);
        let expected = oracle::tensors(&file);
        let names: Vec<&str> = expected.keys().filter_map(|key| key.strip_suffix("/parts")).collect();
        assert_eq!(names.len(), 7);
        for name in names {
            let of = |what: &str| &expected[&format!("{name}/{what}")];
            let p = of("probabilities");
            let parts = of("parts").int64_value(&[0]) as usize;
            let (mean, deviation) = (of("score").double_value(&[0]), of("score").double_value(&[1]));
            let at_once = inception_score(p, parts).unwrap();
            let mut score = InceptionScore::new(p.size()[0] as usize, parts, p.size()[1]).unwrap();
            for batch in p.split(33, 0) {
                score.add(&batch).unwrap();
            }
            for (ours, our_deviation) in [at_once, score.finish().unwrap()] {
                println!("{name}: {ours} +- {our_deviation}, numpy {mean} +- {deviation}");
                assert!((ours - mean).abs() < 1e-9 * mean, "{name}: {ours} {mean}");
                assert!(
                    (our_deviation - deviation).abs() < 1e-9 * mean,
                    "{name}: {our_deviation} {deviation}"
                );
            }
        }
    }
}

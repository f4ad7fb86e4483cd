//! The Fréchet distance between Gaussians fitted to features (FID if the features are Inception's).

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

/// Accumulates mean and covariance of features in double precision, batch by batch.
pub struct Statistics {
    count: i64,
    sum: Tensor,
    outer: Tensor,
}

impl Statistics {
    pub fn new(dimension: i64) -> Self {
        let options = (Kind::Double, Device::Cpu);
        Self {
            count: 0,
            sum: Tensor::zeros([dimension], options),
            outer: Tensor::zeros([dimension, dimension], options),
        }
    }

    /// Adds features `(n, dimension)`.
    pub fn add(&mut self, features: &Tensor) {
        let features = features.to_device(Device::Cpu).to_kind(Kind::Double);
        self.count += features.size()[0];
        self.sum += features.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
        self.outer += features.tr().mm(&features);
    }

    /// Mean `(dimension)` and unbiased covariance `(dimension, dimension)`.
    pub fn finish(&self) -> Result<(Tensor, Tensor)> {
        if self.count < 2 {
            bail!("a covariance needs at least two images, not {}", self.count);
        }
        let mean = &self.sum / self.count as f64;
        let covariance = (&self.outer - mean.outer(&mean) * self.count as f64) / (self.count - 1) as f64;
        Ok((mean, covariance))
    }
}

/// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), from means and covariances in double precision; NaN if any element of
/// them is not finite.
///
/// With C = F F^T for both, the trace of the root is the sum of the singular values of F1^T F2. This avoids roots of
/// rounding errors, which would add 1e-8 for each direction without variance; with fewer images than features most
/// directions have none.
pub fn frechet_distance(
    (mean1, covariance1): (&Tensor, &Tensor),
    (mean2, covariance2): (&Tensor, &Tensor),
) -> Result<f64> {
    let finite = |x: &Tensor| x.isfinite().all().int64_value(&[]) == 1;
    if ![mean1, covariance1, mean2, covariance2].into_iter().all(finite) {
        return Ok(f64::NAN);
    }
    let product = factor(covariance1)?.tr().mm(&factor(covariance2)?);
    let trace_of_root = if product.numel() == 0 {
        0.0
    } else {
        let (_, singular, _) = product.f_svd(true, false)?;
        singular.sum(Kind::Double).double_value(&[])
    };
    let shift = (mean1 - mean2).square().sum(Kind::Double).double_value(&[]);
    let traces = (covariance1.trace() + covariance2.trace()).double_value(&[]);
    Ok(shift + traces - 2.0 * trace_of_root)
}

/// F `(dimension, rank)` with F F^T = covariance, without the variances that are as small as rounding errors.
fn factor(covariance: &Tensor) -> Result<Tensor> {
    let (values, vectors) = covariance.f_linalg_eigh("L")?;
    let largest = values.max().double_value(&[]).max(0.0);
    let noise = largest * values.size()[0] as f64 * f64::EPSILON;
    let kept = values.gt(noise).nonzero().flatten(0, -1);
    Ok(vectors.index_select(1, &kept) * values.index_select(0, &kept).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle;

    fn options() -> (Kind, Device) {
        (Kind::Double, Device::Cpu)
    }

    #[test]
    fn closed_forms() {
        let zero = Tensor::zeros([3], options());
        let one = Tensor::eye(3, options());
        let distance = |m1: &Tensor, c1: &Tensor, m2: &Tensor, c2: &Tensor| {
            frechet_distance((m1, c1), (m2, c2)).unwrap()
        };
        assert!(distance(&zero, &one, &zero, &one).abs() < 1e-12);
        // Only the mean differs.
        assert!((distance(&zero, &one, &(&zero + 2.0), &one) - 12.0).abs() < 1e-12);
        // Diagonal covariances: the sum of (s1 - s2)^2 over standard deviations.
        let c1 = Tensor::from_slice(&[1.0, 4.0, 9.0]).diag(0);
        let c2 = Tensor::from_slice(&[4.0, 4.0, 0.0]).diag(0);
        assert!((distance(&zero, &c1, &zero, &c2) - (1.0 + 0.0 + 9.0)).abs() < 1e-9);
        assert!(distance(&zero, &one, &(&zero * f64::NAN), &one).is_nan());
    }

    #[test]
    fn distance_is_symmetric_for_singular_covariances() {
        tch::manual_seed(3);
        let a = Tensor::randn([20, 8], options());
        let b = Tensor::randn([8, 3], options()).mm(&Tensor::randn([3, 8], options()));
        let (c1, c2) = (a.tr().mm(&a) / 20.0, b.tr().mm(&b));
        let (m1, m2) = (Tensor::randn([8], options()), Tensor::randn([8], options()));
        let forth = frechet_distance((&m1, &c1), (&m2, &c2)).unwrap();
        let back = frechet_distance((&m2, &c2), (&m1, &c1)).unwrap();
        assert!((forth - back).abs() < 1e-6 * forth, "{forth} {back}");
    }

    #[test]
    fn distances_agree_with_pytorch_fid_and_the_closed_form() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("expected.safetensors");
        oracle::run("tests/oracle/frechet.py", &[&file]);
        let expected = oracle::tensors(&file);
        let names: Vec<&str> = expected.keys().filter_map(|key| key.strip_suffix("/exact")).collect();
        assert_eq!(names.len(), 18);
        let mut compared = 0;
        for name in names {
            let of = |what: &str| &expected[&format!("{name}/{what}")];
            let distance =
                frechet_distance((of("mean1"), of("covariance1")), (of("mean2"), of("covariance2"))).unwrap();
            let (exact, theirs) = (of("exact").double_value(&[0]), of("pytorch_fid").double_value(&[0]));
            println!(
                "{name}: {distance:.6e}, off by {:.0e} from the closed form, {:.0e} from pytorch-fid",
                (distance - exact).abs() / exact,
                (distance - theirs).abs() / exact
            );
            assert!((distance - exact).abs() < 1e-8 * exact, "{name}: {distance} {exact}");
            // Skip cases in which the error of pytorch-fid itself is close to the tolerance.
            if (theirs - exact).abs() < 1e-7 * exact {
                assert!((distance - theirs).abs() < 1e-6 * theirs, "{name}: {distance} {theirs}");
                compared += 1;
            }
        }
        assert!(compared >= 12, "pytorch-fid agrees with the closed form in {compared} cases only");
    }

    #[test]
    fn statistics_in_batches_are_those_of_the_whole() {
        tch::manual_seed(4);
        let x = Tensor::randn([50, 5], options());
        let mut statistics = Statistics::new(5);
        for batch in x.split(7, 0) {
            statistics.add(&batch);
        }
        let (mean, covariance) = statistics.finish().unwrap();
        let expected = x.mean_dim([0i64].as_slice(), false, Kind::Double);
        assert!((&mean - expected).abs().max().double_value(&[]) < 1e-12);
        assert!(
            (covariance - x.tr().cov(1, None::<Tensor>, None::<Tensor>)).abs().max().double_value(&[])
                < 1e-12
        );
    }
}

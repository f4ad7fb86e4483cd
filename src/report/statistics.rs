//! Mean, standard deviation, quantiles, Wilcoxon signed-rank test.

use serde::Serialize;

/// Up to this number of differences the distribution is computed exactly: the counts fit in 64 bits.
pub const EXACT_UP_TO: usize = 50;

/// Arithmetic mean; none of an empty slice.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of a sample (n - 1); none of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    deviation(values, 1)
}

/// Standard deviation of a population (n); none of fewer than two values.
pub fn population_deviation(values: &[f64]) -> Option<f64> {
    deviation(values, 0)
}

fn deviation(values: &[f64], less: usize) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - less) as f64).sqrt())
}

/// Quantile of sorted values, with linear interpolation; none of an empty slice.
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(low + (high - low) * place.fract())
}

/// The differences that a test takes as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sides {
    /// In either direction.
    Two,
    /// Positive ones only.
    One,
}

/// The outcome of a Wilcoxon signed-rank test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Wilcoxon {
    /// Number of nonzero differences; zeros are discarded (Wilcoxon's rule).
    pub n: usize,
    /// Number of zero differences.
    pub zeros: usize,
    /// The smaller of the two rank sums; in a one-sided test that of the negative differences.
    pub w: f64,
    /// Probability of a rank sum at least as small if signs are random.
    pub p: f64,
    /// Whether `p` is exact; otherwise it is the normal approximation with the correction for ties.
    pub exact: bool,
}

/// Tests whether differences are symmetric about zero, or rather positive. Ties share their mean rank, also in the exact distribution. All
/// differences must be finite.
pub fn wilcoxon(differences: &[f64], sides: Sides) -> Wilcoxon {
    let mut nonzero: Vec<f64> = differences.iter().copied().filter(|value| *value != 0.0).collect();
    nonzero.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let n = nonzero.len();
    let (ranks, ties) = doubled_ranks(&nonzero);
    let sum = |positive: bool| -> usize {
        ranks.iter().zip(&nonzero).filter(|(_, d)| (**d > 0.0) == positive).map(|(rank, _)| rank).sum()
    };
    let w = match sides {
        Sides::Two => sum(true).min(sum(false)),
        Sides::One => sum(false),
    };
    let exact = n <= EXACT_UP_TO;
    let tail = if exact { exact_tail(&ranks, w) } else { approximate_tail(n, &ties, w as f64 / 2.0) };
    let p = (sides.tails() * tail).min(1.0);
    Wilcoxon { n, zeros: differences.len() - n, w: w as f64 / 2.0, p, exact }
}

impl Sides {
    fn tails(self) -> f64 {
        match self {
            Self::Two => 2.0,
            Self::One => 1.0,
        }
    }
}

/// The smallest possible p of `n` differences: all signs are the same.
pub fn smallest_p(n: usize, sides: Sides) -> f64 {
    (sides.tails() * 0.5_f64.powi(n.min(2000) as i32)).min(1.0)
}

/// Twice the rank of each size (shared ranks can be half-integers), and the sizes of the ties.
fn doubled_ranks(sorted: &[f64]) -> (Vec<usize>, Vec<usize>) {
    let mut ranks: Vec<usize> = Vec::new();
    let mut ties = Vec::new();
    for same in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let (first, last) = (ranks.len() + 1, ranks.len() + same.len());
        ranks.extend(same.iter().map(|_| first + last));
        ties.push(same.len());
    }
    (ranks, ties)
}

/// Counts the sign assignments by rank sum (dynamic programming over ranks), and returns the fraction up to `w`.
fn exact_tail(ranks: &[usize], w: usize) -> f64 {
    let mut counts: Vec<u64> = vec![0; ranks.iter().sum::<usize>() + 1];
    counts[0] = 1;
    for &rank in ranks {
        for sum in (rank..counts.len()).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    let tail: u64 = counts[..=w].iter().sum();
    tail as f64 / (1_u64 << ranks.len()) as f64
}

fn approximate_tail(n: usize, ties: &[usize], w: f64) -> f64 {
    let n = n as f64;
    let shared: f64 = ties.iter().map(|&t| (t as f64).powi(3) - t as f64).sum();
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - shared / 48.0;
    let z = (n * (n + 1.0) / 4.0 - w) / variance.sqrt();
    libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs().max(1.0)
    }

    #[test]
    fn mean_and_standard_deviation_of_a_sample() {
        assert_eq!(mean(&[]), None);
        assert_eq!((mean(&[3.0]), standard_deviation(&[3.0])), (Some(3.0), None));
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        assert!(close(standard_deviation(&values).unwrap(), (32.0_f64 / 7.0).sqrt()));
        assert_eq!((population_deviation(&[3.0]), population_deviation(&values)), (None, Some(2.0)));
    }

    /// Expected values: scipy 1.17.1, `stats.wilcoxon`. With ties or zeros: `zero_method="wilcox"` and
    /// `PermutationMethod(n_resamples=inf)`, since its method "exact" does not support ties. Beyond 50:
    /// `method="approx", correction=False`.
    #[test]
    fn wilcoxon_agrees_with_scipy() {
        let every_third_down = |size: fn(i32) -> i32, n: i32| -> Vec<f64> {
            (1..=n).map(|k| f64::from(if k % 3 == 0 { -size(k) } else { size(k) })).collect()
        };
        for (differences, w, p) in [
            (vec![1.0, 2.0, 3.0], 0.0, 0.25),
            (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.0, 0.03125),
            (vec![1.5, -0.5, 2.25, 3.0, 0.75, -1.0, 4.0, 2.0], 4.0, 0.0546875),
            (vec![1.0, 1.0, -1.0, 2.0, 2.0, -2.0, 3.0, 4.0, 0.0, 0.0], 7.0, 0.1640625),
            (vec![0.5, -0.5, 0.5, 0.5, 1.5, 1.5, 2.0, -0.25, 0.0], 4.5, 0.078125),
            (every_third_down(|k| k, 50), 408.0, 0.02616696817119646),
            (every_third_down(|k| k, 60), 630.0, 0.03590012321587811),
            (every_third_down(|k| 1 + k / 4, 80), 1051.5, 0.0063825903289667415),
        ] {
            let test = wilcoxon(&differences, Sides::Two);
            assert_eq!(test.w, w, "{test:?}");
            assert!(close(test.p, p), "{test:?} instead of {p}");
        }
    }

    /// Expected values: scipy 1.17.1, `stats.wilcoxon` with `alternative="greater"`, beyond 50 as above.
    #[test]
    fn one_sided_test_agrees_with_scipy() {
        let mixed = [1.5, -0.5, 2.25, 3.0, 0.75, -1.0, 4.0, 2.0];
        let every_third_down =
            |n: i32| (1..=n).map(|k| f64::from(if k % 3 == 0 { -k } else { k })).collect::<Vec<f64>>();
        for (differences, p) in [
            (vec![1.0, 2.0, 3.0], 0.125),
            (mixed.to_vec(), 0.02734375),
            (mixed.map(|d| -d).to_vec(), 0.98046875),
            (every_third_down(50), 0.01308348408559823),
            (every_third_down(60), 0.017950061607939057),
        ] {
            let test = wilcoxon(&differences, Sides::One);
            assert!(close(test.p, p), "{test:?} instead of {p}");
        }
    }

    #[test]
    fn zero_differences_give_p_1() {
        for differences in [&[][..], &[0.0, 0.0]] {
            let test = wilcoxon(differences, Sides::Two);
            assert_eq!((test.n, test.zeros, test.w, test.p), (0, differences.len(), 0.0, 1.0));
        }
    }

    /// p by definition: the fraction of all sign assignments with a smaller rank sum (one-sided: a sum of negative ranks)
    /// of at most this size.
    fn enumerated(differences: &[f64], sides: Sides) -> f64 {
        let sizes: Vec<f64> = differences.iter().filter(|d| **d != 0.0).map(|d| d.abs()).collect();
        let rank = |size: f64| {
            let below = sizes.iter().filter(|s| **s < size).count();
            let same = sizes.iter().filter(|s| **s == size).count();
            below as f64 + (same as f64 + 1.0) / 2.0
        };
        let smaller = |positive: &dyn Fn(usize) -> bool| {
            let (mut up, mut down) = (0.0, 0.0);
            for (i, &size) in sizes.iter().enumerate() {
                if positive(i) { up += rank(size) } else { down += rank(size) }
            }
            if sides == Sides::Two { f64::min(up, down) } else { down }
        };
        let signs: Vec<bool> = differences.iter().filter(|d| **d != 0.0).map(|d| *d > 0.0).collect();
        let seen = smaller(&|i| signs[i]);
        let all = 1_u32 << sizes.len();
        (0..all).filter(|choice| smaller(&|i| choice >> i & 1 == 1) <= seen).count() as f64 / f64::from(all)
    }

    fn differences(most: usize) -> impl Strategy<Value = Vec<f64>> {
        // Few sizes, so that there are many ties and zeros.
        prop::collection::vec((-6..=6).prop_map(f64::from), 0..most)
    }

    proptest! {
        #[test]
        fn exact_p_agrees_with_enumeration(differences in differences(12)) {
            for sides in [Sides::Two, Sides::One] {
                prop_assert_eq!(wilcoxon(&differences, sides).p, enumerated(&differences, sides));
            }
        }

        #[test]
        fn order_sign_and_scale_do_not_matter(
            (differences, shuffled) in differences(70)
                .prop_flat_map(|d| (Just(d.clone()), Just(d).prop_shuffle())),
        ) {
            let test = wilcoxon(&differences, Sides::Two);
            prop_assert_eq!(test, wilcoxon(&shuffled, Sides::Two));
            let turned: Vec<f64> = differences.iter().map(|d| -4.0 * d).collect();
            prop_assert_eq!(test, wilcoxon(&turned, Sides::Two));
            prop_assert!(test.p > 0.0 && test.p <= 1.0);
        }

        #[test]
        fn equal_signs_give_the_smallest_p(sizes in prop::collection::vec(1u8..5, 1..=EXACT_UP_TO)) {
            let differences: Vec<f64> = sizes.iter().map(|size| f64::from(*size)).collect();
            let test = wilcoxon(&differences, Sides::Two);
            prop_assert_eq!(test.w, 0.0);
            prop_assert!(close(test.p, smallest_p(sizes.len(), Sides::Two)));
            prop_assert!(close(wilcoxon(&differences, Sides::One).p, smallest_p(sizes.len(), Sides::One)));
        }

        #[test]
        fn approximation_is_close_to_the_exact_distribution(
            differences in prop::collection::vec(-1000i32..1000, EXACT_UP_TO),
        ) {
            let differences: Vec<f64> = differences.into_iter().map(|d| f64::from(d) + 0.5).collect();
            let mut sorted = differences.clone();
            sorted.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
            let test = wilcoxon(&differences, Sides::Two);
            let (_, ties) = doubled_ranks(&sorted);
            prop_assert!((2.0 * approximate_tail(test.n, &ties, test.w) - test.p).abs() < 0.02);
        }
    }
}

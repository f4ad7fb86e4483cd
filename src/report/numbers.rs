//! Hyperparameters as people read them.

pub use crate::tasks::short;

/// `0.02 (0.001 to 0.1)`: median, smallest and largest of some numbers; `-` of none.
pub fn spread(mut numbers: Vec<f64>) -> String {
    numbers.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (numbers.first(), numbers.last()) else { return "-".into() };
    let middle = |at: usize| numbers.get(at).copied().unwrap_or(f64::NAN);
    let (left, right) = (middle((numbers.len() - 1) / 2), middle(numbers.len() / 2));
    // Halved one by one: the sum could be infinite.
    format!("{} ({} to {})", short(left / 2.0 + right / 2.0), short(*low), short(*high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between_the_ends() {
        assert_eq!(spread(vec![]), "-");
        assert_eq!(spread(vec![0.5]), "0.5 (0.5 to 0.5)");
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), "2 (1 to 3)");
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), "2.5 (1 to 4)");
    }
}

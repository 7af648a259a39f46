//! Medians, shares of a sorted list, and fairness.

/// The value in the middle; of two, their mean. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The least and the most. `None` of nothing.
pub fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let most = values.iter().copied().max_by(f64::total_cmp)?;
    Some((least, most))
}

/// The value that `share` (0 to 1) of a sorted list do not exceed: an element of it, never one between two. `None` of nothing.
pub fn quantile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Jain's index of fairness: 1 if all have the same, one `n`th if one of `n` has all. 1 of nothing, which is shared as fairly as can be.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let thousand: Vec<u32> = (1..=1_000).collect();
        assert_eq!(quantile(&thousand, 0.5), Some(500));
        assert_eq!(quantile(&thousand, 0.99), Some(990));
        assert_eq!(quantile(&thousand, 0.999), Some(999));
        assert_eq!(quantile(&thousand, 1.0), Some(1_000));
        assert_eq!(quantile(&[7], 0.5), Some(7));
        assert_eq!(quantile(&[7, 8], 0.0), Some(7));
        assert_eq!(quantile::<u32>(&[], 0.5), None);
    }

    #[test]
    fn jains_index_tells_equal_shares_from_one_that_has_all() {
        assert!((jain(&[5.0; 8]) - 1.0).abs() < 1e-9);
        assert!((jain(&[8.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
        assert!((jain(&[0.0, 0.0]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_range_is_from_the_least_to_the_most() {
        assert_eq!(range(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
        assert_eq!(range(&[]), None);
    }
}

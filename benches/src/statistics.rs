//! Medians and percentiles of measured values. Pure.

/// The middle value, or the mean of the two in the middle. Not a number when there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// First and third quartile: half of the values lie between them. Not numbers when there is none.
pub(crate) fn middle_half(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter =
        |rank: usize| sorted.get((sorted.len() * rank).div_ceil(4).max(1) - 1).copied().unwrap_or(f64::NAN);
    (quarter(1), quarter(3))
}

/// The smallest value that at least `share` (0 to 1) of the values do not exceed; `sorted` is in ascending order.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, expected) in [(vec![3.0], 3.0), (vec![5.0, 1.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0)] {
            assert_eq!(median(&values), expected, "{values:?}");
        }
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn quartiles() {
        assert_eq!(middle_half(&[1.0]), (1.0, 1.0));
        assert_eq!(middle_half(&[4.0, 1.0, 3.0, 2.0]), (1.0, 3.0));
        assert!(middle_half(&[]).0.is_nan());
    }

    #[test]
    fn percentiles() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (share, expected) in [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)] {
            assert_eq!(percentile(&hundred, share), expected, "{share}");
        }
        assert_eq!(percentile(&[], 0.5), 0);
        assert_eq!(percentile(&[7], 0.99), 7);
    }
}

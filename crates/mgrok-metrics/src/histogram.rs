//! How long things take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds: from a connection on the same host to the longest that a user waits.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Durations, counted in buckets from 0.5 ms to 10 s.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Each has those alone that the bucket before does not have. The last has no bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// In microseconds.
    sum: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .sum()
    }

    /// The sum of all durations, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// How many durations are within each bound, which is in seconds; the last bound is infinite.
    pub(crate) fn within(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6);
        let mut count = 0;
        bounds
            .chain([f64::INFINITY])
            .zip(&self.buckets)
            .map(move |(bound, bucket)| {
                count += bucket.load(Ordering::Relaxed);
                (bound, count)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_all_above() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 10_000, 10_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let within: Vec<_> = histogram.within().collect();
        assert_eq!(within[..3], [(0.0005, 1), (0.001, 2), (0.0025, 3)]);
        assert_eq!(within[13..], [(10.0, 4), (f64::INFINITY, 5)]);
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum(), 20.004);
    }
}

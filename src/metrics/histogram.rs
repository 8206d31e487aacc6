//! Counts of durations by how long they were: what a histogram of Prometheus is made of.
//!
//! To observe is two additions that wait for nobody; sums are made when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bounds that a histogram has.
const MOST: usize = 16;

/// Where the buckets of a histogram end, in microseconds; ascending, and at most sixteen.
pub type Bounds = &'static [u64];

/// What providers take: from a model next door to one that thinks for minutes.
pub const PROVIDER: Bounds = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];

/// What this program takes: microseconds, unless a disk is slow.
pub const OWN: Bounds = &[
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600,
    1_638_400,
];

/// What waiting takes: for money that other calls hold.
pub const WAITING: Bounds = &[
    1_000, 5_000, 25_000, 100_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    15_000_000, 30_000_000, 60_000_000,
];

/// One histogram; its bounds are those of the family that it is in.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than there are bounds: the last is for what is above all of them.
    buckets: [AtomicU64; MOST + 1],
    sum_us: AtomicU64,
}

/// What a histogram, or several of one family, had counted at some instant.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    buckets: [u64; MOST + 1],
    sum_us: u64,
}

impl Histogram {
    pub fn observe(&self, bounds: Bounds, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = bounds.iter().position(|bound| us <= *bound).unwrap_or(bounds.len());
        self.buckets[at.min(MOST)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Adds what was counted so far.
    pub fn add_to(&self, counted: &mut Counted) {
        for (sum, bucket) in counted.buckets.iter_mut().zip(&self.buckets) {
            *sum = sum.saturating_add(bucket.load(Ordering::Relaxed));
        }
        counted.sum_us = counted.sum_us.saturating_add(self.sum_us.load(Ordering::Relaxed));
    }

    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        self.add_to(&mut counted);
        counted
    }
}

impl Counted {
    /// How many were not longer than each bound, in the bounds' order, and how many there were.
    pub fn up_to(&self, bounds: Bounds) -> (Vec<u64>, u64) {
        let mut so_far = 0_u64;
        let mut each: Vec<u64> = Vec::with_capacity(bounds.len() + 1);
        for count in &self.buckets[..=bounds.len().min(MOST)] {
            so_far = so_far.saturating_add(*count);
            each.push(so_far);
        }
        each.pop();
        (each, so_far)
    }

    pub const fn sum_us(&self) -> u64 {
        self.sum_us
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_that_is_long_enough() {
        let histogram = Histogram::default();
        for us in [0, 50, 51, 100, 409_601, u64::MAX / 4] {
            histogram.observe(OWN, Duration::from_micros(us));
        }
        let (up_to, all) = histogram.counted().up_to(OWN);
        assert_eq!(up_to.len(), OWN.len());
        assert_eq!((up_to[0], up_to[1], up_to[13], up_to[14], all), (2, 4, 4, 5, 6));
        assert_eq!(histogram.counted().sum_us(), 201 + 409_601 + u64::MAX / 4);
    }

    #[test]
    fn bounds_ascend_and_fit() {
        for bounds in [PROVIDER, OWN, WAITING] {
            assert!(bounds.len() <= MOST && bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}

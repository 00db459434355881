//! The engine's statistics: atomic counters, one set for each thread, which are summed when they are read.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::protocol::reasons::{REASONS, ROW_REASONS};

/// The number of bounds of a histogram. It has one bucket more, for values above the last bound.
pub(crate) const BOUNDS: usize = 20;
const BUCKETS: usize = BOUNDS + 1;
/// The index of a method, by which its calls are counted, is below this.
pub(crate) const MAX_METHODS: usize = 8;

/// The upper bounds of a histogram's buckets, in nanoseconds, ascending.
pub(crate) type Bounds = [u64; BOUNDS];

/// A histogram of durations: the number in each bucket, and the sum of all.
#[derive(Default)]
pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub(crate) fn add(&self, bounds: &Bounds, duration_ns: u64) {
        self.counts[bucket(bounds, duration_ns)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(duration_ns, Relaxed);
    }
}

/// The index of the bucket of a duration.
#[inline]
fn bucket(bounds: &Bounds, duration_ns: u64) -> usize {
    bounds.partition_point(|&bound| bound < duration_ns)
}

/// The counters of the calls of one method, on the thread that ends them; each message of a stream counts as a
/// call.
#[derive(Default)]
pub(crate) struct CallCounts {
    pub answered: AtomicU64,
    pub failed: [AtomicU64; REASONS],
    /// Durations of all calls, answered or failed.
    pub durations: Histogram,
}

impl CallCounts {
    /// Counts a call that has ended. `failed` is the reason why it has no answer. Only one thread calls this.
    #[inline]
    pub(crate) fn end(&self, bounds: &Bounds, duration_ns: u64, failed: Option<u32>) {
        let ended = match failed {
            None => &self.answered,
            Some(reason) => &self.failed[reason as usize],
        };
        let Histogram { counts, sum_ns } = &self.durations;
        for (counter, by) in [(ended, 1), (&counts[bucket(bounds, duration_ns)], 1), (sum_ns, duration_ns)] {
            // Cheaper than `fetch_add`, which would lose no count if several threads wrote.
            counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
        }
    }
}

/// The counters of calls on one thread, by method. They are aligned, so that threads share no cache line.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct MethodCounts(pub [CallCounts; MAX_METHODS]);

/// The counters of one version on one thread.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct VersionCounts {
    pub calls: MethodCounts,
    pub rows: AtomicU64,
    pub explained_rows: AtomicU64,
    pub row_errors: [AtomicU64; ROW_REASONS],
    pub decode: Histogram,
    pub explain: Histogram,
    pub run: Histogram,
    pub encode: Histogram,
}

/// A magnitude below 2^-40 counts as 0. A magnitude of 2^40 or more counts as the largest double below 2^40.
const LEAST: f64 = 1.0 / (1_u64 << 40) as f64;
const MOST_BITS: u64 = ((1023 + 40) << 52) - 1;
/// The key, which is the first 16 bits, of `LEAST`; and the number of keys from there to 2^40.
const FIRST_KEY: u64 = (1023 - 40) << 4;
const KEYS: usize = 80 << 4;

/// Counts numbers by the first 16 bits of the double: the sign, the exponent, and four bits of the fraction, so
/// that a bucket is a sixteenth of an octave wide.
#[derive(Default)]
pub(crate) struct Distribution {
    /// The count of 0, then those of the positive keys, then those of the negative keys. Allocated with the first
    /// number.
    counts: OnceLock<Box<[AtomicU64]>>,
}

impl Distribution {
    /// Counts one number. NaN is not counted.
    #[inline]
    pub(crate) fn add(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bits = value.to_bits();
        let magnitude = bits & !(1 << 63);
        let index = if value.abs() < LEAST {
            0
        } else {
            1 + (magnitude.min(MOST_BITS) >> 48) - FIRST_KEY + (bits >> 63) * KEYS as u64
        };
        let counts = self.counts.get_or_init(|| (0..=2 * KEYS).map(|_| AtomicU64::new(0)).collect());
        counts[index as usize].fetch_add(1, Relaxed);
    }

    /// Adds the counts to `sums`, by key.
    pub(crate) fn add_to(&self, sums: &mut BTreeMap<u16, u64>) {
        for (index, count) in self.counts.get().into_iter().flatten().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 {
                let key = match index {
                    0 => 0,
                    _ if index <= KEYS => FIRST_KEY + index as u64 - 1,
                    _ => (1 << 15) + FIRST_KEY + (index - KEYS) as u64 - 1,
                };
                *sums.entry(key as u16).or_default() += count;
            }
        }
    }
}

/// The counters of a version on one route, on one thread.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct RouteCounts {
    pub calls: AtomicU64,
    pub rows: AtomicU64,
    pub failed: [AtomicU64; REASONS],
    pub row_errors: [AtomicU64; ROW_REASONS],
    /// Copies of calls for a shadow that were not scored.
    pub dropped: AtomicU64,
    pub latency: Distribution,
    pub scores: Distribution,
}

/// The counters of a route, one set for each thread.
pub(crate) type RouteShards = Box<[RouteCounts]>;

impl RouteCounts {
    /// Counts a call that failed after its version was found.
    pub(crate) fn fail(&self, reason: u32) {
        self.failed[reason as usize].fetch_add(1, Relaxed);
    }
}

/// A histogram that is summed over threads: the number in each bucket, and the sum in nanoseconds.
pub(crate) type Sums = (Vec<u64>, u64);

/// Sums histograms.
pub(crate) fn sum<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Sums {
    let mut sums = (vec![0; BUCKETS], 0);
    for histogram in histograms {
        for (total, count) in sums.0.iter_mut().zip(&histogram.counts) {
            *total += count.load(Relaxed);
        }
        sums.1 += histogram.sum_ns.load(Relaxed);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(values: &[f64]) -> Vec<(u16, u64)> {
        let distribution = Distribution::default();
        values.iter().for_each(|&value| distribution.add(value));
        let mut sums = BTreeMap::new();
        distribution.add_to(&mut sums);
        sums.into_iter().collect()
    }

    #[test]
    fn numbers_count_by_their_first_bits() {
        for value in [1.0, 0.3, -2.5, 123_456.789, -1e-9, LEAST, -LEAST] {
            assert_eq!(keys(&[value]), [((f64::to_bits(value) >> 48) as u16, 1)], "{value}");
        }
    }

    #[test]
    fn numbers_beyond_the_range_count_at_its_ends() {
        assert_eq!(keys(&[0.0, -0.0, 1e-300, -1e-13, f64::NAN]), [(0, 4)]);
        let most = (MOST_BITS >> 48) as u16;
        assert_eq!(keys(&[f64::INFINITY, 1e300, f64::NEG_INFINITY]), [(most, 2), (most | 1 << 15, 1)]);
    }
}

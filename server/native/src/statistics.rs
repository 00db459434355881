//! What the engine counts: plain atomic numbers, one set for each thread, summed when read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::coding::ROW_REASONS;

/// How many bounds the histograms have; one more bucket takes the rest.
pub const BOUNDS: usize = 18;
const BUCKETS: usize = BOUNDS + 1;
/// Failures are counted by the number of their reason.
pub const REASONS: usize = 12;

/// Upper bounds of the histograms, in nanoseconds, ascending.
pub type Bounds = [u64; BOUNDS];

/// The two methods of the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Predict = 0,
    PredictStream = 1,
}

/// Counts of durations by bucket, and their sum in nanoseconds.
#[derive(Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn add(&self, bounds: &Bounds, duration_ns: u64) {
        let bucket = bounds.partition_point(|&bound| bound < duration_ns);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(duration_ns, Relaxed);
    }
}

/// What one version answered on one thread; aligned, so that threads do not share its lines.
#[derive(Default)]
#[repr(align(128))]
pub struct VersionCounts {
    pub rows: AtomicU64,
    pub row_errors: [AtomicU64; ROW_REASONS],
    pub decode: Histogram,
    pub run: Histogram,
    pub encode: Histogram,
}

/// What one thread answered.
#[derive(Default)]
#[repr(align(128))]
pub struct CallCounts {
    pub answered: [AtomicU64; 2],
    pub failed: [[AtomicU64; REASONS]; 2],
}

impl CallCounts {
    /// Counts an answer.
    #[inline]
    pub fn answer(&self, method: Method) {
        self.answered[method as usize].fetch_add(1, Relaxed);
    }

    /// Counts a failure by its reason.
    pub fn fail(&self, method: Method, reason: u32) {
        let reason = (reason as usize).min(REASONS - 1);
        self.failed[method as usize][reason].fetch_add(1, Relaxed);
    }
}

/// Sums of a histogram: its counts and the nanoseconds.
pub type Sums = (Vec<u64>, u64);

/// Adds the histograms up.
pub fn sum<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Sums {
    let mut sums = (vec![0; BUCKETS], 0);
    for histogram in histograms {
        for (total, count) in sums.0.iter_mut().zip(&histogram.counts) {
            *total += count.load(Relaxed);
        }
        sums.1 += histogram.sum_ns.load(Relaxed);
    }
    sums
}

//! What a principal takes: calls, rows, open calls, places and time; and the counts of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crate::access::rate::Gcra;
use crate::access::share::{self, ActiveWeights, ThreadShare, Usage};

/// Keeps what all threads write from the cache lines of others.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Aligned<T>(pub T);

/// Why calls of a principal are refused, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Denied,
    Calls,
    Rows,
    InFlight,
    Share,
}

/// The number of causes, and their names by index. They are `PRINCIPAL_CAUSES` of `engine/statistics.py`.
pub(crate) const CAUSES: usize = 5;
pub(crate) const CAUSE_NAMES: [&str; CAUSES] = ["denied", "calls", "rows", "in_flight", "share"];

/// What a principal has done on one thread.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    /// Only the thread writes these two.
    pub calls: AtomicU64,
    pub rows: AtomicU64,
    pub usage: Usage,
    pub refused: [AtomicU64; CAUSES],
}

/// What the meters of all principals share.
pub(crate) struct Common {
    /// Times are counted from here.
    began: Instant,
    /// By I/O thread.
    pub threads: Box<[ThreadShare]>,
    /// The principals that called lately, on any thread.
    pub active: ActiveWeights,
}

impl Common {
    /// Nothing yet, for so many I/O threads.
    pub(super) fn new(io_threads: usize) -> Self {
        let threads = (0..io_threads).map(|_| ThreadShare::default()).collect();
        Self { began: Instant::now(), threads, active: ActiveWeights::default() }
    }

    /// Nanoseconds from the beginning until a time.
    #[inline]
    pub(crate) fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_nanos() as u64
    }
}

/// What the principal of a name takes.
pub(crate) struct Meter {
    pub common: Arc<Common>,
    pub calls: Aligned<Gcra>,
    pub rows: Aligned<Gcra>,
    /// Calls that are open. Counted only where the principal has a limit of them.
    pub open: Aligned<AtomicUsize>,
    /// Of the places of calls that wait, those that the principal has.
    pub places: Aligned<AtomicUsize>,
    /// The window in which the principal called last.
    pub seen: AtomicU64,
    /// Up to what time of the queue for large batches the principal had its turns (see `predict/pool.rs`).
    pub turn: AtomicU64,
    /// By thread. The last is for what Python answers.
    pub shards: Box<[Shard]>,
}

impl Meter {
    /// A meter of which nothing was taken, for so many threads that count.
    pub(super) fn new(common: &Arc<Common>, workers: usize) -> Self {
        Self {
            common: Arc::clone(common),
            calls: Aligned::default(),
            rows: Aligned::default(),
            open: Aligned::default(),
            places: Aligned::default(),
            seen: 0.into(),
            turn: 0.into(),
            shards: (0..=workers).map(|_| Shard::default()).collect(),
        }
    }

    /// Notes that the principal, which has this weight, calls now.
    #[inline]
    pub(crate) fn note(&self, now_ns: u64, weight: u32) {
        let (window, before) = (share::window(now_ns), self.seen.load(Relaxed));
        if before < window && self.seen.compare_exchange(before, window, Relaxed, Relaxed).is_ok() {
            self.common.active.join(window, before, weight);
        }
    }

    /// The index of what Python answers among the threads that count.
    pub(crate) fn python(&self) -> usize {
        self.shards.len() - 1
    }

    /// Counts a refusal on a thread.
    pub(crate) fn refuse(&self, worker: usize, cause: Cause) {
        self.shards[worker].refused[cause as usize].fetch_add(1, Relaxed);
    }

    /// Calls, rows, and refusals by cause.
    pub(crate) fn counts(&self) -> (u64, u64, [u64; CAUSES]) {
        let sum = |pick: &dyn Fn(&Shard) -> &AtomicU64| -> u64 {
            // Rows may be taken on one thread and given back on another.
            self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(pick(shard).load(Relaxed)))
        };
        let refused = std::array::from_fn(|cause| sum(&|shard| &shard.refused[cause]));
        (sum(&|shard| &shard.calls), sum(&|shard| &shard.rows), refused)
    }
}

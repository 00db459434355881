//! What principals take: calls, rows, open calls, places and time; and the counts of them.
//!
//! A meter belongs to a name. It outlives the tables that name it: what was taken stays taken when the access
//! file changes. It goes once no table and no call has a principal of that name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use crate::access::gcra::Gcra;
use crate::access::principal::{Limits, Patterns, Principal};
use crate::access::rate::Rate;
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
    fn new(common: &Arc<Common>, workers: usize) -> Self {
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

/// The meter of a name, and the rates that it was used with last.
struct Entry {
    meter: Weak<Meter>,
    rates: [Option<Rate>; 2],
}

/// The meters of all principals, by name.
pub(crate) struct Meters {
    common: Arc<Common>,
    /// The threads that count.
    workers: usize,
    entries: Mutex<HashMap<Arc<str>, Entry>>,
}

impl Meters {
    /// No meters yet; for `io_threads` among the threads that count.
    pub(crate) fn new(io_threads: usize, workers: usize) -> Self {
        let threads = (0..io_threads).map(|_| ThreadShare::default()).collect();
        let common = Common { began: Instant::now(), threads, active: ActiveWeights::default() };
        Self { common: Arc::new(common), workers, entries: Mutex::default() }
    }

    /// A principal, which goes on with what its name has taken. Where a rate has changed, as many calls or rows
    /// are missing as before, and not as much time.
    pub(crate) fn principal(&self, name: Arc<str>, predict: Patterns, limits: Limits) -> Principal {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.meter.strong_count() > 0);
        let entry = entries.entry(Arc::clone(&name));
        let entry = entry.or_insert_with(|| Entry { meter: Weak::new(), rates: [None; 2] });
        let meter = entry.meter.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Meter::new(&self.common, self.workers));
            entry.meter = Arc::downgrade(&made);
            made
        });
        let now = self.common.ns(Instant::now());
        let states = [&meter.calls.0, &meter.rows.0];
        for ((state, before), rate) in
            states.into_iter().zip(&mut entry.rates).zip([limits.calls, limits.rows])
        {
            if let (Some(before), Some(rate)) = (*before, rate) {
                state.convert(&before, &rate, now);
            }
            *before = rate.or(*before);
        }
        drop(entries);
        Principal { name, predict, limits, meter }
    }

    /// The names that have a meter.
    #[cfg(test)]
    fn names(&self) -> usize {
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|_, entry| entry.meter.strong_count() > 0);
        entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_second: f64, burst: f64) -> Limits {
        Limits { calls: Some(Rate::new(per_second, burst)), ..Limits::default() }
    }

    #[test]
    fn what_was_taken_stays_taken_as_long_as_anybody_has_the_principal() {
        let meters = Meters::new(1, 1);
        let make = |name: &str, limits| meters.principal(name.into(), Patterns::default(), limits);
        let now = Instant::now();
        let shop = make("shop", limits(0.001, 1.0));
        assert!(shop.take_call(0, now).is_ok() && shop.take_call(0, now).is_err());
        let again = make("shop", limits(0.001, 1.0));
        assert!(again.take_call(0, now).is_err());
        drop(shop);
        assert!(make("shop", limits(0.001, 1.0)).take_call(0, now).is_err());
        assert_eq!((again.meter.counts().0, meters.names()), (1, 1));
        drop(again);
        assert_eq!(meters.names(), 0);
        assert!(make("shop", limits(0.001, 1.0)).take_call(0, now).is_ok());
    }

    #[test]
    fn another_rate_is_owed_as_many_calls_and_not_as_much_time() {
        let meters = Meters::new(1, 1);
        let make = |limits| meters.principal("shop".into(), Patterns::default(), limits);
        let now = Instant::now();
        let slow = make(limits(0.001, 3.0));
        (0..3).for_each(|_| slow.take_call(0, now).unwrap());
        let fast = make(limits(1000.0, 3.0));
        let wait = fast.take_call(0, now).unwrap_err();
        assert!(wait <= std::time::Duration::from_millis(2), "{wait:?}");
        let unlimited = make(Limits::default());
        assert!(unlimited.take_call(0, now).is_ok());
    }
}

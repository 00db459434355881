//! Shares: who is refused first where the server is overloaded.
//!
//! Without overload nobody is refused for using much. Three things can be overloaded:
//!
//! - **The time of an I/O thread.** It answers small calls itself. Each thread notes how much of its time each
//!   principal used lately: a fixed part for each call, answered or refused; the bytes of its message; and its
//!   rows by the cost that the version has measured. While the thread does not keep up, principals are refused
//!   whose use is above their weight in the use of all by `SLACK`. A principal whose use is below its weight by
//!   as much is not refused, even if it has waited long: somebody else is above, and is refused. A principal
//!   that is alone has all of the weight, so it is never above. The use is compared with that of others, and
//!   not with a time: the estimates may then all be wrong by the same factor, and what others leave is free.
//! - **The places of calls that wait** (`--max-in-flight`). Once more than half are taken, a principal gets no
//!   more than its weight among the principals that called lately. So one that comes later finds places soon.
//! - **The threads for large batches.** Here nobody is refused: the queue has an order (`predict/pool.rs`) in
//!   which principals have their turns by weight, so that batches do not wait for those of another principal.
//!
//! *Lately* is the window of about half a second, and the one before it, whose use counts for as much as is
//! still within the length of one window. Only one thread writes the numbers of a thread, so they are loaded
//! and stored without a locked instruction. Weights are whole thousandths.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::transport::arrivals;

/// The length of a window is 2 to the power of this, in nanoseconds: 0.54 s.
const WINDOW_BITS: u32 = 29;
/// How much a principal's use may differ from its share before that counts.
const SLACK: f64 = 1.1;
/// For how long a thread was never idle when it refuses a principal, if it has refused one lately. The queue of
/// the others would otherwise become as long again before each refusal as before the first.
const SHORT_INTERVAL: Duration = Duration::from_millis(10);
/// What a call costs besides its message and its rows.
pub(crate) const CALL_NS: u64 = 2_000;

/// The number of the window of a time, from 2 on: 0 stands for none.
#[inline]
pub(crate) fn window(now_ns: u64) -> u64 {
    (now_ns >> WINDOW_BITS) + 2
}

/// Numbers that only one thread writes are counted without a locked instruction.
#[inline]
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// The use of the last two windows. Only one thread writes it.
#[derive(Default)]
pub(crate) struct Usage {
    window: AtomicU64,
    current: AtomicU64,
    previous: AtomicU64,
}

impl Usage {
    /// Adds to the use. Gives the last window with any use before, where that is another one than now.
    #[inline]
    fn add(&self, window: u64, by: u64) -> Option<u64> {
        let before = self.window.load(Relaxed);
        if before == window {
            add(&self.current, by);
            return None;
        }
        let previous = if before + 1 == window { self.current.load(Relaxed) } else { 0 };
        self.previous.store(previous, Relaxed);
        self.current.store(by, Relaxed);
        self.window.store(window, Relaxed);
        Some(before)
    }

    /// The use within the length of one window until now; something was added in this window.
    fn recent(&self, now_ns: u64) -> f64 {
        let left = 1.0 - (now_ns & ((1 << WINDOW_BITS) - 1)) as f64 / (1_u64 << WINDOW_BITS) as f64;
        self.current.load(Relaxed) as f64 + self.previous.load(Relaxed) as f64 * left
    }
}

/// A sum of one window: the number of the window above, the sum below.
#[derive(Default)]
struct WindowSum(AtomicU64);

const SUM_BITS: u32 = 32;

impl WindowSum {
    fn add(&self, window: u64, by: u32) {
        let added = |sum: u64| {
            let before = if sum >> SUM_BITS == window { sum as u32 } else { 0 };
            // A thread that comes late does not bring an old window back.
            let added = window << SUM_BITS | u64::from(before.saturating_add(by));
            (sum >> SUM_BITS <= window).then_some(added)
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, added);
    }

    fn of(&self, window: u64) -> u64 {
        let sum = self.0.load(Relaxed);
        if sum >> SUM_BITS == window { u64::from(sum as u32) } else { 0 }
    }
}

/// The weights of the principals that called in this window or in the one before.
#[derive(Default)]
pub(crate) struct ActiveWeights {
    /// By whether the window's number is odd: of all that called in it, and of those that had not in the one
    /// before.
    all: [WindowSum; 2],
    joined: [WindowSum; 2],
}

impl ActiveWeights {
    /// Notes a principal's first call in a window; it had called in the window `before` last.
    pub(crate) fn join(&self, window: u64, before: u64, weight: u32) {
        let at = (window & 1) as usize;
        self.all[at].add(window, weight);
        if before + 1 != window {
            self.joined[at].add(window, weight);
        }
    }

    /// The sum of the weights.
    pub(crate) fn sum(&self, window: u64) -> f64 {
        let at = (window & 1) as usize;
        (self.all[1 - at].of(window - 1) + self.joined[at].of(window)) as f64
    }
}

/// What all principals use of one thread.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct ThreadShare {
    usage: Usage,
    weights: ActiveWeights,
    /// The last window in which a principal was refused.
    refused: AtomicU64,
}

/// How a principal's use compares with its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It uses less, so that another principal uses more than its share.
    Below,
    Fair,
    Above,
}

impl ThreadShare {
    /// Notes that a principal of this weight and use has used the thread.
    #[inline]
    pub(crate) fn charge(&self, usage: &Usage, weight: u32, now_ns: u64, by: u64) {
        let window = window(now_ns);
        self.usage.add(window, by);
        if let Some(before) = usage.add(window, by) {
            self.weights.join(window, before, weight);
        }
    }

    /// How a principal that was just charged stands.
    pub(crate) fn standing(&self, usage: &Usage, weight: u32, now_ns: u64) -> Standing {
        let (own, all) = (usage.recent(now_ns), self.usage.recent(now_ns));
        if own >= all {
            // It is alone, whatever its weight was when that was added to the sum.
            return Standing::Fair;
        }
        let used = own * self.weights.sum(window(now_ns));
        let share = all * f64::from(weight);
        if used > share * SLACK {
            Standing::Above
        } else if used * SLACK < share {
            Standing::Below
        } else {
            Standing::Fair
        }
    }

    /// Whether a thread that was not idle for `busy` refuses principals that are above their shares.
    #[inline]
    pub(crate) fn is_behind(&self, busy: Duration, now_ns: u64) -> bool {
        busy >= arrivals::INTERVAL
            || (busy >= SHORT_INTERVAL && self.refused.load(Relaxed) + 1 >= window(now_ns))
    }

    /// Notes that a principal is refused.
    pub(crate) fn refuse(&self, now_ns: u64) {
        self.refused.store(window(now_ns), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const WINDOW: u64 = 1 << WINDOW_BITS;

    #[test]
    fn use_is_forgotten_within_two_windows() {
        let usage = Usage::default();
        let recent = |now: u64| usage.recent(now);
        assert_eq!(usage.add(window(0), 100), Some(0));
        assert_eq!((usage.add(window(1), 20), recent(1)), (None, 120.0));
        assert_eq!(usage.add(window(WINDOW), 0), Some(window(0)));
        assert_eq!((recent(WINDOW), recent(WINDOW + WINDOW / 4)), (120.0, 90.0));
        usage.add(window(3 * WINDOW), 5);
        assert_eq!(recent(3 * WINDOW), 5.0);
    }

    #[test]
    fn weights_are_those_of_two_windows_each_once() {
        let weights = ActiveWeights::default();
        weights.join(2, 0, 1000);
        weights.join(2, 0, 3000);
        assert_eq!(weights.sum(2), 4000.0);
        weights.join(3, 2, 3000);
        weights.join(3, 0, 500);
        assert_eq!(weights.sum(3), 4500.0);
        assert_eq!(weights.sum(4), 3500.0);
        weights.join(4, 3, 500);
        assert_eq!((weights.sum(4), weights.sum(5), weights.sum(6)), (3500.0, 500.0, 0.0));
    }

    #[test]
    fn the_sum_of_weights_loses_none_where_threads_add_at_once() {
        let weights = ActiveWeights::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| weights.join(5, 0, 1)));
            }
        });
        weights.join(3, 0, 1);
        assert_eq!((weights.sum(5), weights.sum(6)), (4000.0, 4000.0));
    }

    #[test]
    fn a_principal_that_is_alone_is_neither_above_nor_below() {
        let (thread, shop) = (ThreadShare::default(), Usage::default());
        for now in (0..3000).map(|ms| ms * MS) {
            thread.charge(&shop, 250, now, MS);
            assert_eq!(thread.standing(&shop, 250, now), Standing::Fair);
            // Also right after the access file has changed its weight.
            assert_eq!(thread.standing(&shop, 100, now), Standing::Fair);
        }
    }

    #[test]
    fn one_that_uses_more_than_its_weight_is_above_and_the_other_below() {
        let (thread, shop, game) = (ThreadShare::default(), Usage::default(), Usage::default());
        for now in (0..1000).map(|ms| ms * MS) {
            thread.charge(&shop, 1000, now, 9 * MS);
            thread.charge(&game, 1000, now, MS);
        }
        let now = 999 * MS;
        assert_eq!(thread.standing(&shop, 1000, now), Standing::Above);
        assert_eq!(thread.standing(&game, 1000, now), Standing::Below);
        // With nine times the weight, the same use is its share.
        let (thread, shop, game) = (ThreadShare::default(), Usage::default(), Usage::default());
        thread.charge(&shop, 9000, now, 9 * MS);
        thread.charge(&game, 1000, now, MS);
        assert_eq!(thread.standing(&shop, 9000, now), Standing::Fair);
        // Once the other is gone, all is its share.
        let later = now + 2 * WINDOW;
        thread.charge(&shop, 1000, later, MS);
        assert_eq!(thread.standing(&shop, 1000, later), Standing::Fair);
    }

    #[test]
    fn a_thread_that_has_refused_lately_refuses_sooner() {
        let thread = ThreadShare::default();
        assert!(thread.is_behind(arrivals::INTERVAL, 0) && !thread.is_behind(SHORT_INTERVAL, 0));
        thread.refuse(0);
        assert!(thread.is_behind(SHORT_INTERVAL, WINDOW) && !thread.is_behind(SHORT_INTERVAL, 2 * WINDOW));
        assert!(!thread.is_behind(SHORT_INTERVAL - Duration::from_nanos(1), 0));
    }
}

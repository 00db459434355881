//! Whether an I/O thread that has nothing to do looks for events for a while before it sleeps.
//!
//! The operating system needs longer to wake a thread than many calls last. A thread that looks on, without
//! sleeping, finds the next call at once, but uses its processor meanwhile. So a thread spins only where that pays:
//!
//! - **Only between calls that follow each other closely.** The thread remembers of the gaps before its last 16
//!   requests, which are calls and messages of streams, whether spinning ended the gap, or would have. It spins while
//!   12 of them are such. Gaps between the segments of one request do not count, nor those before other frames of
//!   HTTP/2: they are short where calls are rare, too. So an idle thread, or one that is called rarely, does not spin.
//!   When calls cease the thread spins in vain once, and when they become rare at most five times.
//! - **Not where another thread needs the processor.** While it spins, a thread offers its processor to others
//!   (`sched_yield`). Then it does not spin for twenty times as long as it went without. So it takes little
//!   from one that always needs it, and an interruption by the hypervisor, of which there are some a second, does not
//!   end it for long.
//! - **Not on all processors.** At most half of the processors that the server may use spin at one time, or one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What the operating system takes to wake a thread, about. A gap that sleep has ended was longer by this.
const WAKE_TIME: Duration = Duration::from_micros(30);
/// A thread that did not run for this long while it spun has lost its processor to another.
const LOST_TIME: Duration = Duration::from_micros(50);
/// For how many times as long a thread that lost its processor does not spin.
const REST_SHARE: u32 = 20;
/// The number of the last 16 gaps that spinning must have ended, or must have been able to end.
const SHORT_GAPS: u32 = 12;

/// How the threads of one server spin.
#[derive(Debug, Clone)]
pub(crate) struct SpinOptions {
    /// The longest time that a thread spins. Zero: no thread does.
    time: Duration,
    /// How many threads may spin at one time.
    most: usize,
    /// How many threads spin.
    spinning: Arc<AtomicUsize>,
}

impl SpinOptions {
    /// `time` is the longest time that a thread spins; zero: no thread does.
    pub(crate) fn new(time: Duration) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { time, most: (processors / 2).max(1), spinning: Arc::default() }
    }

    fn enter(&self) -> bool {
        let one_more = |spinning| (spinning < self.most).then_some(spinning + 1);
        self.spinning.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    fn leave(&self) {
        self.spinning.fetch_sub(1, Relaxed);
    }
}

/// How one thread spins.
pub(crate) struct Spin {
    options: SpinOptions,
    is_on: bool,
    /// Of the gaps before the last requests, a bit each: whether spinning ended the gap, or would have. The lowest is
    /// the last.
    gaps: u16,
    /// Whether the present gap has its bit already, since the thread spun in vain.
    is_noted: bool,
    /// The thread does not spin until then.
    rests_until: Option<Instant>,
}

impl Spin {
    pub(crate) fn new(options: SpinOptions) -> Self {
        Self { options, is_on: false, gaps: 0, is_noted: false, rests_until: None }
    }

    /// Whether the thread spins.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Notes that a thread that spins goes on after a pause, in which another may have had its processor.
    pub(crate) fn resume(&mut self, now: Instant, pause: Duration) {
        if pause >= LOST_TIME {
            self.rests_until = Some(now + pause * REST_SHARE);
        }
    }

    /// Notes that bytes came after a gap. `has_request`: they begin a request.
    #[inline]
    pub(crate) fn end_gap(&mut self, gap: Duration, has_request: bool) {
        let is_noted = std::mem::take(&mut self.is_noted);
        if has_request && !is_noted {
            let woken = if self.is_on { Duration::ZERO } else { WAKE_TIME };
            self.note(gap <= self.options.time + woken);
        }
    }

    fn note(&mut self, is_short: bool) {
        self.gaps = self.gaps << 1 | u16::from(is_short);
    }

    /// Whether the thread spins on, or begins to; otherwise it sleeps. It has had nothing to do for `gap`.
    #[inline]
    pub(crate) fn goes_on(&mut self, now: Instant, gap: Duration) -> bool {
        if self.options.time.is_zero() {
            return false;
        }
        let in_time = gap < self.options.time;
        let pays = self.gaps.count_ones() >= SHORT_GAPS && self.rests_until.is_none_or(|until| now >= until);
        if self.is_on {
            if in_time && pays {
                return true;
            }
            self.options.leave();
            self.is_on = false;
            if !in_time {
                self.note(false);
                self.is_noted = true;
            }
        } else if in_time && pays {
            self.is_on = self.options.enter();
        }
        self.is_on
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        if self.is_on {
            self.options.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(50);
    const SHORT: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_millis(1);

    fn spin(most: usize) -> Spin {
        Spin::new(SpinOptions { time: TIME, most, spinning: Arc::default() })
    }

    fn call_after(spin: &mut Spin, gaps: &[Duration]) {
        gaps.iter().for_each(|gap| spin.end_gap(*gap, true));
    }

    #[test]
    fn a_thread_spins_only_while_calls_follow_each_other_closely() {
        let (mut spin, now) = (spin(1), Instant::now());
        call_after(&mut spin, &[SHORT; 11]);
        assert!(!spin.goes_on(now, Duration::ZERO));
        call_after(&mut spin, &[SHORT]);
        assert!(spin.goes_on(now, Duration::ZERO) && spin.goes_on(now, SHORT));
        // 4 of 16 may be long.
        call_after(&mut spin, &[LONG, SHORT, LONG, LONG, LONG]);
        assert!(spin.goes_on(now, Duration::ZERO));
        call_after(&mut spin, &[LONG]);
        assert!(!spin.goes_on(now, Duration::ZERO) && !spin.is_on());
    }

    #[test]
    fn a_thread_that_spins_in_vain_sleeps_and_the_gap_counts_once() {
        let (mut spin, now) = (spin(1), Instant::now());
        call_after(&mut spin, &[SHORT; 16]);
        for vain in 1..=4 {
            assert!(spin.goes_on(now, Duration::ZERO) && !spin.goes_on(now, TIME));
            call_after(&mut spin, &[LONG]);
            assert_eq!(spin.gaps.count_zeros(), vain);
        }
        assert!(spin.goes_on(now, Duration::ZERO) && !spin.goes_on(now, TIME));
        assert!(!spin.goes_on(now, Duration::ZERO));
    }

    #[test]
    fn only_the_gap_before_a_request_counts() {
        let (mut spin, now) = (spin(1), Instant::now());
        for _ in 0..16 {
            call_after(&mut spin, &[LONG]);
            (0..16).for_each(|_| spin.end_gap(SHORT, false));
            assert!(!spin.goes_on(now, Duration::ZERO));
        }
        // A gap within a request that the thread spun for in vain has its bit, and the gap before the next has another.
        call_after(&mut spin, &[SHORT; 16]);
        assert!(spin.goes_on(now, Duration::ZERO) && !spin.goes_on(now, TIME));
        spin.end_gap(LONG, false);
        call_after(&mut spin, &[LONG]);
        assert_eq!(spin.gaps.count_zeros(), 2);
    }

    #[test]
    fn a_thread_that_lost_its_processor_rests() {
        let (mut spin, now) = (spin(1), Instant::now());
        call_after(&mut spin, &[SHORT; 16]);
        assert!(spin.goes_on(now, Duration::ZERO));
        spin.resume(now, SHORT);
        assert!(spin.goes_on(now, SHORT));
        spin.resume(now, LONG);
        assert!(!spin.goes_on(now, SHORT));
        call_after(&mut spin, &[SHORT]);
        assert!(!spin.goes_on(now + LONG * (REST_SHARE - 1), Duration::ZERO));
        assert!(spin.goes_on(now + LONG * REST_SHARE, Duration::ZERO));
    }

    #[test]
    fn only_some_threads_spin_at_one_time() {
        let (mut first, now) = (spin(1), Instant::now());
        let mut second = Spin::new(first.options.clone());
        for spin in [&mut first, &mut second] {
            call_after(spin, &[SHORT; 16]);
        }
        assert!(first.goes_on(now, Duration::ZERO) && !second.goes_on(now, Duration::ZERO));
        drop(first);
        assert!(second.goes_on(now, Duration::ZERO));
    }

    #[test]
    fn without_a_time_no_thread_spins() {
        let mut spin = Spin::new(SpinOptions::new(Duration::ZERO));
        call_after(&mut spin, &[Duration::ZERO; 16]);
        assert!(!spin.goes_on(Instant::now(), Duration::ZERO));
    }
}

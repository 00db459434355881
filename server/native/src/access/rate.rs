//! Limits of rates, by the generic cell rate algorithm (GCRA).
//!
//! The only state is one time: when all that was taken would be there again. Times are nanoseconds since any
//! fixed moment. The state 0 stands for a limit of which nothing was taken.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So many a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Nanoseconds in which one comes.
    interval_ns: f64,
    /// Nanoseconds in which a whole burst comes.
    burst_ns: f64,
}

impl Rate {
    /// The limit of a rate. Both numbers are above 0.
    pub(crate) fn new(per_second: f64, burst: f64) -> Self {
        Self { interval_ns: 1e9 / per_second, burst_ns: burst * 1e9 / per_second }
    }

    /// Takes `count` at the time `now` if one at least is there, and gives the next state. More than are there
    /// leave a debt, which is waited for.
    ///
    /// # Errors
    /// Nanoseconds after which one will be there, if nobody takes any until then. The state stays.
    #[inline]
    pub(crate) fn take(&self, state: u64, now: u64, count: f64) -> Result<u64, u64> {
        let begin = state.max(now);
        // Parts of nanoseconds are dropped, so that a whole burst is there at once.
        let next_one = begin.saturating_add(self.interval_ns as u64);
        let latest = now.saturating_add(self.burst_ns as u64);
        if next_one > latest {
            return Err(next_one - latest);
        }
        Ok(begin.saturating_add((count * self.interval_ns) as u64))
    }

    /// The state of this rate for that of the rate `before`: as many are taken.
    pub(crate) fn convert(&self, before: &Self, state: u64, now: u64) -> u64 {
        let taken_ns = state.saturating_sub(now) as f64 / before.interval_ns * self.interval_ns;
        if taken_ns > 0.0 { now.saturating_add(taken_ns as u64) } else { state }
    }

    /// Gives `count` back that were taken, and gives the next state.
    pub(crate) fn give_back(&self, state: u64, count: f64) -> u64 {
        state.saturating_sub((count * self.interval_ns) as u64)
    }
}

/// What was taken of a limit, which all threads share without a lock. The rate comes with each call.
#[derive(Default)]
pub(crate) struct Gcra(AtomicU64);

impl Gcra {
    /// Takes `count` at the time `now` if one at least is there; more than are there leave a debt.
    ///
    /// # Errors
    /// Nanoseconds after which one will be there.
    #[inline]
    pub(crate) fn take(&self, rate: &Rate, now: u64, count: f64) -> Result<(), u64> {
        let mut state = self.0.load(Relaxed);
        loop {
            let next = rate.take(state, now, count)?;
            match self.0.compare_exchange_weak(state, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => state = changed,
            }
        }
    }

    /// Has another rate go on with as many taken as `before`.
    pub(crate) fn convert(&self, before: &Rate, rate: &Rate, now: u64) {
        if before != rate {
            let converted = |state| Some(rate.convert(before, state, now));
            let _ = self.0.fetch_update(Relaxed, Relaxed, converted);
        }
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&self, rate: &Rate, count: f64) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |state| Some(rate.give_back(state, count)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::{Duration, Instant};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_taken_at_once_and_the_rest_at_the_rate() {
        let rate = Rate::new(10.0, 5.0);
        let now = 100 * SECOND;
        let burst = (0..5).fold(0, |state, _| rate.take(state, now, 1.0).unwrap());
        assert_eq!(rate.take(burst, now, 1.0), Err(SECOND / 10));
        let next = rate.take(burst, now + SECOND / 10, 1.0).unwrap();
        assert_eq!(rate.take(next, now + SECOND / 10, 1.0), Err(SECOND / 10));
        assert_eq!(rate.take(rate.give_back(next, 1.0), now + SECOND / 10, 1.0), Ok(next));
        assert_eq!(rate.take(next, now + 10 * SECOND, 5.0), Ok(now + 10 * SECOND + SECOND / 2));
    }

    #[test]
    fn the_same_is_taken_as_in_python() {
        let (mut rate, mut state, mut takes) = (Rate::new(1.0, 1.0), 0, 0);
        for line in include_str!("rate_traces.txt").lines() {
            let words: Vec<_> = line.split(' ').collect();
            let whole = |at: usize| words[at].parse::<u64>().unwrap();
            let real = |at: usize| words[at].parse::<f64>().unwrap();
            match words[0] {
                "trace" => (rate, state) = (Rate::new(real(1), real(2)), 0),
                "rate" => {
                    let next = Rate::new(real(2), real(3));
                    state = if next == rate { state } else { next.convert(&rate, state, whole(1)) };
                    rate = next;
                }
                "take" => {
                    let wanted = if words.len() > 4 { Err(whole(3)) } else { Ok(whole(3)) };
                    assert_eq!(rate.take(state, whole(1), real(2)), wanted, "{line}");
                    state = wanted.unwrap_or(state);
                    takes += 1;
                }
                _ => {}
            }
        }
        assert!(takes > 400);
    }

    #[test]
    fn what_is_taken_beyond_the_burst_is_a_debt() {
        let rate = Rate::new(10.0, 5.0);
        let owed = rate.take(0, SECOND, 104.0).unwrap();
        assert_eq!(rate.take(owed, SECOND, 1.0), Err(10 * SECOND));
        assert!(rate.take(owed, 11 * SECOND - 1, 1.0).is_err() && rate.take(owed, 11 * SECOND, 1.0).is_ok());
    }

    #[test]
    fn any_whole_burst_is_there_at_once() {
        for per_second in [0.001, 3.0, 7.0, 1000.0 / 3.0, 999_983.0] {
            for burst in [1, 2, 3, 10, 97] {
                let rate = Rate::new(per_second, f64::from(burst));
                let state = (0..burst).try_fold(0, |state, _| rate.take(state, 77, 1.0));
                assert!(rate.take(state.unwrap(), 77, 1.0).is_err(), "{per_second} {burst}");
            }
        }
    }

    #[test]
    fn no_rate_and_no_count_is_too_large() {
        for (per_second, burst) in [(1e-12, 1.0), (1e-12, 1e12), (1e12, 1e-3), (1.0, 1e300)] {
            let rate = Rate::new(per_second, burst);
            for count in [1.0, f64::from(u32::MAX)] {
                for now in [0, 1 << 63, u64::MAX] {
                    let _ = rate.take(u64::MAX, now, count);
                    let state = rate.take(0, now, count).unwrap_or_default();
                    let _ = rate.take(state, now, count);
                }
            }
        }
    }

    #[test]
    fn threads_together_take_no_more_than_the_rate_allows() {
        const THREADS: usize = 4;
        let (gcra, rate) = (Gcra::default(), Rate::new(10_000.0, 50.0));
        let (begin, start) = (Instant::now(), Barrier::new(THREADS));
        let take = || {
            start.wait();
            let mut taken = 0_u64;
            while begin.elapsed() < Duration::from_millis(100) {
                taken += u64::from(gcra.take(&rate, begin.elapsed().as_nanos() as u64, 1.0).is_ok());
            }
            taken
        };
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let most = 50.0 + 10_000.0 * begin.elapsed().as_secs_f64();
        assert!(taken >= 50 && taken as f64 <= most, "{taken} of {most}");
    }

    #[test]
    fn a_debt_of_threads_is_that_of_all_their_takes() {
        let (gcra, rate) = (Gcra::default(), Rate::new(1000.0, 10_000.0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| gcra.take(&rate, 0, 2.0).unwrap()));
            }
        });
        assert_eq!(gcra.0.load(Relaxed), 8_000_000_000);
        gcra.give_back(&rate, 8000.0);
        assert_eq!(gcra.0.load(Relaxed), 0);
    }

    #[test]
    fn another_rate_goes_on_with_as_many_taken() {
        let (gcra, slow, fast) = (Gcra::default(), Rate::new(0.001, 3.0), Rate::new(10.0, 3.0));
        (0..3).for_each(|_| gcra.take(&slow, 0, 1.0).unwrap());
        gcra.convert(&slow, &fast, 0);
        assert_eq!(gcra.take(&fast, 0, 1.0), Err(100_000_000));
        gcra.convert(&fast, &slow, 100_000_000);
        assert_eq!(gcra.take(&slow, 100_000_000, 1.0), Ok(()));
    }
}

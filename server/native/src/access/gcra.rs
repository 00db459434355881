//! The state of a limit of a rate, which all threads share without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::access::rate::Rate;

/// What was taken of a limit. The rate comes with each call.
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

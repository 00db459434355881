//! Limits of rates, by the generic cell rate algorithm (GCRA).
//!
//! The only state is one time: when all that was taken would be there again. Times are nanoseconds since any
//! fixed moment. The state 0 stands for a limit of which nothing was taken.

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

    /// Takes `count` at the time `now`, and gives the next state.
    ///
    /// # Errors
    /// Nanoseconds after which `count` will be there, if nobody takes any until then. The state stays.
    pub(crate) fn take(&self, state: u64, now: u64, count: f64) -> Result<u64, u64> {
        let next = state.max(now).saturating_add((count * self.interval_ns) as u64);
        let latest = now.saturating_add(self.burst_ns as u64);
        if next > latest { Err(next - latest) } else { Ok(next) }
    }

    /// Gives `count` back that were taken, and gives the next state.
    pub(crate) fn give_back(&self, state: u64, count: f64) -> u64 {
        state.saturating_sub((count * self.interval_ns) as u64)
    }
}

#[cfg(test)]
mod tests {
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
}

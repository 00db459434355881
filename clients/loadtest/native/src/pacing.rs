//! When the calls of an open loop are due.

/// How calls arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arrivals {
    /// At equal intervals.
    Constant,
    /// As from many independent callers: a Poisson process. The seed gives the times.
    Poisson(u64),
}

/// The times at which calls are due: nanoseconds from the start, ascending, without end.
pub(crate) struct Pacing {
    arrivals: Arrivals,
    interval_ns: f64,
    index: u64,
    state: u64,
    passed_ns: f64,
}

impl Pacing {
    /// `rate` is in calls per second.
    pub(crate) fn new(arrivals: Arrivals, rate: f64) -> Self {
        let state = if let Arrivals::Poisson(seed) = arrivals { seed } else { 0 };
        Self { arrivals, interval_ns: 1e9 / rate, index: 0, state, passed_ns: 0.0 }
    }

    /// A random number above 0 and up to 1, by SplitMix64.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// When the next call is due.
    pub(crate) fn next_ns(&mut self) -> u64 {
        match self.arrivals {
            Arrivals::Constant => {
                // From the index, so that rounding errors do not add up.
                let due = self.index as f64 * self.interval_ns;
                self.index += 1;
                due.round() as u64
            }
            Arrivals::Poisson(_) => {
                self.passed_ns -= self.uniform().ln() * self.interval_ns;
                self.passed_ns.round() as u64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_calls_are_due_at_equal_intervals_from_the_start() {
        let mut pacing = Pacing::new(Arrivals::Constant, 3.0);
        let due: Vec<u64> = (0..4).map(|_| pacing.next_ns()).collect();
        assert_eq!(due, [0, 333_333_333, 666_666_667, 1_000_000_000]);
    }

    #[test]
    fn poisson_calls_have_the_rate_and_the_spread_of_a_poisson_process() {
        let times = |seed| {
            let mut pacing = Pacing::new(Arrivals::Poisson(seed), 1_000.0);
            (0..100_000).map(|_| pacing.next_ns()).collect::<Vec<_>>()
        };
        let first = times(7);
        assert!(first == times(7) && first != times(8));
        let gaps: Vec<f64> = first.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let spread = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02 && (spread - 1.0).abs() < 0.05, "{mean} {spread}");
    }
}

//! The schedule of an open loop: which call is due, and whether it is made.

use crate::pacing::Pacing;
use crate::tally::{LATE_NS, Tally};

/// How long after the end of the run a call that was due before the end may still be made.
const GRACE_NS: u64 = 500_000_000;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// No call is due, or there is no room for it.
    Nothing,
    /// A call is not made: the run is over, or its warm-up.
    Skipped,
    /// Make a call, which was due at this time.
    Call(u64),
}

/// See the module.
pub(crate) struct Schedule {
    pacing: Pacing,
    max_outstanding: usize,
    start_ns: u64,
    /// When the next call is due; `None`: no more calls are due.
    due_ns: Option<u64>,
    /// Whether the run is behind schedule because of the server: from a wait for room until it has caught up.
    held: bool,
}

impl Schedule {
    pub(crate) fn new(mut pacing: Pacing, max_outstanding: usize, start_ns: u64) -> Self {
        let due_ns = Some(start_ns.saturating_add(pacing.next_ns()));
        Self { pacing, max_outstanding, start_ns, due_ns, held: false }
    }

    /// Whether no more calls are due.
    pub(crate) fn is_over(&self) -> bool {
        self.due_ns.is_none()
    }

    /// When to ask for the next call.
    pub(crate) fn wake_ns(&self, outstanding: usize) -> u64 {
        self.due_ns.filter(|_| outstanding < self.max_outstanding).unwrap_or(u64::MAX)
    }

    /// What is to be done now. Counts calls that were held or are not made, and the generator's lag.
    pub(crate) fn next(&mut self, now_ns: u64, outstanding: usize, tally: &mut Tally) -> Next {
        let Some(due_ns) = self.due_ns else { return Next::Nothing };
        if due_ns >= tally.end_ns {
            self.due_ns = None;
            return Next::Nothing;
        }
        if due_ns > now_ns {
            self.held = false;
            return Next::Nothing;
        }
        let is_over = now_ns >= tally.end_ns + GRACE_NS;
        if outstanding >= self.max_outstanding && !is_over {
            self.held = true;
            return Next::Nothing;
        }
        self.due_ns = Some(self.start_ns.saturating_add(self.pacing.next_ns()));
        let counts = due_ns >= tally.begin_ns;
        // Calls that the warm-up could not send would add to the load of the measured part.
        if is_over || (!counts && now_ns >= tally.begin_ns) {
            tally.unsent += u64::from(counts);
            return Next::Skipped;
        }
        if self.held {
            tally.held += u64::from(counts);
        } else if counts {
            tally.lag(now_ns - due_ns);
            tally.late += u64::from(now_ns - due_ns > LATE_NS);
        }
        Next::Call(due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacing::Arrivals;

    const MS: u64 = 1_000_000;

    /// A call every millisecond from 0 on, of which those from 2 ms on count, until 6 ms.
    fn schedule() -> (Schedule, Tally) {
        let pacing = Pacing::new(Arrivals::Constant, 1_000.0);
        (Schedule::new(pacing, 2, 0), Tally::new(2 * MS, 6 * MS))
    }

    #[test]
    fn a_call_is_made_when_it_is_due_and_its_lag_counts() {
        let (mut schedule, mut tally) = schedule();
        assert_eq!(schedule.next(0, 0, &mut tally), Next::Call(0));
        assert_eq!((schedule.next(MS - 1, 0, &mut tally), schedule.wake_ns(0)), (Next::Nothing, MS));
        assert_eq!(schedule.next(MS + 5, 0, &mut tally), Next::Call(MS));
        assert!(tally.lags.is_empty());
        assert_eq!(schedule.next(2 * MS + 7_000, 0, &mut tally), Next::Call(2 * MS));
        assert_eq!(tally.lags.buckets(), [(7, 1)]);
    }

    #[test]
    fn a_wait_for_room_is_the_servers_until_the_run_has_caught_up() {
        let (mut schedule, mut tally) = schedule();
        for due in 0..3 {
            assert_eq!(schedule.next(due * MS, 0, &mut tally), Next::Call(due * MS));
        }
        assert_eq!((schedule.next(3 * MS, 2, &mut tally), schedule.wake_ns(2)), (Next::Nothing, u64::MAX));
        assert_eq!(schedule.next(4 * MS, 1, &mut tally), Next::Call(3 * MS));
        assert_eq!(schedule.next(4 * MS, 1, &mut tally), Next::Call(4 * MS));
        assert_eq!((tally.held, tally.lags.buckets()), (2, vec![(0, 1)]));
        assert_eq!(schedule.next(4 * MS, 1, &mut tally), Next::Nothing);
        assert_eq!(schedule.next(5 * MS, 1, &mut tally), Next::Call(5 * MS));
        assert_eq!((tally.held, tally.late, tally.lags.buckets()), (2, 0, vec![(0, 2)]));
        assert_eq!(schedule.next(6 * MS, 1, &mut tally), Next::Nothing);
        assert!(schedule.is_over());
    }

    #[test]
    fn calls_are_late_that_the_generator_sends_late_beside_those_that_were_held() {
        let (mut schedule, mut tally) = schedule();
        for due in 0..2 {
            assert_eq!(schedule.next(due * MS, 0, &mut tally), Next::Call(due * MS));
        }
        assert_eq!(schedule.next(2 * MS, 2, &mut tally), Next::Nothing);
        assert_eq!(schedule.next(2 * MS + 10, 1, &mut tally), Next::Call(2 * MS));
        assert_eq!(schedule.next(2 * MS + 11, 1, &mut tally), Next::Nothing);
        assert_eq!((tally.held, tally.late), (1, 0));
        assert_eq!(schedule.next(4 * MS + 1, 1, &mut tally), Next::Call(3 * MS));
        assert_eq!(schedule.next(4 * MS + 1, 1, &mut tally), Next::Call(4 * MS));
        assert_eq!((tally.held, tally.late), (1, 1));
    }

    #[test]
    fn a_backlog_of_the_warm_up_is_dropped_and_calls_after_the_grace_are_never_sent() {
        let (mut schedule, mut tally) = schedule();
        for _ in 0..2 {
            assert_eq!(schedule.next(2 * MS, 0, &mut tally), Next::Skipped);
        }
        assert_eq!(schedule.next(2 * MS, 0, &mut tally), Next::Call(2 * MS));
        for _ in 3..6 {
            assert_eq!(schedule.next(6 * MS + GRACE_NS, 2, &mut tally), Next::Skipped);
        }
        assert_eq!((tally.unsent, tally.held), (3, 0));
        assert_eq!(schedule.next(6 * MS + GRACE_NS, 2, &mut tally), Next::Nothing);
    }
}

//! What is counted in a run. The rules are those of `scorewire_loadtest.results`.

use std::collections::HashMap;

use crate::histogram::Histogram;
use crate::meter::Reading;
use crate::status::{Failure, code};

/// A call that is sent longer than this after it was due is late.
pub(crate) const LATE_NS: u64 = 1_000_000;
const NS_PER_US: u64 = 1_000;
const NS_PER_SECOND: u64 = 1_000_000_000;
/// The most kinds of errors that are told apart.
const MAX_ERRORS: usize = 1_000;

/// One call that is under way. Times are of `timer::now_ns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The index of the prepared call.
    pub(crate) prepared: usize,
    pub(crate) due_ns: u64,
    /// When it times out.
    pub(crate) deadline_ns: u64,
    /// Who made it: the connection of unary calls, the stream of messages.
    pub(crate) lane: usize,
    /// Whether another connection has refused it, so that it was made again.
    pub(crate) moved: bool,
}

/// One second of the run. Latencies are in microseconds; there are none without answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// The 50th and the 99th percentile, and the largest.
    pub(crate) latency_us: Option<(u64, u64, u64)>,
}

/// The counts of a run.
pub(crate) struct Tally {
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
    /// When the last measured call ended; 0 before that.
    pub(crate) last_ns: u64,
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) rows: u64,
    pub(crate) late: u64,
    pub(crate) held: u64,
    pub(crate) unsent: u64,
    /// Answers that are no message, and what is wrong with them.
    pub(crate) unreadable: HashMap<&'static str, u64>,
    pub(crate) latencies: Histogram,
    pub(crate) lags: Histogram,
    pub(crate) errors: HashMap<(u32, String), (u64, String)>,
    pub(crate) seconds: Vec<Second>,
    second: Second,
    second_latencies: Histogram,
}

/// What was counted in a run, and how the generator was.
pub(crate) struct Totals {
    pub(crate) tally: Tally,
    /// How often each distinct answer came: the call, which answer to it, and the count.
    pub(crate) answers: Vec<(usize, usize, u64)>,
    /// What the thread did in the measured part, and how long that was.
    pub(crate) work: Reading,
    pub(crate) measured_ns: u64,
}

impl Tally {
    pub(crate) fn new(begin_ns: u64, end_ns: u64) -> Self {
        Self {
            begin_ns,
            end_ns,
            last_ns: 0,
            calls: 0,
            answered: 0,
            rows: 0,
            late: 0,
            held: 0,
            unsent: 0,
            unreadable: HashMap::new(),
            latencies: Histogram::default(),
            lags: Histogram::default(),
            errors: HashMap::new(),
            seconds: Vec::new(),
            second: Second::default(),
            second_latencies: Histogram::default(),
        }
    }

    /// Ends the run early. Without a measured part, no call counts.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.begin_ns = self.begin_ns.min(now_ns);
        self.end_ns = self.end_ns.min(now_ns);
    }

    /// Whether a call belongs to the measured part.
    pub(crate) fn counts(&self, call: &Call) -> bool {
        call.due_ns >= self.begin_ns
    }

    /// Adds a call that was answered.
    pub(crate) fn answer(&mut self, call: &Call, rows: u64, done_ns: u64) {
        if self.counts(call) {
            self.end(call, done_ns, true);
            self.answered += 1;
            self.rows += rows;
            self.second.answered += 1;
        }
    }

    /// Adds a call that failed.
    pub(crate) fn fail(&mut self, call: &Call, failure: Failure, done_ns: u64) {
        if self.counts(call) {
            self.end(call, done_ns, failure.code == code::DEADLINE_EXCEEDED);
            self.second.failed += 1;
            let Failure { code, reason, message } = failure;
            let key = (code, reason);
            let key = if self.errors.len() < MAX_ERRORS || self.errors.contains_key(&key) {
                key
            } else {
                (code, String::new())
            };
            self.errors.entry(key).or_insert((0, message)).0 += 1;
        }
    }

    fn end(&mut self, call: &Call, done_ns: u64, has_latency: bool) {
        self.calls += 1;
        self.last_ns = self.last_ns.max(done_ns);
        let second = done_ns.saturating_sub(self.begin_ns) / NS_PER_SECOND;
        while self.second.second < second {
            self.close_second();
        }
        if has_latency {
            let latency_us = done_ns.saturating_sub(call.due_ns) / NS_PER_US;
            self.latencies.record(latency_us);
            self.second_latencies.record(latency_us);
        }
    }

    /// Adds one measurement of the generator's lag.
    pub(crate) fn lag(&mut self, lag_ns: u64) {
        self.lags.record(lag_ns / NS_PER_US);
    }

    /// Ends the last second.
    pub(crate) fn finish(&mut self) {
        if self.second.answered + self.second.failed > 0 {
            self.close_second();
        }
    }

    fn close_second(&mut self) {
        let latencies = &mut self.second_latencies;
        if !latencies.is_empty() {
            let quantiles = (latencies.quantile(0.5), latencies.quantile(0.99), latencies.max());
            self.second.latency_us = Some(quantiles);
            latencies.clear();
        }
        self.seconds.push(self.second);
        self.second = Second { second: self.second.second + 1, ..Second::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(due_ns: u64) -> Call {
        Call { prepared: 0, due_ns, deadline_ns: u64::MAX, lane: 0, moved: false }
    }

    #[test]
    fn calls_of_the_warm_up_do_not_count() {
        let mut tally = Tally::new(1_000, 2_000);
        tally.answer(&call(999), 5, 3_000);
        tally.fail(&call(0), Failure::new(14, "gone"), 3_000);
        assert_eq!((tally.calls, tally.answered, tally.rows, tally.last_ns), (0, 0, 0, 0));
        tally.answer(&call(1_000), 5, 3_000);
        assert_eq!((tally.calls, tally.answered, tally.rows, tally.last_ns), (1, 1, 5, 3_000));
    }

    #[test]
    fn a_run_that_is_stopped_in_its_warm_up_measures_nothing() {
        let mut tally = Tally::new(1_000, 2_000);
        tally.stop(1_500);
        assert_eq!((tally.begin_ns, tally.end_ns), (1_000, 1_500));
        tally.stop(700);
        tally.stop(800);
        assert_eq!((tally.begin_ns, tally.end_ns), (700, 700));
        assert!(!tally.counts(&call(699)));
    }

    #[test]
    fn latency_counts_from_when_a_call_was_due_and_of_answers_and_timeouts_alone() {
        let mut tally = Tally::new(0, NS_PER_SECOND);
        tally.answer(&call(0), 1, 2_000_000);
        tally.fail(&call(0), Failure::new(code::DEADLINE_EXCEEDED, ""), 9_000_000);
        tally.fail(&call(0), Failure::new(code::UNAVAILABLE, ""), 1_000);
        assert_eq!(tally.latencies.buckets(), [(2_000, 1), (9_000, 1)]);
        assert_eq!(tally.calls, 3);
    }

    #[test]
    fn every_second_is_told_even_a_silent_one() {
        let mut tally = Tally::new(0, 4 * NS_PER_SECOND);
        tally.answer(&call(0), 1, 100_000);
        tally.answer(&call(0), 1, 300_000);
        tally.answer(&call(2 * NS_PER_SECOND), 1, 2 * NS_PER_SECOND + 50_000);
        tally.fail(&call(3 * NS_PER_SECOND), Failure::new(13, ""), 3 * NS_PER_SECOND);
        tally.finish();
        let told: Vec<_> = tally.seconds.iter().map(|second| (second.answered, second.failed)).collect();
        assert_eq!(told, [(2, 0), (0, 0), (1, 0), (0, 1)]);
        assert_eq!(tally.seconds[0].latency_us, Some((100, 300, 300)));
        assert_eq!(tally.seconds[1].latency_us, None);
    }

    #[test]
    fn errors_are_counted_by_status_and_reason_up_to_a_bound() {
        let mut tally = Tally::new(0, 1);
        for number in 0..2 * MAX_ERRORS {
            let failure = Failure { code: 3, reason: number.to_string(), message: String::new() };
            tally.fail(&call(0), failure, 1);
        }
        assert_eq!(tally.errors.len(), MAX_ERRORS + 1);
        assert_eq!(tally.errors[&(3, String::new())].0, MAX_ERRORS as u64);
    }
}

//! The observer that makes the statistics.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::bridge::question::Problem;
use crate::encodings::message::{Scores, nanoseconds};
use crate::predict::observer::{Observation, Observer, ScoreError};
use crate::predict::outcome::Tally;
use crate::statistics::{Bounds, MethodCounts, RouteCounts};

/// Counts messages by version and route when they are scored, and calls by version and method when they end.
pub(crate) struct Counting {
    pub bounds: Bounds,
    /// For each worker the calls for which no version was found.
    pub unrouted: Box<[MethodCounts]>,
}

impl Counting {
    /// Counts a call, or a message of a stream, that has ended. `failed` is the reason why it has no answer.
    #[inline]
    pub(crate) fn end(
        &self,
        worker: usize,
        method: usize,
        tally: &Tally,
        duration_ns: u64,
        failed: Option<u32>,
    ) {
        let counts = match tally {
            Tally::Version(counts) => &counts.calls,
            Tally::Unrouted => &self.unrouted[worker],
            Tally::ControlPlane => return,
        };
        counts.0[method].end(&self.bounds, duration_ns, failed);
    }
}

impl Observer for Counting {
    #[inline]
    fn observe(&self, observation: &Observation<'_>) {
        let Observation { worker, scores, target, encoded, result, .. } = *observation;
        if matches!(result, Err(ScoreError::Question(Problem::Row(_)))) {
            return;
        }
        let answered = result.is_ok();
        if answered {
            count_scores(&target.counts[worker], scores, encoded);
        }
        let (counts, times) = (&target.version.counts[worker], &scores.times);
        counts.rows.fetch_add(scores.row_count() as u64, Relaxed);
        for error in scores.errors {
            counts.row_errors[error.reason()].fetch_add(1, Relaxed);
        }
        counts.decode.add(&self.bounds, nanoseconds(times.begin, times.decoded));
        counts.run.add(&self.bounds, times.run_ns());
        if let Some(rows) = scores.explained {
            counts.explained_rows.fetch_add(scores.row_count() as u64, Relaxed);
            counts.explain.add(&self.bounds, rows.explained.ns);
        }
        if answered {
            counts.encode.add(&self.bounds, nanoseconds(times.run.end, encoded));
        }
    }
}

/// Counts a message on its route, with its latency until `end`.
pub(crate) fn count_scores(counts: &RouteCounts, scores: &Scores<'_>, end: Instant) {
    counts.calls.fetch_add(1, Relaxed);
    counts.rows.fetch_add(scores.row_count() as u64, Relaxed);
    for error in scores.errors {
        counts.row_errors[error.reason()].fetch_add(1, Relaxed);
    }
    scores.for_each_score(|value| counts.scores.add(value));
    counts.latency.add(nanoseconds(scores.times.begin, end) as f64 / 1e9);
}

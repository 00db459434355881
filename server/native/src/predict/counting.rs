//! The observer that makes the statistics.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::bridge::question::Problem;
use crate::encodings::message::{Scores, nanoseconds};
use crate::predict::observer::{Observation, Observer, ScoreError};
use crate::statistics::{Bounds, CallCounts, RouteCounts};

/// Counts messages by method, version and route.
pub(crate) struct Counting {
    pub bounds: Bounds,
    /// For each worker what it answered, by method.
    pub calls: Box<[CallCounts]>,
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
        if answered {
            counts.encode.add(&self.bounds, nanoseconds(times.run.end, encoded));
            self.calls[worker].answer(observation.call.method.index);
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

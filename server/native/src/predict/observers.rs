//! All observers of answered messages, put together.

use std::sync::Arc;

use crate::encodings::message::Scores;
use crate::predict::call::Call;
use crate::predict::counting::Counting;
use crate::predict::observer::{Observation, Observer};
use crate::predict::recording::Recording;
use crate::predict::shadow::ShadowLane;
use crate::predict::ticket::Ticket;
use crate::routing::source::RecordedSource;

/// All observers, in the order in which they are told.
pub(crate) struct Observers {
    pub counting: Counting,
    pub shadow: ShadowLane,
    /// `None`: predictions are not recorded.
    pub recording: Option<Arc<Recording>>,
}

impl Observers {
    /// The ticket of a prediction that is to be recorded, taken before its answer is written.
    #[inline]
    pub(crate) fn ticket(
        &self,
        worker: usize,
        source: &RecordedSource,
        call: &Call,
        scores: &Scores<'_>,
        shadowed: bool,
    ) -> Option<Ticket<'_>> {
        self.recording.as_ref()?.ticket(worker, source, call, scores, shadowed)
    }
}

impl Observer for Observers {
    #[inline]
    fn observe(&self, observation: &Observation<'_>) {
        self.counting.observe(observation);
        self.shadow.observe(observation);
        if let Some(recording) = &self.recording {
            recording.observe(observation);
        }
        if let Some(trace) = &observation.call.trace {
            let encoded = observation.result.is_ok().then_some(observation.encoded);
            trace.scored(observation.scores, encoded);
        }
    }
}

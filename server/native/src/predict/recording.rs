//! The observer that records predictions: it copies each into the ring of the thread that answers.
//!
//! Before an answer is encoded, `ticket` decides whether the prediction is recorded, so that the answer can name
//! the record by the writer's next sequence number. The number is taken when the record is written: a message
//! that has no answer in the end leaves no gap.

use std::sync::Arc;

use scorewire_spool::{Head, Lane, Recorder};

use crate::encodings::message::Scores;
use crate::predict::call::Call;
use crate::predict::columns::{Columns, Scored, bytes};
use crate::predict::observer::{Observation, Observer};
use crate::predict::ticket::{ALWAYS, Original, Ticket, Writer};
use crate::protocol::reasons::ROW_REASONS;
use crate::routing::source::{Choice, RecordedSource};

/// The rows of a large call are cut into parts of about this size, or of this part of the ring.
const PART_BYTES: usize = 256 << 10;
const PART_OF_RING: usize = 4;

/// What threads need to record.
pub(crate) struct Recording {
    recorder: Arc<Recorder>,
    writers: Box<[Writer]>,
    /// The number of each reason for which a row is refused.
    reasons: [u16; ROW_REASONS],
    part_bytes: usize,
}

impl Recording {
    /// `start` is the UUID of the recorder's start, and `shared` the writer that several threads use.
    pub(crate) fn new(
        recorder: Arc<Recorder>,
        start: [u8; 16],
        writers: usize,
        shared: usize,
        ring_bytes: usize,
        reasons: [u16; ROW_REASONS],
    ) -> Self {
        let writer = |number: usize| Writer::new(start, number as u16, number == shared);
        let part_bytes = PART_BYTES.min(ring_bytes / PART_OF_RING);
        Self { recorder, writers: (0..writers).map(writer).collect(), reasons, part_bytes }
    }

    /// How many writers there are: one for each worker, one for what Python answers, and one for the copies that
    /// a shadow scores there.
    pub(crate) fn writers(workers: usize) -> usize {
        workers + 2
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The ticket of a prediction of a worker; `None` where the policy leaves the prediction out.
    #[inline]
    pub(crate) fn ticket(
        &self,
        worker: usize,
        source: &RecordedSource,
        call: &Call,
        scores: &Scores<'_>,
        shadowed: bool,
    ) -> Option<Ticket<'_>> {
        let key = call.routing_key(&scores.decoded.request, scores.data);
        match source.sampling.choose(key, !scores.errors.is_empty(), shadowed) {
            Choice::Left => None,
            Choice::Sampled => Some(self.take(worker, source, 0)),
            Choice::Always => Some(self.take(worker, source, ALWAYS)),
        }
    }

    #[inline]
    fn take(&self, worker: usize, source: &RecordedSource, flags: u16) -> Ticket<'_> {
        Ticket::take(self.recorder.lane(worker), &self.writers[worker], source.defined.number(), flags)
    }

    /// Counts a prediction that the policy leaves out.
    fn leave_out(&self, worker: usize, rows: usize) {
        let _turn = self.writers[worker].turn();
        self.recorder.lane(worker).sampled_out(rows as u32);
    }

    /// Records the prediction of a shadow if the prediction that was copied is recorded.
    pub(crate) fn record_shadow(
        &self,
        worker: usize,
        source: &RecordedSource,
        original: Option<Original>,
        call: &Call,
        scores: &Scores<'_>,
    ) {
        match original {
            Some(original) => {
                self.record(&self.take(worker, source, original.flags), Some(original), call, scores);
            }
            None => self.leave_out(worker, scores.row_count()),
        }
    }

    /// Copies a prediction into the ring of its ticket.
    fn record(&self, ticket: &Ticket<'_>, original: Option<Original>, call: &Call, scores: &Scores<'_>) {
        let Ticket { lane, source, flags, .. } = *ticket;
        let rows = scores.decoded.request.row_count;
        let head = |first_row, row_count| Head {
            source,
            at: scores.times.begin,
            server_us: scores.times.server_us(),
            model_us: scores.times.model_us(),
            flags,
            first_row,
            row_count,
            original: original.map(|original| (original.writer, original.sequence)),
            caller: call.peer.host.as_bytes(),
            principal: call.principal_name().as_bytes(),
            routing_key: call.routing_key(&scores.decoded.request, scores.data).as_bytes(),
        };
        put(lane, rows as usize, head, &Scored::new(scores, &self.reasons), self.part_bytes);
    }

    /// The writers of what Python answers, and of the copies that a shadow scores there.
    pub(crate) fn python_writers(&self) -> [usize; 2] {
        [self.writers.len() - 2, self.writers.len() - 1]
    }

    /// The lane of one of Python's writers; `None` where the writer is another thread's.
    pub(crate) fn python_lane(&self, writer: usize) -> Option<&Lane> {
        self.python_writers().contains(&writer).then(|| self.recorder.lane(writer))
    }

    /// Records rows that Python scored with one of its writers.
    pub(crate) fn record_python(&self, lane: &Lane, head: Head<'_>, columns: &impl Columns) {
        let part = |first_row, row_count| Head { first_row, row_count, ..head };
        put(lane, head.row_count as usize, part, columns, self.part_bytes);
    }
}

/// Copies a prediction into a lane's ring, in parts if it is large: all of them or none.
fn put<'a>(
    lane: &Lane,
    rows: usize,
    head: impl Fn(u32, u32) -> Head<'a>,
    columns: &impl Columns,
    part_bytes: usize,
) {
    let whole = columns.sizes(0..rows);
    let parts = bytes(&whole).div_ceil(part_bytes).max(1);
    if parts == 1 {
        lane.record(&head(0, rows as u32), &whole, |filler| columns.fill(0..rows, filler));
        return;
    }
    let Some(mut recording) = lane.begin(rows as u32) else { return };
    for first in (0..rows).step_by(rows.div_ceil(parts)) {
        let part = first..(first + rows.div_ceil(parts)).min(rows);
        let head = head(first as u32, part.len() as u32);
        if !recording.part(&head, &columns.sizes(part.clone()), |filler| columns.fill(part, filler)) {
            return;
        }
    }
    recording.commit();
}

impl Observer for Recording {
    /// Records a prediction that has an answer.
    #[inline]
    fn observe(&self, observation: &Observation<'_>) {
        let Observation { worker, call, target, scores, ticket, result, .. } = *observation;
        if result.is_err() {
            return;
        }
        match ticket {
            Some(ticket) => self.record(ticket, None, call, scores),
            None if target.source.is_some() => self.leave_out(worker, scores.row_count()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! What becomes of a message.
//!
//! Most messages are answered, or fail, at once. The others are `Pending`: they wait for another thread, for
//! the control plane, or for a bundle that is still being loaded. Resolving a pending message gives another
//! outcome, which may be pending again: a batch may be scored and then need the words of a failure.

use std::sync::Arc;

use bytes::Bytes;

use crate::bridge::question::Question;
use crate::encodings::message::{Decoded, MessageId, Times};
use crate::predict::budget::Permit;
use crate::predict::call::Call;
use crate::protocol::status::RpcError;
use crate::routing::snapshot::{Route, Snapshot};
use crate::rows::runner::RunTimes;
use crate::statistics::{RouteShards, VersionCounts};

/// What was predicted for a message: its id, its outcome, and where its end is counted.
pub(crate) struct Predicted {
    pub id: MessageId,
    pub tally: Tally,
    pub outcome: Outcome,
}

/// Where the end of a message is counted.
pub(crate) enum Tally {
    /// With the calls for which no version was found.
    Unrouted,
    /// With the version that was picked, on this thread.
    Version(Arc<VersionCounts>),
    /// In the control plane, which answers the message.
    ControlPlane,
}

/// What becomes of a message.
pub(crate) enum Outcome {
    /// The answer, as a framed message.
    Answered(Vec<u8>),
    Failed(RpcError),
    Pending(Pending),
}

/// What a message waits for.
pub(crate) enum Pending {
    /// The control plane has to word the failure.
    Question(Box<PendingQuestion>),
    /// A thread for large batches has to score the rows.
    Batch(Box<Batch>),
    /// The control plane has to answer the message, which counts there, too.
    Forward(Box<Forwarded>),
    /// The model may still be loaded.
    Route(Bytes),
}

/// What the control plane is asked, and what the call holds meanwhile.
pub(crate) struct PendingQuestion {
    pub question: Box<Question>,
    pub snapshot: Arc<Snapshot>,
    /// Where the failure is counted, once it has a reason.
    pub counts: Option<Arc<RouteShards>>,
    pub permit: Permit,
}

/// A message that the control plane answers, and what the call holds meanwhile.
pub(crate) struct Forwarded {
    /// The path under which the control plane answers it.
    pub path: &'static str,
    pub message: Bytes,
    pub permits: [Permit; 2],
}

/// Rows that wait for a thread.
pub(crate) struct Batch {
    pub message: Bytes,
    pub decoded: Decoded,
    pub snapshot: Arc<Snapshot>,
    pub route: Arc<Route>,
    /// The index of the route's target that was picked.
    pub picked: usize,
    pub call: Call,
    pub read: ReadTimes,
    /// What the rows are expected to cost.
    pub cost_ns: u64,
    pub in_flight: Permit,
}

/// When a message was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTimes {
    pub begin: std::time::Instant,
    pub end: std::time::Instant,
}

impl ReadTimes {
    /// These times and those of the run.
    pub(crate) fn with(self, run: RunTimes) -> Times {
        Times { begin: self.begin, decoded: self.end, run }
    }
}

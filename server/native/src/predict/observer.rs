//! Observers: what is told of each message that was scored. Statistics, shadows and records stand here.
//!
//! An observer is called on the thread that scored the message, between its answer being written and being
//! sent, so it must not wait. All observers are known at compile time: telling them costs no dynamic
//! dispatch. A new observer is a file with an `impl Observer`, and a field and a line in `observers`.

use std::time::Instant;

use bytes::Bytes;

use crate::bridge::question::Problem;
use crate::encodings::message::Scores;
use crate::predict::call::Call;
use crate::predict::ticket::Ticket;
use crate::protocol::status::RpcError;
use crate::routing::snapshot::{Route, Target};

/// A message whose rows were examined and, unless its only row was refused, scored.
pub(crate) struct Observation<'a> {
    /// The index of the thread.
    pub worker: usize,
    pub call: &'a Call,
    pub message: &'a Bytes,
    pub route: &'a Route,
    /// The version that answers, and what it counts on this route.
    pub target: &'a Target,
    pub scores: &'a Scores<'a>,
    /// Whether the message is among those that are copied to the route's shadow.
    pub shadowed: bool,
    /// The record that the answer names; `None` where the prediction is not recorded.
    pub ticket: Option<&'a Ticket<'a>>,
    /// When the answer was written.
    pub encoded: Instant,
    /// The answer, or why there is none: the only row is refused, or the answer is longer than allowed.
    pub result: &'a Result<Vec<u8>, ScoreError>,
}

/// Why a message that was read has no answer.
pub(crate) enum ScoreError {
    /// The call fails with this error.
    Rpc(RpcError),
    /// The control plane has to word what is wrong.
    Question(Problem),
    /// The control plane has to answer the message, under this path.
    Forward(&'static str),
}

/// Something that is told of every message that was scored.
pub(crate) trait Observer {
    fn observe(&self, observation: &Observation<'_>);
}

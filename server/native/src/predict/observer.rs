//! The one place where an answered message is told: the seam for statistics, shadows and records.
//!
//! An observer is called on the thread that scored the message, between its answer being written and being
//! sent, so it must not wait. All observers are known at compile time: telling them costs no dynamic
//! dispatch. A new observer is a file with an `impl Observer`, and a field and a line in `observers`.

use std::time::Instant;

use bytes::Bytes;

use crate::encodings::message::Scores;
use crate::predict::call::Call;
use crate::routing::snapshot::{Route, Target};

/// How the scoring of a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    /// The only row is refused, and the call fails with the row's error.
    RowRefused,
    /// The answer is longer than allowed, and the call fails.
    TooLong,
    /// The same, where the control plane answers once more.
    Forwarded,
}

/// A message whose rows were examined and, unless its only row was refused, scored.
pub(crate) struct Observation<'a> {
    /// The index of the thread.
    pub worker: usize,
    pub call: &'a Call<'a>,
    pub message: &'a Bytes,
    pub route: &'a Route,
    /// The version that answers, and what it counts on this route.
    pub target: &'a Target,
    pub scores: &'a Scores<'a>,
    /// When the answer was written.
    pub encoded: Instant,
    pub ending: Ending,
}

/// Who is told of messages that were scored.
pub(crate) trait Observer {
    fn observe(&self, observation: &Observation<'_>);
}

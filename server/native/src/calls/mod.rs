//! Calls: how they begin, are admitted, and get from their messages to their answers.

pub(crate) mod compression;
pub(crate) mod dispatch;
pub(crate) mod forward;
pub(crate) mod request_messages;
pub(crate) mod resolve;
pub(crate) mod stream;
pub(crate) mod unary;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::bridge::events::Events;
use crate::calls::request_messages::CallError;
use crate::encodings::message::nanoseconds;
use crate::predict::call::Call;
use crate::predict::outcome::Tally;
use crate::predict::pipeline::Predictor;
use crate::predict::pool::Pool;
use crate::protocol::status::{self, FixedErrors, RpcError};
use crate::transport::grpc::{DeliveryError, Responder};

/// What the calls on one thread need.
pub(crate) struct Worker {
    pub index: usize,
    pub predictor: Arc<Predictor>,
    pub pool: Arc<Pool>,
    pub events: Arc<Events>,
    /// The paths that the control plane answers.
    pub control: Arc<HashSet<String>>,
    /// Age at which a stream is ended.
    pub max_stream: Option<Duration>,
}

impl Worker {
    /// The errors that are always the same.
    fn errors(&self) -> &FixedErrors {
        &self.predictor.scorer.errors
    }

    /// Counts a call, or a message of a stream, as answered, or as failed for a reason. It lasted `from` the
    /// time at which it was received `to` that at which its answer is sent.
    #[inline]
    fn count(&self, call: &Call, tally: &Tally, (from, to): (Instant, Instant), failed: Option<u32>) {
        let counting = &self.predictor.scorer.observers.counting;
        counting.end(self.index, call.method.index, tally, nanoseconds(from, to), failed);
        if let Some(trace) = &call.trace {
            let code = failed.map_or(status::OK, |_| status::INTERNAL);
            trace.end(to, code, failed.unwrap_or_default());
        }
    }

    /// Ends a unary call with an error of the contract's, and counts it.
    fn fail(&self, call: &Call, tally: &Tally, error: &RpcError, responder: Responder) {
        self.count(call, tally, (call.received, Instant::now()), Some(error.reason));
        responder.finish(Some(error));
    }

    /// Ends a prediction call whose request was cut, or whose caller cannot be answered. A failure of the
    /// transport is not counted: it has no reason of the contract's.
    fn end(&self, call: &Call, tally: &Tally, error: CallError, responder: Responder) {
        trace_end(call, &error, self.errors().expired.reason);
        match error {
            CallError::Delivery(DeliveryError::Reset) => {}
            CallError::Delivery(DeliveryError::Expired) => {
                self.fail(call, tally, &self.errors().expired, responder);
            }
            CallError::Delivery(DeliveryError::Full) => responder.finish(Some(&RpcError::full())),
            CallError::Failed(error) => responder.finish(Some(&error)),
        }
    }
}

/// Ends the trace of a call, if it is traced, with the error that ends the call.
fn trace_end(call: &Call, error: &CallError, expired: u32) {
    let Some(trace) = &call.trace else { return };
    let (code, reason) = match error {
        CallError::Delivery(DeliveryError::Reset) => (status::CANCELLED, 0),
        CallError::Delivery(DeliveryError::Expired) => (status::DEADLINE_EXCEEDED, expired),
        CallError::Delivery(DeliveryError::Full) => (status::RESOURCE_EXHAUSTED, 0),
        CallError::Failed(error) => (error.code, error.reason),
    };
    trace.end(Instant::now(), code, reason);
}

/// Sends as fast as the caller takes it, within its deadline.
async fn send(
    responder: &mut Responder,
    deadline: Option<Instant>,
    bytes: Bytes,
) -> Result<(), DeliveryError> {
    match deadline {
        None => responder.send(bytes).await,
        Some(deadline) => {
            let sent = tokio::time::timeout_at(deadline.into(), responder.send(bytes)).await;
            sent.unwrap_or(Err(DeliveryError::Expired))
        }
    }
}

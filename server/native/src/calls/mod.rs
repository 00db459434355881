//! Calls: how they begin, are admitted, and get from their messages to their answers.

pub(crate) mod compression;
pub(crate) mod dispatch;
pub(crate) mod forward;
pub(crate) mod request_messages;
pub(crate) mod resolve;
pub(crate) mod stream;
mod typed_paths;
pub(crate) mod unary;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::access::credential_error::CredentialError;
use crate::access::gate::Gate;
use crate::access::grant::Grant;
use crate::access::principal::{OpenCall, Principal};
use crate::bridge::events::Events;
use crate::calls::request_messages::CallError;
use crate::encodings::message::nanoseconds;
use crate::predict::call::Call;
use crate::predict::outcome::Tally;
use crate::predict::pipeline::Predictor;
use crate::predict::pool::Pool;
use crate::protocol::status::{self, FixedErrors, RpcError};
use crate::transport::context::Peer;
use crate::transport::grpc::{DeliveryError, Responder};

/// What the calls on one thread need.
pub(crate) struct Worker {
    pub index: usize,
    pub predictor: Arc<Predictor>,
    pub pool: Arc<Pool>,
    pub events: Arc<Events>,
    /// The paths that the control plane answers.
    pub control: Arc<HashSet<String>>,
    /// Finds out who calls. `None`: everybody may call.
    pub gate: Option<Arc<Gate>>,
    /// Age at which a stream is ended.
    pub max_stream: Option<Duration>,
}

impl Worker {
    /// The errors that are always the same.
    fn errors(&self) -> &FixedErrors {
        &self.predictor.scorer.errors
    }

    /// The error of a call that is refused for its credential, or of a stream that ends for it. Counts it.
    fn refusal(&self, gate: &Gate, cause: CredentialError) -> RpcError {
        gate.refusals.add(cause);
        let errors = self.errors();
        if cause == CredentialError::Busy {
            errors.too_many_in_flight.clone()
        } else {
            errors.unauthenticated.clone()
        }
    }

    /// Whether the credential of a call is still valid, as far as is known.
    fn is_granted(&self, call: &Call, now: Instant) -> bool {
        let grant = self.gate.as_ref().zip(call.grant.as_ref());
        grant.is_none_or(|(gate, grant)| gate.holds(grant, now))
    }

    /// Waits until a grant is to be renewed; never without one.
    async fn until_stale(&self, grant: Option<&Grant>) {
        match self.gate.as_ref().zip(grant) {
            Some((gate, grant)) => gate.until_stale(grant).await,
            None => std::future::pending().await,
        }
    }

    /// Makes sure that the credential of a call that goes on is valid, and gives it the rights and limits that
    /// its principal has now.
    ///
    /// # Errors
    /// `RpcError`: the credential is not valid any more.
    async fn renew(&self, grant: &mut Option<Arc<Grant>>, peer: &Arc<Peer>) -> Result<(), RpcError> {
        if let Some((gate, grant)) = self.gate.as_ref().zip(grant.as_mut()) {
            *grant = gate.renew(grant, peer).await.map_err(|cause| self.refusal(gate, cause))?;
        }
        Ok(())
    }

    /// Counts a call as open, where its principal has a limit of open calls.
    ///
    /// # Errors
    /// `RpcError`: as many are open as may be.
    fn open(&self, principal: Option<&Principal>) -> Result<OpenCall, RpcError> {
        let Some(principal) = principal else { return Ok(OpenCall::default()) };
        principal.open(self.index).map_err(|wait| self.errors().caller_limit.with_retry(wait))
    }

    /// Takes a control call from the limits of its principal. Predictions are taken message by message.
    ///
    /// # Errors
    /// `RpcError`: there is none left, or as many are open as may be.
    fn take_control(&self, principal: Option<&Principal>) -> Result<OpenCall, RpcError> {
        let open = self.open(principal)?;
        if let Some(principal) = principal {
            let now = Instant::now();
            principal.charge_call(self.index, now, 0);
            let taken = principal.take_call(self.index, now);
            taken.map_err(|wait| self.errors().caller_limit.with_retry(wait))?;
        }
        Ok(open)
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

//! From what becomes of a message to its answer: the waiting that scoring itself never does.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::calls::compression::compress;
use crate::calls::request_messages::CallError;
use crate::calls::{Worker, forward};
use crate::encodings::message::MessageId;
use crate::encodings::methods::Method;
use crate::predict::call::Call;
use crate::predict::outcome::{Batch, Outcome, Pending, PendingQuestion, Predicted, Tally};
use crate::predict::pipeline::Predictor;
use crate::protocol::status::RpcError;
use crate::transport::grpc::{DeliveryError, Responder};

/// Answers messages that came together as far as this thread can, the first of them at least; a panic is a
/// fault of the server.
pub(crate) fn predict(worker: &Worker, messages: &[(&Bytes, &Call)]) -> Vec<Predicted> {
    predict_again(worker, messages, false)
}

/// Like `predict`, for a message that was given to `predict` before and has waited for its model, where `again`.
fn predict_again(worker: &Worker, messages: &[(&Bytes, &Call)], again: bool) -> Vec<Predicted> {
    let predictor = &worker.predictor;
    match catch_unwind(AssertUnwindSafe(|| predictor.predict(worker.index, messages, again))) {
        Ok(predicted) => predicted,
        // Only the call that is to blame fails with it. The others are taken from limits twice.
        Err(_) if messages.len() > 1 => predict_again(worker, &messages[..1], again),
        Err(panic) => {
            let outcome = panicked(predictor, messages[0].1.method, &*panic);
            vec![Predicted { id: MessageId::default(), tally: Tally::Unrouted, outcome }]
        }
    }
}

fn panicked(predictor: &Predictor, method: &Method, panic: &(dyn Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    Outcome::Failed(predictor.scorer.fault(method.name, text))
}

/// Waits for what a message needs until it has an answer, compressed as the caller wants it, or an error that
/// is not counted yet. `tally` becomes where the end of the message is counted.
///
/// # Errors
/// `CallError`: the whole call ends; the caller cannot be answered, or the control plane says so.
pub(crate) async fn resolve(
    worker: &Worker,
    call: &Call,
    compressed: bool,
    mut outcome: Outcome,
    tally: &mut Tally,
    responder: &mut Responder,
) -> Result<Result<Vec<u8>, RpcError>, CallError> {
    let deadline = call.deadline;
    loop {
        let pending = match outcome {
            Outcome::Answered(answer) => {
                let principal = call.principal();
                return Ok(Ok(compress(worker, principal, deadline, compressed, answer, responder).await?));
            }
            Outcome::Failed(error) => return Ok(Err(error)),
            Outcome::Pending(pending) => pending,
        };
        outcome = match pending {
            Pending::Route(message) => {
                let predicted = route_later(worker, call, &message, responder).await?;
                *tally = predicted.tally;
                predicted.outcome
            }
            Pending::Batch(_) if responder.is_full() => return Err(RpcError::full().into()),
            Pending::Batch(batch) => {
                responder.wait_for(deadline, score_batch(worker, call.method, *batch)).await?
            }
            Pending::Question(pending) => {
                Outcome::Failed(responder.wait_for(deadline, explain(worker, *pending)).await?)
            }
            Pending::Forward(forwarded) => {
                *tally = Tally::ControlPlane;
                let answered =
                    responder.wait_for(deadline, forward::forward(worker, call, *forwarded)).await?;
                Outcome::Answered(answered?)
            }
        };
    }
}

/// What becomes of a message once the bundles are loaded, or its model is there.
async fn route_later(
    worker: &Worker,
    call: &Call,
    message: &Bytes,
    responder: &mut Responder,
) -> Result<Predicted, DeliveryError> {
    loop {
        let changed = worker.predictor.loading.changed();
        // A single message has a single prediction.
        for predicted in predict_again(worker, &[(message, call)], true) {
            if !matches!(predicted.outcome, Outcome::Pending(Pending::Route(_))) {
                return Ok(predicted);
            }
        }
        responder.wait_for(call.deadline, changed).await?;
    }
}

/// Asks the control plane for the words of a failure, and counts it on its route.
async fn explain(worker: &Worker, pending: PendingQuestion) -> RpcError {
    let PendingQuestion { question, snapshot, counts, permit: _permit } = pending;
    let words = worker.events.ask(snapshot.origin.clone(), question).await;
    let error = words.unwrap_or_else(|| worker.errors().draining.clone());
    if let Some(counts) = counts {
        counts[worker.index].fail(error.reason);
    }
    error
}

/// Scores in a thread, unless the caller has gone before its turn comes.
async fn score_batch(worker: &Worker, method: &'static Method, batch: Batch) -> Outcome {
    let (sender, scored) = oneshot::channel();
    let predictor = Arc::clone(&worker.predictor);
    let (call, cost_ns) = (batch.call.clone(), batch.cost_ns);
    worker.pool.run_at_cost(call.principal(), cost_ns, move || {
        if sender.is_closed() {
            return;
        }
        let score = AssertUnwindSafe(|| predictor.score_batch(batch));
        let outcome = catch_unwind(score).unwrap_or_else(|panic| panicked(&predictor, method, &*panic));
        let _ = sender.send(outcome);
    });
    scored.await.unwrap_or_else(|_| Outcome::Failed(worker.errors().draining.clone()))
}

//! Unary predictions.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::task::spawn_local;

use crate::calls::Worker;
use crate::calls::request_messages::{CallError, RequestMessages};
use crate::calls::resolve::{self, resolve};
use crate::predict::call::Call;
use crate::predict::outcome::{Outcome, Predicted, Tally};
use crate::transport::grpc::Responder;
use crate::transport::messages::Message;

/// A unary prediction whose message is here.
pub(crate) type Unary = (Message, Call, Responder);

/// Begins a call; gives it back where its message is here already.
pub(crate) fn begin(
    worker: &Arc<Worker>,
    call: Call,
    mut messages: RequestMessages,
    responder: Responder,
    cx: &mut Context<'_>,
) -> Option<Unary> {
    match messages.poll_only(&worker.pool, cx) {
        Poll::Ready(Ok(message)) => return Some((message, call, responder)),
        Poll::Ready(Err(error)) => worker.end(&call, &Tally::Unrouted, error, responder),
        Poll::Pending => drop(spawn_local(wait(Arc::clone(worker), call, messages, responder))),
    }
    None
}

/// Waits for the message of a call, and answers it.
async fn wait(worker: Arc<Worker>, mut call: Call, mut messages: RequestMessages, mut responder: Responder) {
    let message = std::future::poll_fn(|cx| messages.poll_only(&worker.pool, cx));
    let read = responder.wait_for(call.deadline, message).await;
    let mut read = read.map_err(CallError::Delivery).and_then(|read| read);
    // The message of a call may come long after its credential.
    if read.is_ok() && !worker.is_granted(&call, Instant::now()) {
        let renewed = worker.renew(&mut call.grant, &call.peer);
        match responder.wait_for(call.deadline, renewed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return worker.fail(&call, &Tally::Unrouted, &error, responder),
            Err(error) => read = Err(error.into()),
        }
    }
    match read {
        Ok(message) => answer(&worker, &mut vec![(message, call, responder)]),
        Err(error) => worker.end(&call, &Tally::Unrouted, error, responder),
    }
}

/// Takes calls whose messages are here, and answers them.
pub(crate) fn answer(worker: &Arc<Worker>, calls: &mut Vec<Unary>) {
    while !calls.is_empty() {
        let messages: Vec<(&Bytes, &Call)> =
            calls.iter().map(|(message, call, _)| (&message.bytes, call)).collect();
        let predicted = resolve::predict(worker, &messages);
        let now = Instant::now();
        let answered = calls.drain(..predicted.len());
        for (predicted, call) in predicted.into_iter().zip(answered) {
            finish(worker, call, predicted, now);
        }
    }
}

/// Ends a call that has an answer `now`, or has failed; otherwise waits for what it needs, and then ends it.
fn finish(worker: &Arc<Worker>, unary: Unary, predicted: Predicted, now: Instant) {
    let (message, call, mut responder) = unary;
    let Predicted { mut tally, outcome, .. } = predicted;
    match outcome {
        Outcome::Answered(answer) if !message.compressed => {
            worker.count(&call, &tally, (call.received, now), None);
            responder.answer(answer);
        }
        Outcome::Failed(error) => worker.fail(&call, &tally, &error, responder),
        outcome => {
            let worker = Arc::clone(worker);
            drop(spawn_local(async move {
                // Until then the message is held.
                match resolve(&worker, &call, message.compressed, outcome, &mut tally, &mut responder).await {
                    Ok(Ok(answer)) => {
                        worker.count(&call, &tally, (call.received, Instant::now()), None);
                        responder.answer(answer);
                    }
                    Ok(Err(error)) => worker.fail(&call, &tally, &error, responder),
                    Err(error) => worker.end(&call, &tally, error, responder),
                }
            }));
        }
    }
}

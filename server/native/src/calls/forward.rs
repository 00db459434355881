//! Calls, and single messages of predictions, that the control plane answers.

use std::sync::Arc;

use tokio::task::spawn_local;

use crate::access::grant::Grant;
use crate::access::principal::OpenCall;
use crate::bridge::events::{Command, Refusal};
use crate::calls::compression::compress;
use crate::calls::request_messages::{CallError, RequestMessages};
use crate::calls::{Worker, send};
use crate::predict::call::Call;
use crate::predict::outcome::Forwarded;
use crate::protocol::framing::frame;
use crate::protocol::status::{self, RpcError};
use crate::protocol::trace_context::OpenSpan;
use crate::transport::context::OwnedContext;
use crate::transport::grpc::{DeliveryError, Responder};
use crate::transport::messages::Message;

/// Begins a call of the control plane's, of whom the grant says, and which counts as open until it ends.
pub(crate) fn begin(
    worker: &Arc<Worker>,
    context: OwnedContext,
    (grant, open): (Option<Arc<Grant>>, OpenCall),
    messages: RequestMessages,
    responder: Responder,
) {
    let worker = Arc::clone(worker);
    let streams = worker.gate.as_ref().is_some_and(|gate| gate.paths.streams.contains(&context.path));
    drop(spawn_local(async move {
        let _open = open;
        run(&worker, context, (grant, streams), messages, responder).await;
    }));
}

/// Hands a call to the control plane, and carries what it says. A call ends with its credential: a stream at any
/// time, a unary call until its request has ended. What a unary call may do is decided then.
async fn run(
    worker: &Worker,
    context: OwnedContext,
    (mut grant, streams): (Option<Arc<Grant>>, bool),
    mut messages: RequestMessages,
    mut responder: Responder,
) {
    let (deadline, peer) = (context.deadline, Arc::clone(&context.peer));
    let (path, principal) = (context.path.clone(), context.principal.clone());
    let mut call = worker.events.open(context);
    let ended: Result<Option<RpcError>, CallError> = async {
        let (mut wanted, mut compressed) = (false, false);
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    () = worker.until_stale(grant.as_deref()) => Next::Renew,
                    command = call.next() => Next::Command(command),
                    message = std::future::poll_fn(|cx| messages.poll_message(&worker.pool, cx)), if wanted => {
                        Next::Message(message)
                    }
                }
            };
            let command = match responder.wait_for(deadline, next).await? {
                Next::Command(command) => command,
                Next::Renew => {
                    let mut renewed = responder.wait_for(deadline, worker.renew(&mut grant, &peer)).await?;
                    if grant.as_ref().map(|grant| &grant.principal.name) != principal.as_ref() {
                        // The control plane was told who calls when the call began.
                        renewed = renewed.and(Err(worker.errors().unauthenticated.clone()));
                    }
                    if let (Err(_), Some(gate)) = (&renewed, &worker.gate) {
                        gate.tell(&path, &peer, None, Refusal::Unauthenticated);
                    }
                    renewed?;
                    continue;
                }
                Next::Message(message) => {
                    let message = message?;
                    compressed = message.as_ref().map_or(compressed, |message| message.compressed);
                    grant = grant.filter(|_| streams || message.is_some());
                    call.deliver(message.map(|message| message.bytes));
                    wanted = false;
                    continue;
                }
            };
            match command {
                Some(Command::Want) => wanted = true,
                Some(Command::Send(data)) => {
                    let answer = frame(&data);
                    let message = compress(worker, None, deadline, compressed, answer, &mut responder).await?;
                    send(&mut responder, deadline, message.into()).await?;
                }
                Some(Command::Finish(failed)) => return Ok(failed),
                None => return Ok(Some(worker.errors().draining.clone())),
            }
        }
    }
    .await;
    end(ended, responder);
}

/// What goes on with a call of the control plane's.
enum Next {
    Command(Option<Command>),
    Message(Result<Option<Message>, CallError>),
    /// Whether the caller may go on has to be found out.
    Renew,
}

/// Ends a call of the control plane's.
pub(crate) fn end(ended: Result<Option<RpcError>, CallError>, responder: Responder) {
    match ended {
        Ok(failed) => responder.finish(failed.as_ref()),
        Err(CallError::Delivery(DeliveryError::Reset)) => {}
        Err(CallError::Delivery(DeliveryError::Full)) => responder.finish(Some(&RpcError::full())),
        Err(CallError::Delivery(DeliveryError::Expired)) => {
            let error = RpcError::plain(status::DEADLINE_EXCEEDED, "Deadline Exceeded");
            responder.finish(Some(&error));
        }
        Err(CallError::Failed(error)) => responder.finish(Some(&error)),
    }
}

/// Has the control plane answer one message of a prediction, in a control call of its own.
///
/// # Errors
/// `RpcError`: the control plane ends the call with this error, and has counted it.
pub(crate) async fn forward(worker: &Worker, call: &Call, forwarded: Forwarded) -> Result<Vec<u8>, RpcError> {
    let Forwarded { path, message, permits: _permits } = forwarded;
    // The call was admitted with its metadata, which is not kept.
    let (path, metadata, peer) = (path.to_owned(), Box::default(), Arc::clone(&call.peer));
    let Call { received, deadline, .. } = *call;
    let span = call.trace.clone().map(|trace| trace as Arc<dyn OpenSpan>);
    let principal = call.grant.as_ref().map(|grant| Arc::clone(&grant.principal.name));
    let context = OwnedContext { path, metadata, peer, received, deadline, span, principal };
    let mut control = worker.events.open(context);
    let (mut message, mut answer) = (Some(message), None);
    loop {
        match control.next().await {
            Some(Command::Want) => control.deliver(message.take()),
            Some(Command::Send(data)) => answer = Some(frame(&data)),
            Some(Command::Finish(None)) => {
                let fault =
                    || worker.predictor.scorer.fault(call.method.name, "the control plane gave no answer");
                return answer.ok_or_else(fault);
            }
            Some(Command::Finish(Some(error))) => return Err(error),
            None => return Err(worker.errors().draining.clone()),
        }
    }
}

//! Streams of predictions: one answer for each message, in order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_local;

use crate::calls::request_messages::{CallError, MessageBatch, RequestMessages};
use crate::calls::resolve::{self, resolve};
use crate::calls::{Worker, send, trace_end};
use crate::encodings::message::MessageId;
use crate::encodings::methods::Method;
use crate::predict::call::Call;
use crate::predict::outcome::{Outcome, Predicted, Tally};
use crate::predict::pipeline::Predictor;
use crate::protocol::status::{self, RpcError};
use crate::transport::grpc::{DeliveryError, Responder};
use crate::transport::messages::Message;

/// Answers of a stream that are ready together are sent together, up to this many bytes.
const FLUSH_BYTES: usize = 1 << 15;

/// Counts a stream as open as long as it lives.
struct OpenStream<'a>(&'a Predictor);

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// Begins a stream. Its deadline is the caller's, or the age at which streams are ended.
pub(crate) fn begin(worker: &Arc<Worker>, mut call: Call, messages: RequestMessages, responder: Responder) {
    let end = worker.max_stream.and_then(|age| call.received.checked_add(age));
    call.deadline = call.deadline.into_iter().chain(end).min();
    let worker = Arc::clone(worker);
    drop(spawn_local(async move { run(&worker, call, messages, responder).await }));
}

async fn run(worker: &Worker, mut call: Call, mut messages: RequestMessages, responder: Responder) {
    worker.predictor.streams.fetch_add(1, Relaxed);
    let _open = OpenStream(&worker.predictor);
    let (method, deadline) = (call.method, call.deadline);
    let mut answers = Answers { worker, method, deadline, responder, unsent: BytesMut::new() };
    let ended = answer(&mut answers, &mut call, &mut messages).await;
    end(worker, &call, ended, answers.responder);
}

/// Ends a stream.
fn end(worker: &Worker, call: &Call, ended: Result<(), CallError>, responder: Responder) {
    match ended {
        Ok(()) => {
            if let Some(trace) = &call.trace {
                trace.end(Instant::now(), status::OK, 0);
            }
            responder.finish(None);
        }
        Err(error @ CallError::Delivery(DeliveryError::Expired)) => {
            trace_end(call, &error, worker.errors().expired.reason);
            responder.finish(Some(&worker.errors().expired));
        }
        Err(error) => worker.end(call, &Tally::Unrouted, error, responder),
    }
}

/// Answers message after message, as long as the caller's credential is valid.
async fn answer(
    answers: &mut Answers<'_>,
    call: &mut Call,
    messages: &mut RequestMessages,
) -> Result<(), CallError> {
    let worker = answers.worker;
    loop {
        let here = std::future::poll_fn(|cx| Poll::Ready(messages.poll_together(&worker.pool, cx))).await;
        let MessageBatch { messages: batch, end } = match here {
            Poll::Ready(read) => read,
            Poll::Pending => {
                // Nothing more is here: what was answered goes out before the next is waited for.
                answers.flush().await?;
                let next = async {
                    tokio::select! {
                        biased;
                        here = std::future::poll_fn(|cx| messages.poll_together(&worker.pool, cx)) => Some(here),
                        () = worker.until_stale(call.grant.as_deref()) => None,
                    }
                };
                match answers.responder.wait_for(call.deadline, next).await? {
                    Some(read) => read,
                    None => {
                        answers.renew(call).await?;
                        continue;
                    }
                }
            }
        };
        let taken = Instant::now();
        if !worker.is_granted(call, taken) {
            answers.renew(call).await?;
        }
        let call = &*call;
        // A message of a traced stream has a call of its own, with a span of its own.
        let traced: Vec<Call> = match &call.trace {
            None => Vec::new(),
            Some(trace) => {
                batch.iter().map(|_| Call { trace: trace.message(taken), ..call.clone() }).collect()
            }
        };
        let calls = (0..batch.len()).map(|at| traced.get(at).unwrap_or(call));
        let bytes: Vec<(&Bytes, &Call)> =
            batch.iter().zip(calls).map(|(message, call)| (&message.bytes, call)).collect();
        let mut first = 0;
        while first < batch.len() {
            for predicted in resolve::predict(worker, &bytes[first..]) {
                answers.add(&batch[first], bytes[first].1, predicted, taken).await?;
                first += 1;
            }
        }
        if let Some(end) = end {
            answers.flush().await?;
            return end;
        }
        if answers.unsent.len() >= FLUSH_BYTES {
            answers.flush().await?;
            // Other calls of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }
}

/// The answers of a stream.
struct Answers<'a> {
    worker: &'a Worker,
    method: &'static Method,
    deadline: Option<Instant>,
    responder: Responder,
    unsent: BytesMut,
}

impl Answers<'_> {
    /// Adds the answer to one message, which was `taken` up at this time, to those that are to be sent.
    ///
    /// # Errors
    /// `CallError`: the stream ends; its caller cannot be answered, or the protocol has no answer that says
    /// why this message failed.
    async fn add(
        &mut self,
        message: &Message,
        call: &Call,
        predicted: Predicted,
        taken: Instant,
    ) -> Result<(), CallError> {
        let worker = self.worker;
        let Predicted { id, mut tally, outcome } = predicted;
        let answered = match outcome {
            Outcome::Answered(answer) if !message.compressed => Ok(answer),
            Outcome::Failed(error) => Err(error),
            outcome => {
                self.flush().await?;
                let (compressed, responder) = (message.compressed, &mut self.responder);
                let resolved = resolve(worker, call, compressed, outcome, &mut tally, responder).await;
                if let Err(CallError::Delivery(DeliveryError::Expired)) = resolved {
                    let expired = Some(worker.errors().expired.reason);
                    worker.count(call, &tally, (taken, Instant::now()), expired);
                }
                if let Err(error) = &resolved {
                    trace_end(call, error, worker.errors().expired.reason);
                }
                resolved?
            }
        };
        let failed = answered.as_ref().err().map(|error| error.reason);
        worker.count(call, &tally, (taken, Instant::now()), failed);
        match answered {
            Ok(answer) => self.unsent.extend_from_slice(&answer),
            Err(error) => self.add_error(message, id, error).await?,
        }
        Ok(())
    }

    async fn add_error(
        &mut self,
        message: &Message,
        id: MessageId,
        error: RpcError,
    ) -> Result<(), CallError> {
        match self.method.encoding.encode_error(id, &message.bytes, &error) {
            Some(answer) => self.unsent.extend_from_slice(&answer),
            None => {
                self.flush().await?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Finds out whether the caller's credential is still valid.
    ///
    /// # Errors
    /// `CallError`: it is not, or the caller has gone.
    async fn renew(&mut self, call: &mut Call) -> Result<(), CallError> {
        let renewed = self.worker.renew(&mut call.grant, &call.peer);
        Ok(self.responder.wait_for(self.deadline, renewed).await??)
    }

    async fn flush(&mut self) -> Result<(), DeliveryError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = self.unsent.split().freeze();
        send(&mut self.responder, self.deadline, unsent).await
    }
}

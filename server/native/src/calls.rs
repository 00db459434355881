//! Calls, one function for each kind: unary predictions, streams of them, control calls.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::answer::{self, HEAD};
use crate::connection;
use crate::control::{Command, Events, Opening};
use crate::failure::{self, Failure};
use crate::grpc::{self, Inbox, Lost, Reply};
use crate::headers::Head;
use crate::link::Body;
use crate::pool::Pool;
use crate::predict::{Asked, Call, Job, Predictor, Step};
use crate::statistics::Method;
use crate::typed;

const PREDICT: &str = "/scorewire.v1.PredictionService/Predict";
const PREDICT_STREAM: &str = "/scorewire.v1.PredictionService/PredictStream";
const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
/// By which typed calls name what their rows do not.
const VERSION: &str = "scorewire-version";
const ROUTING_KEY: &str = "scorewire-routing-key";
/// Answers of a stream that are ready together are sent together, up to this many bytes.
const FLUSH_BYTES: usize = 1 << 15;

/// What the calls on one thread need.
pub struct Worker {
    pub index: usize,
    pub predictor: Arc<Predictor>,
    pub pool: Arc<Pool>,
    pub events: Arc<Events>,
    /// The paths that the control plane answers.
    pub control: Arc<HashSet<String>>,
}

/// Why reading a request ended.
enum Cut {
    Lost(Lost),
    Failed(Failure),
}

impl From<Lost> for Cut {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<Failure> for Cut {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Begins a call. Predictions whose message is here already are answered at once; the rest goes
/// on in a task.
pub fn begin(worker: &Arc<Worker>, call: connection::Call<'_>, cx: &mut Context<'_>) {
    let connection::Call { head: headers, body, answer, received } = call;
    let reply = Reply::new(answer);
    if headers.is_overlong() {
        return reply.refuse("431");
    }
    if headers.get(":method") != Some(b"POST") {
        return reply.refuse("405");
    }
    if !grpc::is_grpc(headers) {
        return reply.refuse("415");
    }
    let path = text(headers.get(":path"));
    let found = match path {
        PREDICT => Some((Method::Predict, None)),
        PREDICT_STREAM => Some((Method::PredictStream, None)),
        MODEL_INFER => Some((Method::ModelInfer, None)),
        MODEL_STREAM_INFER => Some((Method::ModelStreamInfer, None)),
        path if worker.control.contains(path) => None,
        path => {
            let Some(found) = typed_method(worker, path, headers) else {
                return reply.finish(Some(&Failure::plain(failure::UNIMPLEMENTED, "Method not found!")));
            };
            Some(found)
        }
    };
    if let Some(failure) = grpc::refuse_encoding(headers) {
        return reply.finish(Some(&failure));
    }
    let deadline = deadline(headers, received);
    let incoming = Incoming { body, inbox: Inbox::new(worker.predictor.limits.max_message_bytes) };
    let Some((method, typed)) = found else {
        let opening = Opening::new(path, deadline);
        let worker = Arc::clone(worker);
        drop(spawn_local(async move { control(&worker, opening, deadline, incoming, reply).await }));
        return;
    };
    let predictor = &worker.predictor;
    if predictor.draining.load(Relaxed) {
        predictor.refused.fetch_add(1, Relaxed);
        return reply.finish(Some(&predictor.fixed.draining));
    }
    let call = Call { method, deadline, typed };
    if method.streams() {
        let worker = Arc::clone(worker);
        drop(spawn_local(async move { stream(&worker, &call, incoming, reply).await }));
    } else {
        unary_now(worker, call, incoming, reply, cx);
    }
}

/// The typed method of a path, and whom its rows are for.
fn typed_method(
    worker: &Worker,
    path: &str,
    headers: Head<'_>,
) -> Option<(Method, Option<Arc<typed::Asked>>)> {
    let snapshot = worker.predictor.snapshot.load();
    let (method, service) = snapshot.method(path)?;
    let told = |name: &str| text(headers.last(name)).to_owned();
    let (version, routing_key) = (told(VERSION), told(ROUTING_KEY));
    Some((*method, Some(Arc::new(typed::Asked { service: Arc::clone(service), version, routing_key }))))
}

/// A header as text; "" where it is none.
fn text(value: Option<&[u8]>) -> &str {
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

fn deadline(headers: Head<'_>, received: Instant) -> Option<Instant> {
    // A time beyond what the clock can say is no deadline.
    grpc::timeout(headers).and_then(|timeout| received.checked_add(timeout))
}

/// The messages of a request.
struct Incoming {
    body: Body,
    inbox: Inbox,
}

impl Incoming {
    /// The next message; None at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Cut>> {
        loop {
            if let Some(message) = self.inbox.next_message()? {
                return Poll::Ready(Ok(Some(message)));
            }
            match self.body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => return Poll::Ready(self.end()),
                Poll::Ready(Err(gone)) => return Poll::Ready(Err(Cut::Lost(gone.into()))),
                Poll::Ready(Ok(Some(chunk))) => self.inbox.push(chunk),
            }
        }
    }

    fn end(&self) -> Result<Option<Bytes>, Cut> {
        if self.inbox.is_empty() {
            Ok(None)
        } else {
            Err(Failure::plain(failure::INTERNAL, "the last message is cut off").into())
        }
    }

    /// The one message of a unary call.
    fn poll_only(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Cut>> {
        let missing = || Failure::plain(failure::UNIMPLEMENTED, "a unary call has one message").into();
        self.poll_message(cx).map(|read| read.and_then(|message| message.ok_or_else(missing)))
    }
}

/// Answers a unary prediction now if its message is here, in a task if not.
fn unary_now(
    worker: &Arc<Worker>,
    call: Call,
    mut incoming: Incoming,
    mut reply: Reply,
    cx: &mut Context<'_>,
) {
    match incoming.poll_only(cx) {
        Poll::Ready(read) => unary(worker, &call, read, reply),
        Poll::Pending => {
            let worker = Arc::clone(worker);
            drop(spawn_local(async move {
                let message = std::future::poll_fn(|cx| incoming.poll_only(cx));
                let read = reply.attend(call.deadline, message).await;
                unary(&worker, &call, read.map_err(Cut::Lost).and_then(|read| read), reply);
            }));
        }
    }
}

fn unary(worker: &Arc<Worker>, call: &Call, read: Result<Bytes, Cut>, mut reply: Reply) {
    let message = match read {
        Ok(message) => message,
        Err(cut) => return end(worker, call.method, cut, reply),
    };
    match step(worker, &message, call).1 {
        Step::Answer(answer) => reply.answer(answer),
        Step::Failed(failure) => fail(worker, call.method, &failure, reply),
        step => {
            let (worker, call) = (Arc::clone(worker), call.clone());
            drop(spawn_local(async move {
                match settle(&worker, &call, step, &mut reply).await {
                    Ok(Settled::Answer(answer) | Settled::Told(answer, _)) => reply.answer(answer),
                    Ok(Settled::Failed(failure)) => fail(&worker, call.method, &failure, reply),
                    Ok(Settled::Counted(failure)) => reply.finish(Some(&failure)),
                    Err(lost) => end(&worker, call.method, lost.into(), reply),
                }
            }));
        }
    }
}

/// Ends a call whose request was cut.
fn end(worker: &Worker, method: Method, cut: Cut, reply: Reply) {
    match cut {
        Cut::Lost(Lost::Reset) => {}
        Cut::Lost(Lost::Expired) => fail(worker, method, &worker.predictor.fixed.expired, reply),
        Cut::Failed(failure) => reply.finish(Some(&failure)),
    }
}

/// Ends a call with a failure of the contract's, and counts it.
fn fail(worker: &Worker, method: Method, failure: &Failure, reply: Reply) {
    worker.predictor.counts[worker.index].fail(method, failure.reason);
    reply.finish(Some(failure));
}

/// Answers a message as far as this thread can; a panic is a fault of the server.
fn step(worker: &Worker, message: &Bytes, call: &Call) -> (u64, Step) {
    let predictor = &worker.predictor;
    catch_unwind(AssertUnwindSafe(|| predictor.step(worker.index, message, call)))
        .unwrap_or_else(|panic| (0, panicked(predictor, call.method, &*panic)))
}

fn panicked(predictor: &Predictor, method: Method, panic: &(dyn std::any::Any + Send)) -> Step {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    predictor.events.fault(method, text);
    Step::Failed(predictor.fixed.internal.clone())
}

/// What came of a message in the end.
enum Settled {
    Answer(Vec<u8>),
    Failed(Failure),
    /// A failure that the control plane has counted.
    Counted(Failure),
    /// As `Step::Told`.
    Told(Vec<u8>, u32),
}

/// Waits for what a step needs: a thread for large batches, the words of a failure, or both.
async fn settle(worker: &Worker, call: &Call, step: Step, reply: &mut Reply) -> Result<Settled, Lost> {
    let step = match step {
        Step::Later(job) => reply.attend(call.deadline, score(worker, call.method, *job)).await?,
        step => step,
    };
    Ok(match step {
        Step::Answer(answer) => Settled::Answer(answer),
        Step::Told(answer, reason) => Settled::Told(answer, reason),
        Step::Failed(failure) => Settled::Failed(failure),
        Step::Asked(asked) => Settled::Failed(reply.attend(call.deadline, explain(worker, *asked)).await?),
        Step::Elsewhere(message) => {
            match reply.attend(call.deadline, elsewhere(worker, call, message)).await? {
                Ok(answer) => Settled::Answer(answer),
                Err(failure) => Settled::Counted(failure),
            }
        }
        Step::Later(_) => Settled::Failed(worker.predictor.fixed.internal.clone()),
    })
}

/// Has the control plane answer one message, in a control call of its own.
async fn elsewhere(worker: &Worker, call: &Call, message: Bytes) -> Result<Vec<u8>, Failure> {
    let path = if call.method.streams() { MODEL_STREAM_INFER } else { MODEL_INFER };
    let mut asked = worker.events.open(Opening::new(path, call.deadline));
    let (mut message, mut answer) = (Some(message), None);
    loop {
        match asked.next().await {
            Some(Command::Want) => asked.deliver(message.take()),
            Some(Command::Send(data)) => {
                let mut framed = answer::headed(data.len());
                framed.extend_from_slice(&data);
                answer = Some(framed);
            }
            Some(Command::Finish(None)) => {
                return answer.ok_or_else(|| worker.predictor.fixed.internal.clone());
            }
            Some(Command::Finish(Some(failure))) => return Err(failure),
            None => return Err(worker.predictor.fixed.draining.clone()),
        }
    }
}

async fn explain(worker: &Worker, asked: Asked) -> Failure {
    let Asked { question, snapshot, counts, in_flight: _in_flight } = asked;
    let words = worker.events.ask(snapshot.origin.clone(), question).await;
    let failure = words.unwrap_or_else(|| worker.predictor.fixed.draining.clone());
    if let Some(counts) = counts {
        counts[worker.index].fail(failure.reason);
    }
    failure
}

/// Scores in a thread, unless the caller has gone before its turn comes.
async fn score(worker: &Worker, method: Method, job: Job) -> Step {
    let (sender, scored) = oneshot::channel();
    let predictor = Arc::clone(&worker.predictor);
    worker.pool.run(move || {
        if sender.is_closed() {
            return;
        }
        let finish = AssertUnwindSafe(|| predictor.finish(job).1);
        let step = catch_unwind(finish).unwrap_or_else(|panic| panicked(&predictor, method, &*panic));
        let _ = sender.send(step);
    });
    scored.await.unwrap_or_else(|_| Step::Failed(worker.predictor.fixed.draining.clone()))
}

/// Counts a stream as open as long as it lives.
struct Open<'a>(&'a Predictor);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// Answers a stream, message after message.
async fn stream(worker: &Arc<Worker>, call: &Call, mut incoming: Incoming, mut reply: Reply) {
    worker.predictor.streams.fetch_add(1, Relaxed);
    let _open = Open(&worker.predictor);
    match answer_stream(worker, call, &mut incoming, &mut reply).await {
        Ok(()) => reply.finish(None),
        Err(Cut::Lost(Lost::Expired)) => reply.finish(Some(&worker.predictor.fixed.expired)),
        Err(cut) => end(worker, call.method, cut, reply),
    }
}

async fn answer_stream(
    worker: &Arc<Worker>,
    call: &Call,
    incoming: &mut Incoming,
    reply: &mut Reply,
) -> Result<(), Cut> {
    let mut answers = BytesMut::new();
    loop {
        let read = std::future::poll_fn(|cx| Poll::Ready(incoming.poll_message(cx))).await;
        let read = match read {
            Poll::Ready(read) => read,
            Poll::Pending => {
                // Nothing more is here: what was answered goes out before the next is waited for.
                flush(call, reply, &mut answers).await?;
                let message = std::future::poll_fn(|cx| incoming.poll_message(cx));
                reply.attend(call.deadline, message).await?
            }
        };
        let message = match read {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(flush(call, reply, &mut answers).await?),
            Err(cut) => {
                flush(call, reply, &mut answers).await?;
                return Err(cut);
            }
        };
        let (correlation_id, step) = step(worker, &message, call);
        let settled = match step {
            Step::Answer(answer) => Settled::Answer(answer),
            Step::Failed(failure) => Settled::Failed(failure),
            step => {
                flush(call, reply, &mut answers).await?;
                settle(worker, call, step, reply).await?
            }
        };
        let count = |reason| worker.predictor.counts[worker.index].fail(call.method, reason);
        match settled {
            Settled::Answer(answer) => answers.extend_from_slice(&answer),
            Settled::Told(answer, reason) => {
                count(reason);
                answers.extend_from_slice(&answer);
            }
            Settled::Failed(failure) if call.method == Method::PredictStream => {
                count(failure.reason);
                answers.extend_from_slice(&answer::encode_stream_error(correlation_id, &failure.status));
            }
            // Other streams have no words for failures, and end.
            Settled::Failed(failure) => {
                count(failure.reason);
                flush(call, reply, &mut answers).await?;
                return Err(failure.into());
            }
            Settled::Counted(failure) => {
                flush(call, reply, &mut answers).await?;
                return Err(failure.into());
            }
        }
        if answers.len() >= FLUSH_BYTES {
            flush(call, reply, &mut answers).await?;
            // Other calls of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }
}

async fn flush(call: &Call, reply: &mut Reply, answers: &mut BytesMut) -> Result<(), Lost> {
    if answers.is_empty() {
        return Ok(());
    }
    send(reply, call.deadline, answers.split().freeze()).await
}

/// Sends as fast as the caller takes it, within its deadline.
async fn send(reply: &mut Reply, deadline: Option<Instant>, bytes: Bytes) -> Result<(), Lost> {
    match deadline {
        None => reply.send(bytes).await,
        Some(deadline) => {
            let sent = tokio::time::timeout_at(deadline.into(), reply.send(bytes)).await;
            sent.unwrap_or(Err(Lost::Expired))
        }
    }
}

/// Hands a call to the control plane, and carries what it says.
async fn control(
    worker: &Worker,
    opening: Opening,
    deadline: Option<Instant>,
    mut incoming: Incoming,
    mut reply: Reply,
) {
    let mut call = worker.events.open(opening);
    let ended: Result<Option<Failure>, Cut> = async {
        let mut wanted = false;
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    command = call.next() => Ok(command),
                    message = std::future::poll_fn(|cx| incoming.poll_message(cx)), if wanted => Err(message),
                }
            };
            let command = match reply.attend(deadline, next).await? {
                Ok(command) => command,
                Err(message) => {
                    call.deliver(message?);
                    wanted = false;
                    continue;
                }
            };
            match command {
                Some(Command::Want) => wanted = true,
                Some(Command::Send(data)) => {
                    let mut message = BytesMut::with_capacity(HEAD + data.len());
                    message.extend_from_slice(&[0]);
                    message.extend_from_slice(&(data.len() as u32).to_be_bytes());
                    message.extend_from_slice(&data);
                    send(&mut reply, deadline, message.freeze()).await?;
                }
                Some(Command::Finish(failed)) => return Ok(failed),
                None => return Ok(Some(worker.predictor.fixed.draining.clone())),
            }
        }
    }
    .await;
    match ended {
        Ok(failed) => reply.finish(failed.as_ref()),
        Err(Cut::Lost(Lost::Reset)) => {}
        Err(Cut::Lost(Lost::Expired)) => {
            reply.finish(Some(&Failure::plain(failure::DEADLINE_EXCEEDED, "Deadline Exceeded")));
        }
        Err(Cut::Failed(failure)) => reply.finish(Some(&failure)),
    }
}

//! Calls, one function for each kind: unary predictions, streams of them, control calls.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Method as HttpMethod, Request, StatusCode};
use tokio::sync::oneshot;

use crate::control::{Command, Events};
use crate::failure::{self, Failure};
use crate::grpc::{self, Inbox, Lost, Reply};
use crate::pool::Pool;
use crate::predict::{self, Call, HEAD, InFlight, Job, Predictor, Question, Step};
use crate::snapshot::Snapshot;
use crate::statistics::Method;

const PREDICT: &str = "/scorewire.v1.PredictionService/Predict";
const PREDICT_STREAM: &str = "/scorewire.v1.PredictionService/PredictStream";
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
pub fn begin(
    worker: &Arc<Worker>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    received: Instant,
    cx: &mut Context<'_>,
) {
    let (parts, body) = request.into_parts();
    let reply = Reply::new(respond);
    if parts.method != HttpMethod::POST {
        return reply.refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !grpc::is_grpc(&parts.headers) {
        return reply.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let path = parts.uri.path();
    let method = match path {
        PREDICT => Some(Method::Predict),
        PREDICT_STREAM => Some(Method::PredictStream),
        path if worker.control.contains(path) => None,
        _ => return reply.finish(Some(&Failure::plain(failure::UNIMPLEMENTED, "Method not found!"))),
    };
    if let Some(failure) = grpc::refuse_encoding(&parts.headers) {
        return reply.finish(Some(&failure));
    }
    let deadline = deadline(&parts.headers, received);
    let incoming = Incoming { body, inbox: Inbox::new(worker.predictor.limits.max_message_bytes) };
    let Some(method) = method else {
        let (worker, path) = (Arc::clone(worker), path.to_owned());
        drop(tokio::spawn(async move { control(&worker, &path, deadline, incoming, reply).await }));
        return;
    };
    let predictor = &worker.predictor;
    if predictor.draining.load(Relaxed) {
        predictor.refused.fetch_add(1, Relaxed);
        return reply.finish(Some(&predictor.fixed.draining));
    }
    let call = Call { method, deadline };
    match method {
        Method::Predict => unary_now(worker, call, incoming, reply, cx),
        Method::PredictStream => {
            let worker = Arc::clone(worker);
            drop(tokio::spawn(async move { stream(&worker, call, incoming, reply).await }));
        }
    }
}

fn deadline(headers: &HeaderMap, received: Instant) -> Option<Instant> {
    // A time beyond what the clock can say is no deadline.
    grpc::timeout(headers).and_then(|timeout| received.checked_add(timeout))
}

/// The messages of a request.
struct Incoming {
    body: RecvStream,
    inbox: Inbox,
}

impl Incoming {
    /// The next message; None at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Cut>> {
        loop {
            if let Some(message) = self.inbox.next_message()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if self.body.is_end_stream() {
                return Poll::Ready(self.end());
            }
            match self.body.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(self.end()),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Cut::Lost(Lost::Reset))),
                Poll::Ready(Some(Ok(chunk))) => {
                    // What is taken out of the transport makes room for more.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    self.inbox.push(chunk);
                }
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
        Poll::Ready(read) => unary(worker, call, read, reply),
        Poll::Pending => {
            let worker = Arc::clone(worker);
            drop(tokio::spawn(async move {
                let message = std::future::poll_fn(|cx| incoming.poll_only(cx));
                let read = reply.attend(call.deadline, message).await;
                unary(&worker, call, read.map_err(Cut::Lost).and_then(|read| read), reply);
            }));
        }
    }
}

fn unary(worker: &Arc<Worker>, call: Call, read: Result<Bytes, Cut>, mut reply: Reply) {
    let message = match read {
        Ok(message) => message,
        Err(cut) => return end(worker, call.method, cut, reply),
    };
    match step(worker, &message, call).1 {
        Step::Answer(answer) => reply.answer(answer),
        Step::Failed(failure) => fail(worker, call.method, &failure, reply),
        step => {
            let worker = Arc::clone(worker);
            drop(tokio::spawn(async move {
                match settle(&worker, call, step, &mut reply).await {
                    Ok(Ok(answer)) => reply.answer(answer),
                    Ok(Err(failure)) => fail(&worker, call.method, &failure, reply),
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
fn step(worker: &Worker, message: &Bytes, call: Call) -> (u64, Step) {
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

/// Waits for what a step needs: a thread for large batches, the words of a failure, or both.
async fn settle(
    worker: &Worker,
    call: Call,
    step: Step,
    reply: &mut Reply,
) -> Result<Result<Vec<u8>, Failure>, Lost> {
    let step = match step {
        Step::Later(job) => reply.attend(call.deadline, score(worker, call, *job)).await?,
        step => step,
    };
    Ok(match step {
        Step::Answer(answer) => Ok(answer),
        Step::Failed(failure) => Err(failure),
        Step::Asked(question, snapshot, in_flight) => {
            let words = explain(worker, question, &snapshot, in_flight);
            Err(reply.attend(call.deadline, words).await?)
        }
        Step::Later(_) => Err(worker.predictor.fixed.internal.clone()),
    })
}

async fn explain(
    worker: &Worker,
    question: Box<Question>,
    snapshot: &Snapshot,
    _in_flight: InFlight,
) -> Failure {
    let words = worker.events.ask(snapshot.origin.clone(), question).await;
    words.unwrap_or_else(|| worker.predictor.fixed.draining.clone())
}

/// Scores in a thread, unless the caller has gone before its turn comes.
async fn score(worker: &Worker, call: Call, job: Job) -> Step {
    let (sender, scored) = oneshot::channel();
    let predictor = Arc::clone(&worker.predictor);
    worker.pool.run(move || {
        if sender.is_closed() {
            return;
        }
        let finish = AssertUnwindSafe(|| predictor.finish(job).1);
        let step = catch_unwind(finish).unwrap_or_else(|panic| panicked(&predictor, call.method, &*panic));
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
async fn stream(worker: &Arc<Worker>, call: Call, mut incoming: Incoming, mut reply: Reply) {
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
    call: Call,
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
            Step::Answer(answer) => Ok(answer),
            Step::Failed(failure) => Err(failure),
            step => {
                flush(call, reply, &mut answers).await?;
                settle(worker, call, step, reply).await?
            }
        };
        match settled {
            Ok(answer) => answers.extend_from_slice(&answer),
            Err(failure) => {
                worker.predictor.counts[worker.index].fail(call.method, failure.reason);
                answers.extend_from_slice(&predict::encode_stream_error(correlation_id, &failure.status));
            }
        }
        if answers.len() >= FLUSH_BYTES {
            flush(call, reply, &mut answers).await?;
            // Other calls of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }
}

async fn flush(call: Call, reply: &mut Reply, answers: &mut BytesMut) -> Result<(), Lost> {
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
    path: &str,
    deadline: Option<Instant>,
    mut incoming: Incoming,
    mut reply: Reply,
) {
    let mut call = worker.events.open(path);
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

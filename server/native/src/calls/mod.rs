//! Calls, one function for each kind: unary predictions, streams of them, control calls.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub mod incoming;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::bridge::events::{Command, Events, Opening};
use crate::calls::incoming::{Cut, Incoming, Together};
use crate::encodings::positional;
use crate::encodings::typed;
use crate::predict::pipeline::{Asked, Call, Job, Left, Predictor, Step};
use crate::predict::pool::Pool;
use crate::protocol::status::{self, Failure};
use crate::statistics::Method;
use crate::transport::connection;
use crate::transport::grpc::{self, Compression, Lost, Reply};
use crate::transport::gzip;
use crate::transport::headers::{Begun, Head, Request};
use crate::transport::inbox::Message;
use crate::transport::stream::Body;

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
/// The paths of the methods that are there whatever models are.
const METHODS: [(&str, Method); 4] = [
    ("/scorewire.v1.PredictionService/Predict", Method::Predict),
    ("/scorewire.v1.PredictionService/PredictStream", Method::PredictStream),
    (MODEL_INFER, Method::ModelInfer),
    (MODEL_STREAM_INFER, Method::ModelStreamInfer),
];
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
    /// Age at which a stream is ended.
    pub max_stream: Option<Duration>,
}

/// A unary prediction whose message is here.
type Unary = (Message, Call, Reply);

/// Begins calls that came together. Predictions whose messages are here already are answered at
/// once; the rest goes on in tasks.
pub fn begin<'a>(
    worker: &Arc<Worker>,
    calls: impl Iterator<Item = connection::Call<'a>>,
    cx: &mut Context<'_>,
) {
    unary(worker, calls.filter_map(|call| begin_one(worker, call, cx)).collect());
}

/// Begins a call as far as its kind allows; gives back what can be answered at once.
fn begin_one(worker: &Arc<Worker>, call: connection::Call<'_>, cx: &mut Context<'_>) -> Option<Unary> {
    let connection::Call { head: headers, body, answer, received } = call;
    let mut reply = Reply::new(answer);
    if headers.is_overlong() {
        reply.finish(Some(&Failure::plain(status::RESOURCE_EXHAUSTED, "Received metadata larger than max")));
        return None;
    }
    let request = headers.request();
    let refused = if request.method != Some(b"POST") {
        Some("405")
    } else if !grpc::is_grpc(&request) {
        Some("415")
    } else {
        None
    };
    if let Some(status) = refused {
        reply.refuse(status);
        return None;
    }
    let path = request.path.unwrap_or_default();
    let known = METHODS.iter().find(|(known, _)| known.as_bytes() == path).map(|(_, method)| (*method, None));
    let found = known.or_else(|| typed_method(worker, path, headers));
    if found.is_none() && !worker.control.contains(text(path)) {
        let loading = &worker.predictor.loading;
        if loading.is_on() {
            let worker = Arc::clone(worker);
            drop(spawn_local(wait_for_method(worker, headers.alone(), body, reply, received)));
        } else if loading.is_given_up() {
            reply.finish(Some(&worker.predictor.fixed.draining));
        } else {
            reply.finish(Some(&Failure::plain(status::UNIMPLEMENTED, "Method not found!")));
        }
        return None;
    }
    let gzip = match grpc::compression(&request) {
        Ok(Compression::Identity) => false,
        Ok(Compression::Gzip { accepted }) => {
            if accepted {
                reply.allow_gzip();
            }
            true
        }
        Err(failure) => {
            reply.finish(Some(&failure));
            return None;
        }
    };
    let deadline = match deadline(&request, received) {
        Ok(deadline) => deadline,
        Err(failure) => {
            reply.finish(Some(&failure));
            return None;
        }
    };
    let unary = found.as_ref().is_some_and(|(method, _)| !method.streams());
    let mut incoming = Incoming::new(body, worker.predictor.limits.max_message_bytes, gzip, unary);
    let Some((method, typed)) = found else {
        let opening = Opening::new(text(path), deadline);
        let worker = Arc::clone(worker);
        drop(spawn_local(async move { control(&worker, opening, deadline, incoming, reply).await }));
        return None;
    };
    let mut call = Call { method, received, deadline, typed };
    if method.streams() {
        let end = worker.max_stream.and_then(|age| received.checked_add(age));
        call.deadline = deadline.into_iter().chain(end).min();
        let worker = Arc::clone(worker);
        drop(spawn_local(async move { stream(&worker, &call, incoming, reply).await }));
        return None;
    }
    match incoming.poll_only(&worker.pool, cx) {
        Poll::Ready(Ok(message)) => return Some((message, call, reply)),
        Poll::Ready(Err(cut)) => end(worker, method, cut, reply),
        Poll::Pending => drop(spawn_local(unary_later(Arc::clone(worker), call, incoming, reply))),
    }
    None
}

/// Begins a call of a method that may be of a model that is still to be loaded.
async fn wait_for_method(worker: Arc<Worker>, begun: Begun, body: Body, mut reply: Reply, received: Instant) {
    let Some((_, head)) = begun.iter().next() else { return };
    let loading = &worker.predictor.loading;
    let request = head.request();
    // One that cannot be read is refused when the call begins.
    let deadline = deadline(&request, received).unwrap_or_default();
    loop {
        let changed = loading.changed();
        let path = request.path.unwrap_or_default();
        if !loading.is_on() || typed_method(&worker, path, head).is_some() {
            break;
        }
        match reply.attend(deadline, changed).await {
            Ok(()) => {}
            Err(Lost::Expired) => return reply.finish(Some(&worker.predictor.fixed.expired)),
            Err(Lost::Reset | Lost::Full) => return,
        }
    }
    let mut call = Some(connection::Call { head, body, answer: reply.into_answer(), received });
    std::future::poll_fn(|cx| {
        begin(&worker, call.take().into_iter(), cx);
        Poll::Ready(())
    })
    .await;
}

/// The typed method of a path, and whom its rows are for.
fn typed_method(
    worker: &Worker,
    path: &[u8],
    headers: Head<'_>,
) -> Option<(Method, Option<Arc<typed::Asked>>)> {
    let snapshot = worker.predictor.snapshot.load();
    let (method, service) = snapshot.method(path)?;
    let told = |name: &str| text(headers.last(name).unwrap_or_default()).to_owned();
    let (version, routing_key) = (told(VERSION), told(ROUTING_KEY));
    Some((*method, Some(Arc::new(typed::Asked { service: Arc::clone(service), version, routing_key }))))
}

/// A header as text; "" where it is none.
fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

/// When a call's time is over, if ever.
///
/// # Errors
/// The caller says its time in a way that cannot be read: the words are those of gRPC's core.
fn deadline(request: &Request<'_>, received: Instant) -> Result<Option<Instant>, Failure> {
    let malformed = |_| Failure::plain(status::INTERNAL, "Error parsing 'grpc-timeout' metadata");
    // A time beyond what the clock can say is no deadline.
    grpc::timeout(request).map_err(malformed).map(|timeout| received.checked_add(timeout?))
}

/// Waits for the message of a unary prediction, and answers it.
async fn unary_later(worker: Arc<Worker>, call: Call, mut incoming: Incoming, mut reply: Reply) {
    let message = std::future::poll_fn(|cx| incoming.poll_only(&worker.pool, cx));
    match reply.attend(call.deadline, message).await.map_err(Cut::Lost).and_then(|read| read) {
        Ok(message) => unary(&worker, vec![(message, call, reply)]),
        Err(cut) => end(&worker, call.method, cut, reply),
    }
}

/// Answers unary predictions.
fn unary(worker: &Arc<Worker>, mut calls: Vec<Unary>) {
    while !calls.is_empty() {
        let messages: Vec<_> = calls.iter().map(|(message, call, _)| (&message.bytes, call)).collect();
        let steps = steps(worker, &messages);
        let answered = calls.drain(..steps.len());
        for ((_, step), (message, call, reply)) in steps.into_iter().zip(answered) {
            finish(worker, call, message, step, reply);
        }
    }
}

fn finish(worker: &Arc<Worker>, call: Call, message: Message, step: Step, mut reply: Reply) {
    match step {
        Step::Answer(answer) if !message.zipped => reply.answer(answer),
        Step::Failed(failure) => fail(worker, call.method, &failure, reply),
        step => {
            let worker = Arc::clone(worker);
            drop(spawn_local(async move {
                // Until then the message is held.
                match settle(&worker, &call, message.zipped, step, &mut reply).await {
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
        Cut::Lost(Lost::Full) => reply.finish(Some(&Failure::full())),
        Cut::Failed(failure) => reply.finish(Some(&failure)),
    }
}

/// Ends a call with a failure of the contract's, and counts it.
fn fail(worker: &Worker, method: Method, failure: &Failure, reply: Reply) {
    worker.predictor.counts[worker.index].fail(method, failure.reason);
    reply.finish(Some(failure));
}

/// Answers messages that came together as far as this thread can, the first of them at least; a
/// panic is a fault of the server.
fn steps(worker: &Worker, messages: &[(&Bytes, &Call)]) -> Vec<(u64, Step)> {
    let predictor = &worker.predictor;
    match catch_unwind(AssertUnwindSafe(|| predictor.steps(worker.index, messages))) {
        Ok(steps) => steps,
        // Only the call that is to blame fails with it.
        Err(_) if messages.len() > 1 => steps(worker, &messages[..1]),
        Err(panic) => vec![(0, panicked(predictor, messages[0].1.method, &*panic))],
    }
}

fn panicked(predictor: &Predictor, method: Method, panic: &(dyn std::any::Any + Send)) -> Step {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    Step::Failed(predictor.fault(method, text))
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
async fn settle(
    worker: &Worker,
    call: &Call,
    zipped: bool,
    step: Step,
    reply: &mut Reply,
) -> Result<Settled, Lost> {
    match settle_plain(worker, call, step, reply).await? {
        Settled::Answer(answer) => {
            Ok(Settled::Answer(compress(worker, call.deadline, zipped, answer, reply).await?))
        }
        settled => Ok(settled),
    }
}

async fn settle_plain(worker: &Worker, call: &Call, step: Step, reply: &mut Reply) -> Result<Settled, Lost> {
    let step = match step {
        Step::Unrouted(message) => route_later(worker, call, &message, reply).await?,
        step => step,
    };
    let step = match step {
        Step::Later(_) if reply.is_full() => return Ok(Settled::Counted(Failure::full())),
        Step::Later(job) => reply.attend(call.deadline, score(worker, call.method, *job)).await?,
        step => step,
    };
    Ok(match step {
        Step::Answer(answer) => Settled::Answer(answer),
        Step::Told(answer, reason) => Settled::Told(answer, reason),
        Step::Failed(failure) => Settled::Failed(failure),
        Step::Asked(asked) => Settled::Failed(reply.attend(call.deadline, explain(worker, *asked)).await?),
        Step::Elsewhere(left) => match reply.attend(call.deadline, elsewhere(worker, call, *left)).await? {
            Ok(answer) => Settled::Answer(answer),
            Err(failure) => Settled::Counted(failure),
        },
        Step::Later(_) | Step::Unrouted(_) => {
            Settled::Failed(worker.predictor.fault(call.method, "a batch was not scored"))
        }
    })
}

/// What becomes of a message whose model may still be loaded.
async fn route_later(worker: &Worker, call: &Call, message: &Bytes, reply: &mut Reply) -> Result<Step, Lost> {
    loop {
        let changed = worker.predictor.loading.changed();
        match steps(worker, &[(message, call)]).pop() {
            Some((_, Step::Unrouted(_))) => reply.attend(call.deadline, changed).await?,
            Some((_, step)) => return Ok(step),
            None => return Ok(Step::Failed(worker.predictor.fault(call.method, "a message has no step"))),
        }
    }
}

/// An answer as it is sent to a message that came in gzip or not; a long one is compressed in a thread.
async fn compress(
    worker: &Worker,
    deadline: Option<Instant>,
    zipped: bool,
    answer: Vec<u8>,
    reply: &mut Reply,
) -> Result<Vec<u8>, Lost> {
    if !zipped || !reply.allows_gzip() || !gzip::pays(&answer) {
        return Ok(answer);
    }
    if answer.len() <= gzip::INLINE_BYTES {
        return Ok(gzip::deflate(answer));
    }
    let (sender, deflated) = oneshot::channel();
    worker.pool.run(move || {
        if !sender.is_closed() {
            let _ = sender.send(gzip::deflate(answer));
        }
    });
    // The threads end only with the server.
    reply.attend(deadline, deflated).await?.map_err(|_| Lost::Reset)
}

/// Has the control plane answer one message, in a control call of its own.
async fn elsewhere(worker: &Worker, call: &Call, left: Left) -> Result<Vec<u8>, Failure> {
    let path = if call.method.streams() { MODEL_STREAM_INFER } else { MODEL_INFER };
    let mut asked = worker.events.open(Opening::new(path, call.deadline));
    let Left { message, permits: _permits } = left;
    let (mut message, mut answer) = (Some(message), None);
    loop {
        match asked.next().await {
            Some(Command::Want) => asked.deliver(message.take()),
            Some(Command::Send(data)) => {
                let mut framed = positional::headed(data.len());
                framed.extend_from_slice(&data);
                answer = Some(framed);
            }
            Some(Command::Finish(None)) => {
                let none = || worker.predictor.fault(call.method, "the control plane gave no answer");
                return answer.ok_or_else(none);
            }
            Some(Command::Finish(Some(failure))) => return Err(failure),
            None => return Err(worker.predictor.fixed.draining.clone()),
        }
    }
}

async fn explain(worker: &Worker, asked: Asked) -> Failure {
    let Asked { question, snapshot, counts, permit: _permit } = asked;
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
        let finish = AssertUnwindSafe(|| predictor.finish(job));
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
        let here = std::future::poll_fn(|cx| Poll::Ready(incoming.poll_together(&worker.pool, cx))).await;
        let Together { messages, end } = match here {
            Poll::Ready(read) => read,
            Poll::Pending => {
                // Nothing more is here: what was answered goes out before the next is waited for.
                flush(call, reply, &mut answers).await?;
                let here = std::future::poll_fn(|cx| incoming.poll_together(&worker.pool, cx));
                reply.attend(call.deadline, here).await?
            }
        };
        let bytes: Vec<_> = messages.iter().map(|message| (&message.bytes, call)).collect();
        let mut first = 0;
        while first < messages.len() {
            let steps = steps(worker, &bytes[first..]);
            for (correlation_id, step) in steps {
                let zipped = messages[first].zipped;
                answer_message(worker, call, zipped, correlation_id, step, reply, &mut answers).await?;
                first += 1;
            }
        }
        if let Some(end) = end {
            flush(call, reply, &mut answers).await?;
            return end;
        }
        if answers.len() >= FLUSH_BYTES {
            flush(call, reply, &mut answers).await?;
            // Other calls of this thread have their turn.
            tokio::task::yield_now().await;
        }
    }
}

/// Adds the answer to one message of a stream to those that are to be sent.
async fn answer_message(
    worker: &Arc<Worker>,
    call: &Call,
    zipped: bool,
    correlation_id: u64,
    step: Step,
    reply: &mut Reply,
    answers: &mut BytesMut,
) -> Result<(), Cut> {
    let settled = match step {
        Step::Answer(answer) if !zipped => Settled::Answer(answer),
        Step::Failed(failure) => Settled::Failed(failure),
        step => {
            flush(call, reply, answers).await?;
            settle(worker, call, zipped, step, reply).await?
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
            answers.extend_from_slice(&positional::encode_stream_error(correlation_id, &failure.status));
        }
        // Other streams have no words for failures, and end.
        Settled::Failed(failure) => {
            count(failure.reason);
            flush(call, reply, answers).await?;
            return Err(failure.into());
        }
        Settled::Counted(failure) => {
            flush(call, reply, answers).await?;
            return Err(failure.into());
        }
    }
    Ok(())
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
        let (mut wanted, mut zipped) = (false, false);
        loop {
            let next = async {
                tokio::select! {
                    biased;
                    command = call.next() => Ok(command),
                    message = std::future::poll_fn(|cx| incoming.poll_message(&worker.pool, cx)), if wanted => Err(message),
                }
            };
            let command = match reply.attend(deadline, next).await? {
                Ok(command) => command,
                Err(message) => {
                    let message = message?;
                    zipped = message.as_ref().map_or(zipped, |message| message.zipped);
                    call.deliver(message.map(|message| message.bytes));
                    wanted = false;
                    continue;
                }
            };
            match command {
                Some(Command::Want) => wanted = true,
                Some(Command::Send(data)) => {
                    let mut message = positional::headed(data.len());
                    message.extend_from_slice(&data);
                    let message = compress(worker, deadline, zipped, message, &mut reply).await?;
                    send(&mut reply, deadline, message.into()).await?;
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
        Err(Cut::Lost(Lost::Full)) => reply.finish(Some(&Failure::full())),
        Err(Cut::Lost(Lost::Expired)) => {
            reply.finish(Some(&Failure::plain(status::DEADLINE_EXCEEDED, "Deadline Exceeded")));
        }
        Err(Cut::Failed(failure)) => reply.finish(Some(&failure)),
    }
}

//! The hot path: decode, route, validate, score, encode. Unary calls and streams share it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::answer::{self, HEAD, Times};
use crate::coding::{Room, Rows};
use crate::control::Events;
use crate::elements::Unusual;
use crate::failure::{Failure, Fixed};
use crate::runtime::{Frame, RuntimeError};
use crate::shadow::ShadowLane;
use crate::snapshot::{Ran, Route, Snapshot, Target, Version};
use crate::statistics::{Bounds, CallCounts, Method, RouteCounts, RouteShards};
use crate::tensors;
use crate::typed;
use crate::wire::Request;

/// Rows that cost more than this together leave the I/O threads.
const INLINE_NS: f64 = 500_000.0;

/// What the engine may take.
#[derive(Debug, Clone)]
pub struct Limits {
    pub max_rows: u32,
    pub max_in_flight: usize,
    pub max_message_bytes: usize,
}

/// What all threads share.
pub struct Predictor {
    pub snapshot: ArcSwap<Snapshot>,
    pub limits: Limits,
    pub fixed: Fixed,
    pub bounds: Bounds,
    pub events: Arc<Events>,
    /// One for each worker, one for the threads that score large batches, and one for the shadow.
    pub counts: Box<[CallCounts]>,
    pub shadow_lane: OnceLock<ShadowLane>,
    pub in_flight: AtomicUsize,
    pub streams: AtomicUsize,
    pub draining: AtomicBool,
    pub refused: AtomicU64,
}

/// A call among those in flight, as long as this lives.
pub struct InFlight(Arc<Predictor>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A request that has failed in a way that the control plane words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub method: Method,
    pub model: String,
    /// The major whose typed service was called.
    pub major: Option<u64>,
    pub version: String,
    /// The version that was to answer; empty where there is none.
    pub picked: String,
    pub schema_fingerprint: String,
    pub row_count: u32,
    pub number_count: usize,
    pub text_count: usize,
    pub problem: Problem,
}

/// What is wrong with a request, or with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// What the names, counts and the fingerprint of the question say.
    Request,
    /// The bytes are not what the version that was picked takes.
    Malformed,
    /// The only row is refused: a RowError without its row, as bytes.
    Row(Vec<u8>),
    /// The answer has so many bytes.
    TooLong(usize),
}

/// What becomes of a message.
pub enum Step {
    /// An answer, with the head of a gRPC message.
    Answer(Vec<u8>),
    /// A failure that is always the same.
    Failed(Failure),
    /// A failure that the control plane words.
    Asked(Box<Asked>),
    /// Rows to be scored by the threads for large batches.
    Later(Box<Job>),
    /// A message that is left to the control plane as it is; it counts there, too.
    Elsewhere(Bytes),
    /// An answer that tells of a failure of this reason; the stream lives on.
    Told(Vec<u8>, u32),
}

/// What the control plane is asked, and what the call holds meanwhile.
pub struct Asked {
    pub question: Box<Question>,
    pub snapshot: Arc<Snapshot>,
    /// Where the failure counts, once it has a reason.
    pub counts: Option<Arc<RouteShards>>,
    pub in_flight: InFlight,
}

/// Rows that wait to be scored.
pub struct Job {
    message: Bytes,
    request: Request,
    snapshot: Arc<Snapshot>,
    route: Arc<Route>,
    picked: usize,
    call: Call,
    times: Began,
    in_flight: InFlight,
}

/// When a message was read.
#[derive(Debug, Clone, Copy)]
struct Began {
    begin: Instant,
    decoded: Instant,
}

/// What is known of a message's call.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub deadline: Option<Instant>,
    /// Of a typed call: whom its rows are for.
    pub typed: Option<Arc<typed::Asked>>,
}

impl Call {
    pub fn expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

#[derive(Default)]
struct Scratch {
    request: Request,
    room: Room,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Predictor {
    /// Answers a message, or says what it needs; `worker` is the index of the thread.
    pub fn step(self: &Arc<Self>, worker: usize, message: &Bytes, call: &Call) -> (u64, Step) {
        SCRATCH.with_borrow_mut(|scratch| {
            let step = self.step_in(scratch, worker, message, call);
            (scratch.request.correlation_id, told(call, &scratch.request, message, step))
        })
    }

    fn step_in(self: &Arc<Self>, scratch: &mut Scratch, worker: usize, message: &Bytes, call: &Call) -> Step {
        let begin = Instant::now();
        let Scratch { request, room } = scratch;
        let read = match call.method {
            Method::PredictStream => request.decode_stream(message),
            method if method.tensors() => match tensors::read(request, message) {
                Ok(()) => Ok(()),
                Err(Unusual) => return Step::Elsewhere(message.clone()),
            },
            _ if call.typed.is_none() => request.decode(message),
            // Only the version that is to answer knows its rows.
            _ => {
                request.clear();
                Ok(())
            }
        };
        if read.is_err() {
            return Step::Failed(self.fixed.malformed.clone());
        }
        let mut decoded = Instant::now();
        // Calls that are scored here are done before the next is read, so only those that wait
        // for something count against the limit.
        let full = || Step::Failed(self.fixed.too_many_in_flight.clone());
        if self.in_flight.load(Relaxed) >= self.limits.max_in_flight {
            return full();
        }
        let snapshot = self.snapshot.load();
        let asked = |question, target: Option<&Target>| match self.enter() {
            None => full(),
            Some(in_flight) => Step::Asked(Box::new(Asked {
                question: Box::new(question),
                snapshot: Arc::clone(&snapshot),
                counts: target.map(|target| Arc::clone(&target.counts)),
                in_flight,
            })),
        };
        let found = match &call.typed {
            None => snapshot.route(request.model.text(message), request.version.text(message)),
            Some(rows) => snapshot.major_route(&rows.service, &rows.version),
        };
        let Some(route) = found else {
            if call.method.tensors() {
                return Step::Elsewhere(message.clone());
            }
            return asked(Question::of(call, request, message, None, Problem::Request), None);
        };
        let picked = route.pick(match &call.typed {
            None => request.routing_key.text(message),
            Some(rows) => &rows.routing_key,
        });
        let target = &route.targets[picked];
        if call.method.tensors() {
            let filled = target.version.tensors.fill(request, message, self.max_rows(&target.version));
            if filled.is_err() || request.row_count == 0 {
                return Step::Elsewhere(message.clone());
            }
            decoded = Instant::now();
        }
        if call.typed.is_some() {
            let table = &target.version.table;
            let max_rows = self.max_rows(&target.version);
            if table.read_message(call.method, request, message, max_rows).is_err() {
                let question = Question::of(call, request, message, Some(target), Problem::Malformed);
                return asked(question, Some(target));
            }
            decoded = Instant::now();
        }
        if !self.takes(&target.version, request, message) {
            let question = Question::of(call, request, message, Some(target), Problem::Request);
            return asked(question, Some(target));
        }
        let times = Began { begin, decoded };
        let fail = |failure: Failure| {
            target.counts[worker].fail(failure.reason);
            Step::Failed(failure)
        };
        if call.deadline.is_some_and(|deadline| decoded >= deadline) {
            return fail(self.fixed.expired.clone());
        }
        if f64::from(request.row_count) * target.version.row_ns > INLINE_NS {
            let Some(in_flight) = self.enter() else { return full() };
            return Step::Later(Box::new(Job {
                message: message.clone(),
                request: std::mem::take(request),
                snapshot: Arc::clone(&snapshot),
                route: Arc::clone(route),
                picked,
                call: call.clone(),
                times,
                in_flight,
            }));
        }
        match self.score(worker, message, request, room, target, call, times) {
            Scored::Answer(answer) => {
                self.copy(worker, route, target, call, message);
                Step::Answer(answer)
            }
            Scored::Failed(failure) => fail(failure),
            Scored::Elsewhere => Step::Elsewhere(message.clone()),
            Scored::Asked(problem) => {
                self.copy(worker, route, target, call, message);
                asked(Question::of(call, request, message, Some(target), problem), Some(target))
            }
        }
    }

    /// Does what was put off, in a thread for large batches.
    pub fn finish(self: &Arc<Self>, job: Job) -> (u64, Step) {
        let Job { message, mut request, snapshot, route, picked, call, times, in_flight } = job;
        let correlation_id = request.correlation_id;
        let worker = self.batch_worker();
        let target = &route.targets[picked];
        let fail = |failure: Failure| {
            target.counts[worker].fail(failure.reason);
            Step::Failed(failure)
        };
        if call.expired() {
            let step = fail(self.fixed.expired.clone());
            return (correlation_id, told(&call, &request, &message, step));
        }
        let mut room = Room::default();
        let step = match self.score(worker, &message, &mut request, &mut room, target, &call, times) {
            Scored::Answer(answer) => {
                self.copy(worker, &route, target, &call, &message);
                Step::Answer(answer)
            }
            Scored::Failed(failure) => told(&call, &request, &message, fail(failure)),
            Scored::Elsewhere => Step::Elsewhere(message),
            Scored::Asked(problem) => {
                self.copy(worker, &route, target, &call, &message);
                Step::Asked(Box::new(Asked {
                    question: Box::new(Question::of(&call, &request, &message, Some(target), problem)),
                    snapshot,
                    counts: Some(Arc::clone(&target.counts)),
                    in_flight,
                }))
            }
        };
        (correlation_id, step)
    }

    /// The index of the threads that score large batches.
    pub fn batch_worker(&self) -> usize {
        self.counts.len() - 2
    }

    /// The index of the shadow's thread.
    pub fn shadow_worker(&self) -> usize {
        self.counts.len() - 1
    }

    /// Offers a copy of a scored message to the route's shadow, if it has one.
    #[inline]
    fn copy(&self, worker: usize, route: &Route, target: &Target, call: &Call, message: &Bytes) {
        if let (Some(shadow), Some(lane)) = (&route.shadow, self.shadow_lane.get()) {
            lane.offer(shadow, &target.version, call.method, message, worker);
        }
    }

    /// Counts a call among those in flight, unless there are as many as there may be.
    fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let entered = InFlight(Arc::clone(self));
        (self.in_flight.fetch_add(1, Relaxed) < self.limits.max_in_flight).then_some(entered)
    }

    /// How many rows a call to a version may have.
    #[inline]
    fn max_rows(&self, version: &Version) -> u32 {
        version.max_rows.map_or(self.limits.max_rows, |rows| rows.min(self.limits.max_rows))
    }

    /// Whether a version takes a request as it is.
    #[inline]
    fn takes(&self, version: &Version, request: &Request, data: &[u8]) -> bool {
        let fingerprint = request.schema_fingerprint.text(data);
        (fingerprint.is_empty() || fingerprint == version.fingerprint)
            && request.row_count > 0
            && request.row_count <= self.max_rows(version)
            && version.coder.fits(Rows::of(request, data))
    }

    #[allow(clippy::too_many_arguments)] // the two callers have them at hand in different places
    fn score(
        &self,
        worker: usize,
        data: &[u8],
        request: &mut Request,
        room: &mut Room,
        target: &Target,
        call: &Call,
        began: Began,
    ) -> Scored {
        let version = &*target.version;
        let rows = Rows::of(request, data);
        version.coder.examine(rows, room);
        // The protocol has no errors by row.
        if call.method.tensors() && !room.errors.is_empty() {
            return Scored::Elsewhere;
        }
        if let (Method::TypedPredict, Some(error)) = (call.method, room.errors.first()) {
            return Scored::Asked(Problem::Row(version.coder.refusal(error).0.to_vec()));
        }
        let encode = |frame: Option<&Frame>, room: &Room, ran: Ran| {
            let model_ns = nanoseconds(ran.begin, ran.end);
            let times = Times { server_ns: nanoseconds(began.decoded, ran.end), model_ns };
            let answer = match call.method {
                Method::Predict => answer::encode(version, rows.count, frame, room, times, None),
                Method::PredictStream => {
                    answer::encode(version, rows.count, frame, room, times, Some(request.correlation_id))
                }
                Method::ModelInfer | Method::ModelStreamInfer => match frame {
                    Some(frame) => version.tensors.write(request, data, frame, call.method.streams()),
                    None => Err(RuntimeError("there are no rows".into())),
                },
                Method::TypedPredictBatch => {
                    version.table.write_predictions(version, rows.count, frame, room)
                }
                Method::TypedPredict | Method::TypedPredictStream => {
                    version.table.write_prediction(version, frame, room)
                }
            };
            if answer.as_ref().is_ok_and(|answer| answer.len() - HEAD <= self.limits.max_message_bytes) {
                count_answer(&target.counts[worker], version, rows.count, frame, room, began.begin);
            }
            (answer, model_ns, ran.end)
        };
        let scored = if room.errors.len() == rows.count {
            let now = Instant::now();
            Ok(encode(None, room, Ran { begin: now, end: now }))
        } else {
            version.run(worker, rows, room, |frame, room, ran| encode(Some(frame), room, ran))
        };
        let scored = scored.and_then(|(encoded, model_ns, ran)| Ok((encoded?, model_ns, ran)));
        let (answer, model_ns, ran) = match scored {
            Ok(scored) => scored,
            Err(error) => {
                self.events.fault(call.method, &error.to_string());
                return Scored::Failed(self.fixed.internal.clone());
            }
        };
        let counts = &version.counts[worker];
        counts.rows.fetch_add(rows.count as u64, Relaxed);
        for error in &room.errors {
            counts.row_errors[version.coder.refusal(error).1].fetch_add(1, Relaxed);
        }
        counts.decode.add(&self.bounds, nanoseconds(began.begin, began.decoded));
        counts.run.add(&self.bounds, model_ns);
        if answer.len() - HEAD > self.limits.max_message_bytes {
            if call.method.tensors() {
                return Scored::Elsewhere;
            }
            return Scored::Asked(Problem::TooLong(answer.len() - HEAD));
        }
        counts.encode.add(&self.bounds, nanoseconds(ran, Instant::now()));
        self.counts[worker].answer(call.method);
        Scored::Answer(answer)
    }
}

enum Scored {
    Answer(Vec<u8>),
    Failed(Failure),
    /// The control plane is to word what is wrong.
    Asked(Problem),
    /// The control plane is to answer.
    Elsewhere,
}

/// Has a stream of tensors tell of a failure in an answer.
fn told(call: &Call, request: &Request, data: &[u8], step: Step) -> Step {
    match step {
        Step::Failed(failure) if call.method == Method::ModelStreamInfer => {
            let answer = tensors::encode_stream_error(request.tensors.id.of(data), &failure.message);
            Step::Told(answer, failure.reason)
        }
        step => step,
    }
}

impl Question {
    fn of(call: &Call, request: &Request, data: &[u8], target: Option<&Target>, problem: Problem) -> Self {
        let (model, version) = match &call.typed {
            None => (request.model.text(data), request.version.text(data)),
            Some(rows) => (rows.service.model.as_str(), rows.version.as_str()),
        };
        Self {
            method: call.method,
            model: model.to_owned(),
            major: call.typed.as_ref().map(|rows| rows.service.major),
            version: version.to_owned(),
            picked: target.map(|target| target.version.version.clone()).unwrap_or_default(),
            schema_fingerprint: request.schema_fingerprint.text(data).to_owned(),
            row_count: request.row_count,
            number_count: request.numbers(data).len() / 8,
            text_count: request.texts.len(),
            problem,
        }
    }
}

/// Counts an answered call on its route; `frame` has the outputs, and is None where every row has
/// an error.
pub fn count_answer(
    counts: &RouteCounts,
    version: &Version,
    row_count: usize,
    frame: Option<&Frame>,
    room: &Room,
    begin: Instant,
) {
    counts.calls.fetch_add(1, Relaxed);
    counts.rows.fetch_add(row_count as u64, Relaxed);
    for error in &room.errors {
        counts.row_errors[version.coder.refusal(error).1].fetch_add(1, Relaxed);
    }
    if let (Some(frame), Some(output)) = (frame, version.score_output) {
        let width = version.outputs[output].width;
        // It is none of texts: those have no scores.
        let _ = frame.outputs()[output].for_each_f64(|i, value| {
            if i % width == width - 1 {
                counts.scores.add(value);
            }
        });
    }
    counts.latency.add(nanoseconds(begin, Instant::now()) as f64 / 1e9);
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

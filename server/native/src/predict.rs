//! The hot path: decode, route, validate, score, encode. Unary calls and streams share it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::coding::{Room, Rows};
use crate::control::Events;
use crate::failure::{Failure, Fixed};
use crate::runtime::{Element, Frame};
use crate::snapshot::{Output, Ran, Snapshot, Version};
use crate::statistics::{Bounds, CallCounts, Method};
use crate::wire::{self, Request};

/// Rows that cost more than this together leave the I/O threads.
const INLINE_NS: f64 = 500_000.0;
/// The head of a gRPC message: a flag and the length.
pub const HEAD: usize = 5;

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
    /// One for each worker, and a last one for the threads that score large batches.
    pub counts: Box<[CallCounts]>,
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
    pub model: String,
    pub version: String,
    pub schema_fingerprint: String,
    pub row_count: u32,
    pub number_count: usize,
    pub text_count: usize,
    /// The length of the answer that is too long; 0 where the request failed.
    pub answer_bytes: usize,
}

/// What becomes of a message.
pub enum Step {
    /// An answer, with the head of a gRPC message.
    Answer(Vec<u8>),
    /// A failure that is always the same.
    Failed(Failure),
    /// A failure that the control plane words.
    Asked(Box<Question>, Arc<Snapshot>, InFlight),
    /// Rows to be scored by the threads for large batches.
    Later(Box<Job>),
}

/// Rows that wait to be scored.
pub struct Job {
    message: Bytes,
    request: Request,
    snapshot: Arc<Snapshot>,
    version: Arc<Version>,
    call: Call,
    decoded: Instant,
    decode_ns: u64,
    in_flight: InFlight,
}

/// What is known of a message's call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub method: Method,
    pub deadline: Option<Instant>,
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
    pub fn step(self: &Arc<Self>, worker: usize, message: &Bytes, call: Call) -> (u64, Step) {
        SCRATCH.with_borrow_mut(|scratch| {
            let step = self.step_in(scratch, worker, message, call);
            (scratch.request.correlation_id, step)
        })
    }

    fn step_in(self: &Arc<Self>, scratch: &mut Scratch, worker: usize, message: &Bytes, call: Call) -> Step {
        let begin = Instant::now();
        let Scratch { request, room } = scratch;
        let read = match call.method {
            Method::Predict => request.decode(message),
            Method::PredictStream => request.decode_stream(message),
        };
        if read.is_err() {
            return Step::Failed(self.fixed.malformed.clone());
        }
        let decoded = Instant::now();
        // Calls that are scored here are done before the next is read, so only those that wait
        // for something count against the limit.
        let full = || Step::Failed(self.fixed.too_many_in_flight.clone());
        if self.in_flight.load(Relaxed) >= self.limits.max_in_flight {
            return full();
        }
        let snapshot = self.snapshot.load();
        let Some(version) = self.admit(&snapshot, request, message) else {
            let Some(in_flight) = self.enter() else { return full() };
            let question = Box::new(Question::of(request, message, 0));
            return Step::Asked(question, Arc::clone(&snapshot), in_flight);
        };
        if call.deadline.is_some_and(|deadline| decoded >= deadline) {
            return Step::Failed(self.fixed.expired.clone());
        }
        let decode_ns = nanoseconds(begin, decoded);
        if f64::from(request.row_count) * version.row_ns > INLINE_NS {
            let Some(in_flight) = self.enter() else { return full() };
            return Step::Later(Box::new(Job {
                message: message.clone(),
                request: std::mem::take(request),
                snapshot: Arc::clone(&snapshot),
                version: Arc::clone(version),
                call,
                decoded,
                decode_ns,
                in_flight,
            }));
        }
        match self.score(worker, message, request, room, version, call, decoded, decode_ns) {
            Scored::Answer(answer) => Step::Answer(answer),
            Scored::Failed(failure) => Step::Failed(failure),
            Scored::TooLong(length) => {
                let Some(in_flight) = self.enter() else { return full() };
                let question = Box::new(Question::of(request, message, length));
                Step::Asked(question, Arc::clone(&snapshot), in_flight)
            }
        }
    }

    /// Does what was put off, in a thread for large batches.
    pub fn finish(self: &Arc<Self>, job: Job) -> (u64, Step) {
        let Job { message, mut request, snapshot, version, call, decoded, decode_ns, in_flight } = job;
        let correlation_id = request.correlation_id;
        if call.expired() {
            return (correlation_id, Step::Failed(self.fixed.expired.clone()));
        }
        let worker = self.counts.len() - 1;
        let mut room = Room::default();
        let scored =
            self.score(worker, &message, &mut request, &mut room, &version, call, decoded, decode_ns);
        let step = match scored {
            Scored::Answer(answer) => Step::Answer(answer),
            Scored::Failed(failure) => Step::Failed(failure),
            Scored::TooLong(length) => {
                let question = Box::new(Question::of(&request, &message, length));
                Step::Asked(question, snapshot, in_flight)
            }
        };
        (correlation_id, step)
    }

    /// Counts a call among those in flight, unless there are as many as there may be.
    fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let entered = InFlight(Arc::clone(self));
        (self.in_flight.fetch_add(1, Relaxed) < self.limits.max_in_flight).then_some(entered)
    }

    /// The version that answers, unless something is wrong with the request.
    #[inline]
    fn admit<'a>(&self, snapshot: &'a Snapshot, request: &Request, data: &[u8]) -> Option<&'a Arc<Version>> {
        let version = snapshot.route(request.model.text(data), request.version.text(data))?;
        let fingerprint = request.schema_fingerprint.text(data);
        let rows = request.row_count as usize;
        let fits = (fingerprint.is_empty() || fingerprint == version.fingerprint)
            && rows > 0
            && request.row_count <= self.limits.max_rows
            && request.numbers(data).len() == rows * version.coder.number_count * 8
            && request.texts.len() == rows * version.coder.text_count;
        fits.then_some(version)
    }

    #[allow(clippy::too_many_arguments)] // the two callers have them at hand in different places
    fn score(
        &self,
        worker: usize,
        data: &[u8],
        request: &mut Request,
        room: &mut Room,
        version: &Version,
        call: Call,
        decoded: Instant,
        decode_ns: u64,
    ) -> Scored {
        let rows = Rows {
            count: request.row_count as usize,
            numbers: request.numbers(data),
            texts: &request.texts,
            data,
        };
        version.coder.examine(rows, room);
        let correlation_id = match call.method {
            Method::Predict => None,
            Method::PredictStream => Some(request.correlation_id),
        };
        let answer = |frame: Option<&Frame>, room: &Room, ran: Ran| {
            let model_ns = nanoseconds(ran.begin, ran.end);
            let times = Times { server_ns: nanoseconds(decoded, ran.end), model_ns };
            (encode(version, rows.count, frame, room, times, correlation_id), model_ns, ran.end)
        };
        let scored = if room.errors.len() == rows.count {
            let now = Instant::now();
            Ok(answer(None, room, Ran { begin: now, end: now }))
        } else {
            version.run(worker, rows, room, |frame, room, ran| answer(Some(frame), room, ran))
        };
        let (encoded, model_ns, ran) = match scored {
            Ok(scored) => scored,
            Err(error) => {
                self.events.fault(call.method, &error.to_string());
                return Scored::Failed(self.fixed.internal.clone());
            }
        };
        let Some(answer) = encoded else {
            self.events.fault(call.method, "an output has texts, not numbers");
            return Scored::Failed(self.fixed.internal.clone());
        };
        let counts = &version.counts[worker];
        counts.rows.fetch_add(rows.count as u64, Relaxed);
        for error in &room.errors {
            counts.row_errors[version.coder.refusal(error).1].fetch_add(1, Relaxed);
        }
        counts.decode.add(&self.bounds, decode_ns);
        counts.run.add(&self.bounds, model_ns);
        if answer.len() - HEAD > self.limits.max_message_bytes {
            return Scored::TooLong(answer.len() - HEAD);
        }
        counts.encode.add(&self.bounds, nanoseconds(ran, Instant::now()));
        self.counts[worker].answer(call.method);
        Scored::Answer(answer)
    }
}

enum Scored {
    Answer(Vec<u8>),
    Failed(Failure),
    TooLong(usize),
}

impl Question {
    fn of(request: &Request, data: &[u8], answer_bytes: usize) -> Self {
        Self {
            model: request.model.text(data).to_owned(),
            version: request.version.text(data).to_owned(),
            schema_fingerprint: request.schema_fingerprint.text(data).to_owned(),
            row_count: request.row_count,
            number_count: request.numbers(data).len() / 8,
            text_count: request.texts.len(),
            answer_bytes,
        }
    }
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

#[derive(Clone, Copy)]
struct Times {
    server_ns: u64,
    model_ns: u64,
}

/// Writes a PredictResponse, in a PredictStreamResponse where there is a correlation id.
fn encode(
    version: &Version,
    row_count: usize,
    frame: Option<&Frame>,
    room: &Room,
    times: Times,
    correlation_id: Option<u64>,
) -> Option<Vec<u8>> {
    let microseconds = |ns: u64| (ns / 1000).min(u64::from(u32::MAX));
    let (server_us, model_us) = (microseconds(times.server_ns), microseconds(times.model_ns));
    let numbers_len = |output: &Output| row_count * output.width * 8;
    let output_len = |output: &Output| output.name_field().len() + wire::bytes_field_len(numbers_len(output));
    let error_len = |row: u32, rest: &[u8]| wire::varint_field_len(u64::from(row)) + rest.len();
    let errors = || room.errors.iter().map(|error| (error.row, version.coder.refusal(error).0));
    let length = version.head.len()
        + wire::varint_field_len(row_count as u64)
        + version.outputs.iter().map(|output| wire::bytes_field_len(output_len(output))).sum::<usize>()
        + errors().map(|(row, rest)| wire::bytes_field_len(error_len(row, rest))).sum::<usize>()
        + wire::varint_field_len(server_us)
        + wire::varint_field_len(model_us);
    let whole = match correlation_id {
        None => length,
        Some(id) => wire::varint_field_len(id) + wire::bytes_field_len(length),
    };
    let mut out = Vec::with_capacity(HEAD + whole);
    out.push(0);
    out.extend_from_slice(&(whole as u32).to_be_bytes());
    if let Some(id) = correlation_id {
        wire::put_varint_field(&mut out, 1, id);
        wire::put_bytes_head(&mut out, 2, length);
    }
    out.extend_from_slice(&version.head);
    wire::put_varint_field(&mut out, 3, row_count as u64);
    for (i, output) in version.outputs.iter().enumerate() {
        wire::put_bytes_head(&mut out, 4, output_len(output));
        out.extend_from_slice(output.name_field());
        wire::put_bytes_head(&mut out, 2, numbers_len(output));
        put_numbers(&mut out, output.width, row_count, frame.map(|frame| (frame, i)), room)?;
    }
    for (row, rest) in errors() {
        wire::put_bytes_head(&mut out, 5, error_len(row, rest));
        wire::put_varint_field(&mut out, 1, u64::from(row));
        out.extend_from_slice(rest);
    }
    wire::put_varint_field(&mut out, 6, server_us);
    wire::put_varint_field(&mut out, 7, model_us);
    debug_assert_eq!(out.len(), HEAD + whole);
    Some(out)
}

/// Appends an output's doubles, NaN for the rows with an error.
fn put_numbers(
    out: &mut Vec<u8>,
    width: usize,
    row_count: usize,
    source: Option<(&Frame, usize)>,
    room: &Room,
) -> Option<()> {
    let start = out.len();
    let tensor = source.map(|(frame, i)| &frame.outputs()[i]);
    match tensor {
        Some(tensor) if room.errors.is_empty() => {
            match tensor.element() {
                Element::F64 if cfg!(target_endian = "little") => out.extend_from_slice(tensor.bytes()),
                Element::F32 => {
                    for &value in tensor.values::<f32>() {
                        out.extend_from_slice(&f64::from(value).to_le_bytes());
                    }
                }
                _ => tensor.for_each_f64(|_, value| out.extend_from_slice(&value.to_le_bytes())).ok()?,
            };
        }
        _ => {
            out.resize(start + row_count * width * 8, 0);
            let numbers = &mut out[start..];
            for place in numbers.chunks_exact_mut(8) {
                place.copy_from_slice(&f64::NAN.to_le_bytes());
            }
            if let Some(tensor) = tensor {
                tensor
                    .for_each_f64(|i, value| {
                        let place = (room.kept[i / width] as usize * width + i % width) * 8;
                        numbers[place..place + 8].copy_from_slice(&value.to_le_bytes());
                    })
                    .ok()?;
            }
        }
    }
    Some(())
}

/// Writes a PredictStreamResponse with the reason why there are no scores, and a message's head.
pub fn encode_stream_error(correlation_id: u64, status: &[u8]) -> Vec<u8> {
    let whole = wire::varint_field_len(correlation_id) + wire::bytes_field_len(status.len());
    let mut out = Vec::with_capacity(HEAD + whole);
    out.push(0);
    out.extend_from_slice(&(whole as u32).to_be_bytes());
    wire::put_varint_field(&mut out, 1, correlation_id);
    wire::put_bytes_head(&mut out, 3, status.len());
    out.extend_from_slice(status);
    out
}

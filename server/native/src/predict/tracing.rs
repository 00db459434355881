//! Traces of calls: which are traced, and what is noted of each while it is answered.
//!
//! Whether a call is traced is decided when it begins. A call that is not traced costs a look at a header, a
//! countdown unless the share is 0, and a branch at each place where something would be noted. A traced call
//! becomes one `TracedCall`, which goes into a bounded queue when the call has ended: where the queue is full, the
//! call is dropped and counted. The control plane empties the queue and sends the spans. The rules are those of
//! `engine/tracer.py`.

use std::cell::Cell;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::encodings::message::{ExplainedRows, Scores, nanoseconds};
use crate::protocol::otlp::{self, Spans};
use crate::protocol::status;
use crate::protocol::trace_context::{OpenSpan, SpanContext, SpanId, TraceParent, is_flagged, join_state};
use crate::routing::snapshot::{Route, Target};
use crate::routing::split;
use crate::transport::context::CallContext;

const SECOND_NS: u64 = 1_000_000_000;
const TRACESTATE: &[u8] = b"tracestate";

/// What a message passes on its way to the answer.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Decode,
    Route,
    Explain,
    Run,
    Encode,
    Record,
}
const STAGES: usize = 6;
const STAGE_NAMES: [&str; STAGES] = ["decode", "route", "explain", "run", "encode", "record"];
/// The codes that are the server's fault by OpenTelemetry's conventions: UNKNOWN, DEADLINE_EXCEEDED,
/// UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
const FAULTS: [u32; 6] = [2, 4, 12, 13, 14, 15];

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpanKind {
    Unary,
    Stream,
    /// A message of a stream.
    Message,
}

/// A call, or a message of a stream, that is traced.
#[derive(Debug)]
pub(crate) struct TracedCall {
    pub kind: SpanKind,
    /// package.Service/Method.
    pub method: Arc<str>,
    pub context: SpanContext,
    /// The name of the principal that calls; `None` where everybody may call, or the call was refused.
    pub principal: Option<Arc<str>>,
    pub begin: Instant,
    pub end: Instant,
    /// Begin and end of each stage that was passed.
    pub stages: [Option<(Instant, Instant)>; STAGES],
    /// The status code; where there is a reason, the code is that of the reason.
    pub code: u32,
    pub reason: u32,
    /// Model and version; `None` where no version was found.
    pub version: Option<(String, String)>,
    pub route: Option<Arc<str>>,
    /// Rows, and rows with an error; `None` where they were not scored.
    pub rows: Option<(usize, usize)>,
    /// Empty where the prediction is not recorded.
    pub prediction_id: String,
    /// Calls whose rows were scored in the same run; 0 where there was no run.
    pub shared: usize,
}

impl TracedCall {
    /// Its own span, and one for each stage.
    fn spans(&self) -> u64 {
        1 + self.stages.iter().flatten().count() as u64
    }

    /// Writes its spans; `at` gives the nanoseconds since 1970 of a time, and `reasons` the code and the name of
    /// each reason.
    pub(crate) fn write(&self, spans: &mut Spans, at: &dyn Fn(Instant) -> u64, reasons: &[(u32, String)]) {
        let (name, kind) = match self.kind {
            SpanKind::Unary | SpanKind::Stream => (&*self.method, otlp::KIND_SERVER),
            SpanKind::Message => ("message", otlp::KIND_INTERNAL),
        };
        spans.begin(&self.context, name, kind, (at(self.begin), at(self.end)));
        let (service, method) = self.method.rsplit_once('/').unwrap_or_default();
        spans.text("rpc.system", "grpc");
        spans.text("rpc.service", service);
        spans.text("rpc.method", method);
        let reason = reasons.get(self.reason as usize).filter(|_| self.reason > 0);
        let code = reason.map_or(self.code, |(code, _)| *code);
        spans.number("rpc.grpc.status_code", code.into());
        if let Some((_, name)) = reason {
            spans.text("scorewire.reason", name);
        }
        if let Some(principal) = &self.principal {
            spans.text("scorewire.principal", principal);
        }
        if let Some((model, version)) = &self.version {
            spans.text("scorewire.model", model);
            spans.text("scorewire.version", version);
            spans.text("scorewire.route", self.route.as_deref().unwrap_or_default());
        }
        if let Some((rows, errors)) = self.rows {
            spans.number("scorewire.rows", rows as u64);
            spans.number("scorewire.row_errors", errors as u64);
        }
        if !self.prediction_id.is_empty() {
            spans.text("scorewire.prediction_id", &self.prediction_id);
        }
        if self.shared > 1 {
            spans.number("scorewire.run.calls", self.shared as u64);
        }
        if FAULTS.contains(&code) {
            spans.error();
        }
        spans.end();
        for (name, times) in STAGE_NAMES.iter().zip(self.stages) {
            if let Some((begin, end)) = times {
                spans.child(&self.context, &new_span_id(), name, (at(begin), at(end)));
            }
        }
    }
}

/// What became of the spans so far.
#[derive(Debug, Default)]
struct TraceCounters {
    sampled: AtomicU64,
    dropped: AtomicU64,
    taken: AtomicU64,
    limited: AtomicU64,
}

/// Decides which calls are traced, and queues those that have ended.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// The share of calls without a valid traceparent that are traced.
    share: f64,
    /// The part of a second that one call takes of the limit by second.
    interval_ns: u64,
    started: Instant,
    /// When the limit's bucket is empty again, in nanoseconds since the start.
    empty_ns: AtomicU64,
    ended: SyncSender<Box<TracedCall>>,
    waiting: Mutex<Receiver<Box<TracedCall>>>,
    counters: TraceCounters,
}

impl Tracer {
    /// A tracer that traces at most `per_second` calls and messages in a second, of which `waiting` may wait.
    pub(crate) fn new(share: f64, per_second: u64, waiting: usize) -> Self {
        let (ended, taken) = sync_channel(waiting);
        Self {
            share,
            interval_ns: SECOND_NS / per_second.max(1),
            started: Instant::now(),
            empty_ns: AtomicU64::new(0),
            ended,
            waiting: Mutex::new(taken),
            counters: TraceCounters::default(),
        }
    }

    /// The trace of a call that begins; `None` where the call is not traced.
    #[inline]
    pub(crate) fn begin(
        self: &Arc<Self>,
        traceparent: Option<&[u8]>,
        context: &CallContext<'_>,
        streams: bool,
    ) -> Option<Arc<Trace>> {
        let flagged = traceparent.is_some_and(is_flagged);
        // Without the flag, a call is traced only if it is drawn and has no valid traceparent. Nothing is drawn
        // for a share of 0.
        if !flagged && !self.draws() {
            return None;
        }
        self.begin_traced(traceparent.and_then(TraceParent::parse), flagged, context, streams)
    }

    /// True with probability `share`, for each call on its own.
    #[inline]
    fn draws(&self) -> bool {
        self.share > 0.0 && countdown(self.share)
    }

    #[cold]
    fn begin_traced(
        self: &Arc<Self>,
        parent: Option<TraceParent>,
        flagged: bool,
        context: &CallContext<'_>,
        streams: bool,
    ) -> Option<Arc<Trace>> {
        let sampled = match parent {
            Some(parent) => parent.sampled,
            // One without the flag was drawn already.
            None => !flagged || self.draws(),
        };
        if !sampled || !self.allows(context.received) {
            return None;
        }
        let metadata = context.metadata.iter();
        let state = metadata.filter(|(name, _)| *name == TRACESTATE).map(|(_, value)| value);
        let context_of = match parent {
            Some(TraceParent { trace_id, span_id, .. }) => SpanContext {
                trace_id,
                span_id: new_span_id(),
                parent_id: Some(span_id),
                remote: true,
                state: join_state(state),
            },
            None => {
                let [high, low] = [random(), random()].map(u64::to_be_bytes);
                let mut trace_id = [0; 16];
                trace_id[..8].copy_from_slice(&high);
                trace_id[8..].copy_from_slice(&low);
                SpanContext {
                    trace_id,
                    span_id: new_span_id(),
                    parent_id: None,
                    remote: false,
                    state: Arc::default(),
                }
            }
        };
        let kind = if streams { SpanKind::Stream } else { SpanKind::Unary };
        let method = Arc::from(context.path.trim_start_matches('/'));
        Some(Trace::new(self, kind, method, context_of, context.received))
    }

    /// Whether the limit by second allows one more: the generic cell rate algorithm.
    fn allows(&self, now: Instant) -> bool {
        let now_ns = nanoseconds(self.started, now);
        let add = |empty_ns: u64| {
            let empty_ns = empty_ns.max(now_ns) + self.interval_ns;
            (empty_ns <= now_ns + SECOND_NS).then_some(empty_ns)
        };
        let allowed = self.empty_ns.fetch_update(Relaxed, Relaxed, add).is_ok();
        if !allowed {
            self.counters.limited.fetch_add(1, Relaxed);
        }
        allowed
    }

    /// Queues a call that has ended, or drops it where the queue is full. Never waits.
    fn end(&self, call: Box<TracedCall>) {
        let (spans, counters) = (call.spans(), &self.counters);
        // Before it can be taken.
        counters.sampled.fetch_add(spans, Release);
        if self.ended.try_send(call).is_err() {
            counters.dropped.fetch_add(spans, Release);
        }
    }

    /// Takes the oldest calls out of the queue. Never waits.
    pub(crate) fn take(&self, most: usize) -> Vec<TracedCall> {
        let calls: Vec<_> = locked(&self.waiting).try_iter().take(most).map(|call| *call).collect();
        self.counters.taken.fetch_add(calls.iter().map(TracedCall::spans).sum(), Release);
        calls
    }

    /// Spans of calls that have ended, spans that found the queue full, spans in the queue; and calls and messages
    /// that the limit by second left out.
    pub(crate) fn counts(&self) -> [u64; 4] {
        let TraceCounters { sampled, dropped, taken, limited } = &self.counters;
        // Every span is counted as sampled first. So what has left the queue is read before, and the rest waits.
        let (taken, dropped) = (taken.load(Acquire), dropped.load(Acquire));
        let sampled = sampled.load(Acquire);
        [sampled, dropped, sampled - dropped - taken, limited.load(Relaxed)]
    }
}

/// The trace of a call, or of a message of a stream, while it is answered. One that is dropped before it has ended
/// ends as cancelled.
#[derive(Debug)]
pub(crate) struct Trace {
    tracer: Arc<Tracer>,
    /// `None` once the call has ended. Only sampled calls have a lock, and no two threads want it at once.
    open: Mutex<Option<Box<TracedCall>>>,
}

impl Trace {
    fn new(
        tracer: &Arc<Tracer>,
        kind: SpanKind,
        method: Arc<str>,
        context: SpanContext,
        begin: Instant,
    ) -> Arc<Self> {
        let call = TracedCall {
            kind,
            method,
            context,
            principal: None,
            begin,
            end: begin,
            stages: [None; STAGES],
            code: 0,
            reason: 0,
            version: None,
            route: None,
            rows: None,
            prediction_id: String::new(),
            shared: 0,
        };
        Arc::new(Self { tracer: Arc::clone(tracer), open: Mutex::new(Some(Box::new(call))) })
    }

    /// The trace of a message of this stream; `None` where the limit by second does not allow it.
    pub(crate) fn message(&self, begin: Instant) -> Option<Arc<Self>> {
        let open = locked(&self.open);
        let TracedCall { method, context, principal, .. } = &**open.as_ref()?;
        self.tracer.allows(begin).then(|| {
            let context = SpanContext {
                span_id: new_span_id(),
                parent_id: Some(context.span_id),
                remote: false,
                ..context.clone()
            };
            let trace = Self::new(&self.tracer, SpanKind::Message, Arc::clone(method), context, begin);
            principal.iter().for_each(|principal| trace.identified(principal));
            trace
        })
    }

    fn note(&self, note: impl FnOnce(&mut TracedCall)) {
        if let Some(call) = &mut *locked(&self.open) {
            note(call);
        }
    }

    /// Notes who calls.
    #[cold]
    pub(crate) fn identified(&self, principal: &Arc<str>) {
        self.note(|call| call.principal = Some(Arc::clone(principal)));
    }

    /// Notes when a message was read.
    #[cold]
    pub(crate) fn decoded(&self, begin: Instant, end: Instant) {
        self.note(|call| call.stages[Stage::Decode as usize] = Some((begin, end)));
    }

    /// Notes that a version was picked, just now.
    #[cold]
    pub(crate) fn routed(&self, begin: Instant, route: &Route, target: &Target) {
        let (version, end) = (&target.version, Instant::now());
        self.note(|call| {
            call.stages[Stage::Route as usize] = Some((begin, end));
            call.version = Some((version.model.clone(), version.version.clone()));
            call.route = Some(Arc::clone(&route.name));
        });
    }

    /// Notes that the rows of several calls are scored in one run.
    #[cold]
    pub(crate) fn shares_run(&self, calls: usize) {
        self.note(|call| call.shared = calls);
    }

    /// Notes the scores of a message whose answer was written at `encoded`, if it was. Whatever records the
    /// prediction has done so.
    #[cold]
    pub(crate) fn scored(&self, scores: &Scores<'_>, encoded: Option<Instant>) {
        let (times, now) = (&scores.times, Instant::now());
        self.note(|call| {
            let stages = &mut call.stages;
            let mut passed = |stage: Stage, begin, end| stages[stage as usize] = Some((begin, end));
            passed(Stage::Decode, times.begin, times.decoded);
            if scores.binding.is_some() {
                if let Some(ExplainedRows { explained, .. }) = scores.explained {
                    // Rows are explained just before they are run.
                    let begin = times.run.begin - Duration::from_nanos(explained.ns);
                    passed(Stage::Explain, begin, times.run.begin);
                }
                passed(Stage::Run, times.run.begin, times.run.end);
                call.shared = call.shared.max(1);
            }
            call.rows = Some((scores.row_count(), scores.errors.len()));
            let Some(encoded) = encoded else { return };
            passed(Stage::Encode, times.run.end, encoded);
            if !scores.prediction_id.is_empty() {
                passed(Stage::Record, encoded, now);
                call.prediction_id = String::from_utf8_lossy(scores.prediction_id).into_owned();
            }
        });
    }

    /// Ends the trace, unless it has ended.
    #[cold]
    pub(crate) fn end(&self, end: Instant, code: u32, reason: u32) {
        if let Some(mut call) = locked(&self.open).take() {
            (call.end, call.code, call.reason) = (end, code, reason);
            self.tracer.end(call);
        }
    }
}

impl OpenSpan for Trace {
    fn hand_over(&self) -> Option<SpanContext> {
        locked(&self.open).take().map(|call| call.context)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.end(Instant::now(), status::CANCELLED, 0);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_span_id() -> SpanId {
    random().to_be_bytes()
}

/// True with the probability of a share above 0, independently each time.
///
/// The calls between two that are drawn are geometrically distributed. So their number is drawn once, and then
/// only counted down. It does not depend on the calls before: another share may begin anew at any time.
#[inline]
fn countdown(share: f64) -> bool {
    thread_local! {
        static LEFT: Cell<(f64, u64)> = const { Cell::new((0.0, 0)) };
    }
    let (counted_for, left) = LEFT.get();
    let left = if counted_for == share { left } else { split::failures(share) };
    let is_drawn = left == 0;
    LEFT.set((share, if is_drawn { split::failures(share) } else { left - 1 }));
    is_drawn
}

/// A random number that is not 0.
fn random() -> u64 {
    split::random_point().max(1)
}

#[cfg(test)]
mod tests;

//! Traces on their way to the control plane.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::predict::tracing::{SpanKind, TracedCall, Tracer};
use crate::protocol::trace_context::SpanContext;

/// Which calls are traced.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct TraceParts {
    share: f64,
    per_second: u64,
    waiting: usize,
}

impl TraceParts {
    pub(super) fn tracer(&self) -> Tracer {
        Tracer::new(self.share, self.per_second, self.waiting)
    }
}

/// Translates times to nanoseconds since 1970, by the wall clock of now.
struct WallClock {
    now: Instant,
    now_ns: u64,
}

impl WallClock {
    fn read() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { now: Instant::now(), now_ns: since_1970.as_nanos() as u64 }
    }

    fn at(&self, time: Instant) -> u64 {
        self.now_ns - self.now.saturating_duration_since(time).as_nanos() as u64
    }
}

/// Takes the oldest calls that have ended: for each the span, its times, how it ended, and what was scored.
pub(super) fn take<'py>(py: Python<'py>, tracer: &Tracer, most: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
    let calls = py.detach(|| tracer.take(most));
    let clock = WallClock::read();
    calls.into_iter().map(|call| call_tuple(py, &clock, call)).collect()
}

fn call_tuple<'py>(py: Python<'py>, clock: &WallClock, call: TracedCall) -> PyResult<Bound<'py, PyTuple>> {
    let kind = match call.kind {
        SpanKind::Unary => "unary",
        SpanKind::Stream => "stream",
        SpanKind::Message => "message",
    };
    let stage = |(place, times): (usize, &Option<(Instant, Instant)>)| {
        times.map(|(begin, end)| (place, clock.at(begin), clock.at(end)))
    };
    let stages: Vec<_> = call.stages.iter().enumerate().filter_map(stage).collect();
    let (model, version) = call.version.unwrap_or_default();
    let (rows, row_errors) = call.rows.map_or((-1, -1), |(rows, errors)| (rows as i64, errors as i64));
    let route = call.route.as_deref().unwrap_or_default();
    (
        (kind, &*call.method, span_context(py, &call.context)?),
        (clock.at(call.begin), clock.at(call.end), stages),
        (call.code, call.reason),
        (model, version, route, rows, row_errors, call.prediction_id, call.shared),
    )
        .into_pyobject(py)
}

/// Trace, span, parent (empty for the first of a trace), whether the parent is the caller's, and the tracestate.
pub(super) fn span_context<'py>(py: Python<'py>, context: &SpanContext) -> PyResult<Bound<'py, PyTuple>> {
    let bytes = |value: &[u8]| PyBytes::new(py, value);
    let parent = context.parent_id.as_ref().map_or(&[][..], |id| id);
    (bytes(&context.trace_id), bytes(&context.span_id), bytes(parent), context.remote, &*context.state)
        .into_pyobject(py)
}

//! Traces on their way to the control plane.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::predict::tracing::Tracer;
use crate::protocol::otlp::Spans;
use crate::protocol::trace_context::SpanContext;

/// Which calls are traced.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct TraceParts {
    share: f64,
    per_second: u64,
    waiting: usize,
    /// The code and the name of each reason, by its number.
    reasons: Vec<(u32, String)>,
}

/// A tracer, and what its spans tell of failures.
pub(super) struct PyTracer {
    pub tracer: Arc<Tracer>,
    reasons: Vec<(u32, String)>,
}

impl TraceParts {
    pub(super) fn tracer(self) -> PyTracer {
        let tracer = Arc::new(Tracer::new(self.share, self.per_second, self.waiting));
        PyTracer { tracer, reasons: self.reasons }
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
        self.now_ns.saturating_sub(self.now.saturating_duration_since(time).as_nanos() as u64)
    }
}

/// Takes the oldest calls that have ended: their spans as fields of a `ScopeSpans`, how many calls there are, and
/// how many spans.
pub(super) fn take<'py>(
    py: Python<'py>,
    tracer: &PyTracer,
    most: usize,
) -> (Bound<'py, PyBytes>, usize, usize) {
    let (spans, calls) = py.detach(|| {
        let (calls, clock, mut spans) = (tracer.tracer.take(most), WallClock::read(), Spans::default());
        for call in &calls {
            call.write(&mut spans, &|time| clock.at(time), &tracer.reasons);
        }
        (spans, calls.len())
    });
    (PyBytes::new(py, &spans.bytes), calls, spans.count)
}

/// Trace, span, parent (empty for the first of a trace), whether the parent is the caller's, and the tracestate.
pub(super) fn span_context<'py>(py: Python<'py>, context: &SpanContext) -> PyResult<Bound<'py, PyTuple>> {
    let bytes = |value: &[u8]| PyBytes::new(py, value);
    let parent = context.parent_id.as_ref().map_or(&[][..], |id| id);
    (bytes(&context.trace_id), bytes(&context.span_id), bytes(parent), context.remote, &*context.state)
        .into_pyobject(py)
}

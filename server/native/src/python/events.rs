//! Events on their way to the control plane.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::bridge::events::{Event, Refusal, RefusedCall};
use crate::bridge::question::Problem;
use crate::python::tracing::span_context;
use crate::transport::context::{OwnedContext, Peer};

/// What Python gets of an event: its kind, the number of the call, and what it says.
pub(super) fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Open { id, context } => ("open", id, context_tuple(py, &context)?).into_pyobject(py),
        Event::Message { id, data } => ("message", id, PyBytes::new(py, &data)).into_pyobject(py),
        Event::End { id } => ("end", id, ()).into_pyobject(py),
        Event::Gone { id } => ("gone", id, ()).into_pyobject(py),
        Event::Verify { id, certificate, value, peer } => {
            let kind = if certificate { "certificate" } else { "token" };
            ("verify", id, (kind, PyBytes::new(py, &value), peer_tuple(py, &peer))).into_pyobject(py)
        }
        Event::Refused { call, left_out } => {
            let RefusedCall { path, peer, principal, refusal } = call;
            let failure = match refusal {
                Refusal::Unauthenticated => "unauthenticated",
                Refusal::TooManyInFlight => "too_many_in_flight",
                Refusal::CallerLimit => "caller_limit",
            };
            let peer = peer_tuple(py, &peer);
            ("refused", 0, (path, peer, principal.as_deref(), failure, left_out)).into_pyobject(py)
        }
        Event::Fault { method, text } => ("fault", 0, (method, text)).into_pyobject(py),
        Event::Ask { id, origin, question } => {
            let origin = origin.as_ref().and_then(|origin| origin.downcast_ref::<Py<PyAny>>());
            let origin = origin.map(|origin| origin.clone_ref(py));
            let (malformed, refusal, answer_bytes) = match question.problem {
                Problem::Request => (false, None, 0),
                Problem::Malformed => (true, None, 0),
                Problem::Row(refusal) => (false, Some(PyBytes::new(py, &refusal)), 0),
                Problem::TooLong(length) => (false, None, length),
            };
            let route = (question.model, question.major, question.version, question.picked);
            let counts = (question.row_count, question.number_count, question.text_count);
            let problem = (malformed, refusal, answer_bytes);
            let request = (question.schema_fingerprint, question.explain);
            let asked = (origin, question.method, route, request, counts, problem);
            ("ask", id, asked).into_pyobject(py)
        }
    }
}

/// The address and the certificate of the other end.
fn peer_tuple<'py>(py: Python<'py>, peer: &Peer) -> (String, Option<Bound<'py, PyBytes>>) {
    (peer.address.to_string(), peer.certificate.as_deref().map(|certificate| PyBytes::new(py, certificate)))
}

/// Path, the block of metadata, the peer, nanoseconds since the call arrived, and seconds until the deadline; of a
/// traced prediction the span; and the name of who calls.
fn context_tuple<'py>(py: Python<'py>, context: &OwnedContext) -> PyResult<Bound<'py, PyTuple>> {
    let (metadata, peer) = (PyBytes::new(py, &context.metadata), peer_tuple(py, &context.peer));
    let (age_ns, seconds_left) = (context.age_ns(), context.seconds_left());
    let span = context.span.as_ref().and_then(|span| span.hand_over());
    let span = span.map(|span| span_context(py, &span)).transpose()?;
    let principal = context.principal.as_deref();
    (&*context.path, metadata, peer, age_ns, seconds_left, span, principal).into_pyobject(py)
}

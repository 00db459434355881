//! Spans as OpenTelemetry's protocol writes them: messages of `opentelemetry.proto.trace.v1`.
//!
//! The same as `engine/spans.py` writes.

use crate::protocol::protobuf::{
    Kind, put_bytes_head, put_tag, put_text_field, put_varint, put_varint_field,
};
use crate::protocol::trace_context::{SpanContext, SpanId, TraceId};

pub(crate) const KIND_INTERNAL: u64 = 1;
pub(crate) const KIND_SERVER: u64 = 2;

/// Bits of a span's flags: it is sampled, and the two that follow tell whether its parent is another service's.
const SAMPLED: u32 = 1;
const KNOWS_IS_REMOTE: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;
const STATUS_ERROR: u64 = 2;

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;
/// The fields of `Span`.
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const TRACE_STATE: u32 = 3;
const PARENT_SPAN_ID: u32 = 4;
const NAME: u32 = 5;
const KIND: u32 = 6;
const START_NS: u32 = 7;
const END_NS: u32 = 8;
const ATTRIBUTES: u32 = 9;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;
/// `Status.code`, and the fields of `KeyValue` and of `AnyValue`.
const STATUS_CODE: u32 = 3;
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;
const INT_VALUE: u32 = 3;

/// Spans that are being written, as fields `spans` of a `ScopeSpans`.
#[derive(Default)]
pub(crate) struct Spans {
    pub bytes: Vec<u8>,
    pub count: usize,
    /// The span that is being written, an attribute of it, and the value of that.
    span: Vec<u8>,
    attribute: Vec<u8>,
    value: Vec<u8>,
}

impl Spans {
    /// Begins a span. `times` are in nanoseconds since 1970.
    pub(crate) fn begin(&mut self, context: &SpanContext, name: &str, kind: u64, times: (u64, u64)) {
        let parent = context.parent_id.as_ref().map_or(&[][..], |id| id);
        self.head((&context.trace_id, &context.span_id, parent), &context.state, name, kind, times);
        let remote = if context.remote { IS_REMOTE } else { 0 };
        self.flags(SAMPLED | KNOWS_IS_REMOTE | remote);
    }

    /// Writes a span below the one of a context.
    pub(crate) fn child(&mut self, parent: &SpanContext, id: &SpanId, name: &str, times: (u64, u64)) {
        self.head((&parent.trace_id, id, &parent.span_id), &parent.state, name, KIND_INTERNAL, times);
        self.flags(SAMPLED | KNOWS_IS_REMOTE);
        self.end();
    }

    fn head(
        &mut self,
        (trace_id, span_id, parent_id): (&TraceId, &SpanId, &[u8]),
        state: &str,
        name: &str,
        kind: u64,
        (start_ns, end_ns): (u64, u64),
    ) {
        let span = &mut self.span;
        span.clear();
        put_text_field(span, TRACE_ID, trace_id);
        put_text_field(span, SPAN_ID, span_id);
        put_text_field(span, TRACE_STATE, state.as_bytes());
        put_text_field(span, PARENT_SPAN_ID, parent_id);
        put_text_field(span, NAME, name.as_bytes());
        put_varint_field(span, KIND, kind);
        for (field, ns) in [(START_NS, start_ns), (END_NS, end_ns)] {
            put_tag(span, field, Kind::Fixed64);
            span.extend_from_slice(&ns.to_le_bytes());
        }
    }

    fn flags(&mut self, flags: u32) {
        put_tag(&mut self.span, FLAGS, Kind::Fixed32);
        self.span.extend_from_slice(&flags.to_le_bytes());
    }

    /// Adds an attribute to the span that is being written.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.value.clear();
        put_bytes_head(&mut self.value, STRING_VALUE, value.len());
        self.value.extend_from_slice(value.as_bytes());
        self.add(key);
    }

    /// Adds an attribute to the span that is being written.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.value.clear();
        put_tag(&mut self.value, INT_VALUE, Kind::Varint);
        put_varint(&mut self.value, value);
        self.add(key);
    }

    /// Adds the attribute whose value was written.
    fn add(&mut self, key: &str) {
        let Self { span, attribute, value, .. } = self;
        attribute.clear();
        put_text_field(attribute, KEY, key.as_bytes());
        put_text_field(attribute, VALUE, value);
        put_text_field(span, ATTRIBUTES, attribute);
    }

    /// Marks the span that is being written as failed by a fault of the server.
    pub(crate) fn error(&mut self) {
        self.attribute.clear();
        put_varint_field(&mut self.attribute, STATUS_CODE, STATUS_ERROR);
        put_text_field(&mut self.span, STATUS, &self.attribute);
    }

    /// Ends the span that is being written.
    pub(crate) fn end(&mut self) {
        put_text_field(&mut self.bytes, SPANS, &self.span);
        self.count += 1;
    }
}

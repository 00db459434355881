"""W3C trace context: what the caller's headers say of the trace that a call belongs to.

Source: https://www.w3.org/TR/trace-context/. The rules are those of predict/trace_context.rs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from scorewire_server.engine.tracing import MAX_STATE_BYTES

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
# Later versions may have more fields behind a hyphen.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1


class TraceParent(NamedTuple):
    """A valid traceparent.

    Attributes:
        trace_id: 16 bytes, not all zero.
        span_id: 8 bytes, not all zero: the span of the caller.
        sampled: whether the caller keeps its own spans of the trace.
    """

    trace_id: bytes
    span_id: bytes
    sampled: bool


def find_parent(metadata: Iterable[tuple[str, str | bytes]]) -> TraceParent | None:
    """The traceparent of a call; None if there is none, or if it is not valid.

    Of several, gRPC keeps the last one only.
    """
    found = [value for name, value in metadata if name == TRACEPARENT]
    return parse_traceparent(found[-1]) if found else None


def parse_traceparent(value: str | bytes) -> TraceParent | None:
    """Read a traceparent; None if it is not valid."""
    match = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceParent(bytes.fromhex(trace_id), bytes.fromhex(span_id), sampled)


def find_state(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The tracestate of a call, its first members up to `MAX_STATE_BYTES`; "" if there is none."""
    values = [value for name, value in metadata if name == TRACESTATE]
    state = ",".join(value for value in values if isinstance(value, str))
    if len(state) <= MAX_STATE_BYTES:
        return state
    return state[: MAX_STATE_BYTES + 1].rpartition(",")[0]

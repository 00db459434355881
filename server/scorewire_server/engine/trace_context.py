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
_MAX_MEMBERS = 32
_KEY = r"[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
# Printable characters but the comma and the equals sign; the last one is no space.
_CHARACTER = r"\x20-\x2b\x2d-\x3c\x3e-\x7e"
_MEMBER = re.compile(rf"({_KEY})=([{_CHARACTER}]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e])")


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
    """The tracestate of a call, its first members up to `MAX_STATE_BYTES`; "" without a valid one."""
    values = [value for name, value in metadata if name == TRACESTATE]
    state = ",".join(value for value in values if isinstance(value, str))
    if len(state) > MAX_STATE_BYTES:
        state = state[: MAX_STATE_BYTES + 1].rpartition(",")[0]
    return valid_state(state)


def valid_state(state: str) -> str:
    """A tracestate without empty members and the space around members; "" if it is not valid."""
    members = [member for member in (part.strip(" \t") for part in state.split(",")) if member]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    if len(members) > _MAX_MEMBERS or len(keys) < len(members):
        return ""
    return ",".join(members)

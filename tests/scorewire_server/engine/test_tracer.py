"""Which calls are traced, and how many in a second."""

from __future__ import annotations

from google.rpc import code_pb2

from scorewire_server.engine.tracer import CallTrace, Tracer
from scorewire_server.engine.tracing import TraceOptions

PARENT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
MS = 1_000_000


def begin(tracer: Tracer, ms: int, *, stream: bool = False) -> CallTrace | None:
    """The trace of a call with a traceparent that comes at a time, if it is traced."""
    return tracer.begin("/p.S/M", (PARENT,), ms * MS, stream=stream)


def test_the_limit_allows_a_seconds_worth_at_once_and_then_one_at_a_time() -> None:
    tracer = Tracer(TraceOptions(share=0.0, per_second=10))
    streams = [each for each in (begin(tracer, 0, stream=True) for _ in range(20)) if each is not None]
    assert (len(streams), tracer.counts.limited) == (10, 10)
    assert begin(tracer, 50) is None
    assert begin(tracer, 100) is not None
    assert begin(tracer, 100) is None
    # Messages of a stream count as well.
    assert streams[0].of_message(150 * MS) is None
    assert streams[0].of_message(200 * MS) is not None


def test_a_trace_ends_once() -> None:
    tracer = Tracer(TraceOptions(share=0.0, per_second=10))
    trace = begin(tracer, 0)
    assert trace is not None
    trace.end()
    trace.end(code_pb2.INTERNAL)
    batch = tracer.take(10)
    assert (batch.calls, batch.spans) == (1, 1)
    assert tracer.counts == (1, 0, 0, 0)


def test_the_only_message_of_a_call_has_the_trace_of_the_call() -> None:
    trace = begin(Tracer(TraceOptions(share=0.0, per_second=1)), 0)
    assert trace is not None
    assert trace.of_message(0) is trace

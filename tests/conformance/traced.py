"""An engine that traces, and what its spans say, for the tests of both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from scorewire_contract.records.identity import new_start
from scorewire_proto.v1 import models_pb2, prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.access import AccessOptions
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.recording import NO_SOURCES, RecordOptions
from scorewire_server.engine.snapshot import LoadedVersion, Routing, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.tracing import STAGES, SpanBatch, TraceCounts, TraceOptions
from scorewire_server.loading.loader import load
from scorewire_server.records.policy import ModelPolicy, Policy
from scorewire_server.records.sources import SourceNumbers, sources_of
from scorewire_server.settings import Settings
from tests import otlp
from tests.conformance.wire import PREDICT, sum_request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = ("traceparent", f"00-{TRACE}-{SPAN}-01")
SCORED = ["decode", "route", "run", "encode"]
MILLION = 1_000_000


@dataclass(frozen=True)
class Traced:
    """What the spans of one call, or of one message of a stream, say.

    `kind` is "call" or "message"; `stages` has the name, the begin and the end of each child. What has no
    attribute is "" or -1.
    """

    kind: str
    method: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    remote: bool
    state: str
    begin_ns: int
    end_ns: int
    stages: tuple[tuple[str, int, int], ...]
    code: int
    reason: str
    model: str
    version: str
    route: str
    rows: int
    row_errors: int
    prediction_id: str
    principal: str
    run_calls: int
    error: bool

    @classmethod
    def of(cls, span: Span, children: list[Span]) -> Traced:
        """Read a span and those below it."""
        found = otlp.attributes(span)
        assert found.pop("rpc.system") == "grpc"
        method = f"{found.pop('rpc.service')}/{found.pop('rpc.method')}"
        message = span.kind == Span.SPAN_KIND_INTERNAL
        assert span.name == ("message" if message else method)
        assert span.kind in {Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER}
        assert span.flags in {0x101, 0x301}
        for child in children:
            assert (child.trace_id, child.trace_state) == (span.trace_id, span.trace_state)
            assert (child.kind, child.flags, len(child.span_id)) == (Span.SPAN_KIND_INTERNAL, 0x101, 8)
        times = ((child.name, child.start_time_unix_nano, child.end_time_unix_nano) for child in children)
        traced = cls(
            kind="message" if message else "call",
            method=method,
            trace_id=span.trace_id,
            span_id=span.span_id,
            parent_id=span.parent_span_id,
            remote=span.flags == 0x301,
            state=span.trace_state,
            begin_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            stages=tuple(times),
            code=found.pop("rpc.grpc.status_code"),
            reason=found.pop("scorewire.reason", ""),
            model=found.pop("scorewire.model", ""),
            version=found.pop("scorewire.version", ""),
            route=found.pop("scorewire.route", ""),
            rows=found.pop("scorewire.rows", -1),
            row_errors=found.pop("scorewire.row_errors", -1),
            prediction_id=found.pop("scorewire.prediction_id", ""),
            principal=found.pop("scorewire.principal", ""),
            run_calls=found.pop("scorewire.run.calls", -1),
            error=span.status.code == Status.STATUS_CODE_ERROR,
        )
        assert not found
        return traced


def read_spans(encoded: bytes) -> list[Traced]:
    """The calls whose spans an engine has encoded, in order."""
    spans = list(ScopeSpans.FromString(encoded).spans)
    assert len({span.span_id for span in spans}) == len(spans)
    calls = []
    for span in spans:
        if span.name not in STAGES:
            below = [each for each in spans if each.parent_span_id == span.span_id and each.name in STAGES]
            calls.append(Traced.of(span, below))
    assert len(spans) == sum(1 + len(call.stages) for call in calls)
    return calls


class Tracing:
    """A running engine that traces, and a channel to it."""

    def __init__(self, engine: Any, channel: aio.Channel, loaded: list[LoadedVersion]) -> None:
        self.engine = engine
        self.channel = channel
        self.loaded = loaded
        self.taken = 0
        snapshot = build_snapshot(
            [
                VersionRecord(each.model, each.version, models_pb2.VERSION_STATE_SERVING, loaded=each)
                for each in loaded
            ],
            {"sum": Routing(split=(("1.0.0", 1),), aliases={"best": "1.1.0"})},
        )
        policies = Policy(default=ModelPolicy(), hash_key=bytes(32))
        recording = engine.records is not None
        sources = sources_of(snapshot, policies, SourceNumbers()) if recording else NO_SOURCES
        engine.publish(snapshot, sources=sources)

    def take(self) -> list[Traced]:
        """The calls that have ended since the last time."""
        batch: SpanBatch = self.engine.traces.take(MILLION)
        calls = read_spans(batch.encoded)
        assert batch.calls == len(calls)
        assert batch.spans == sum(1 + len(call.stages) for call in calls)
        self.taken += batch.spans
        counts: TraceCounts = self.engine.traces.counts
        assert counts.sampled == counts.dropped + counts.waiting + self.taken
        return calls

    async def take_some(self, count: int) -> list[Traced]:
        """The calls that end, until there are this many; for those that end after their answer."""
        calls = self.take()
        async with asyncio.timeout(60):
            while len(calls) < count:
                await asyncio.sleep(0.005)
                calls += self.take()
        assert self.engine.traces.counts.waiting == 0
        return calls

    def one(self) -> Traced:
        """The only call that has ended since the last time."""
        (call,) = self.take()
        assert self.engine.traces.counts.waiting == 0
        return call

    async def call(self, path: str, data: bytes, *metadata: tuple[str, str]) -> bytes:
        method: Any = self.channel.unary_unary(path)
        answer: bytes = await method(data, timeout=60, metadata=metadata)
        return answer

    async def predict(self, *metadata: tuple[str, str], **fields: Any) -> prediction_pb2.PredictResponse:
        request = sum_request(**fields)
        answer = await self.call(PREDICT, request.SerializeToString(), *metadata)
        return prediction_pb2.PredictResponse.FromString(answer)

    async def fail(self, path: str, data: bytes) -> grpc.StatusCode:
        with pytest.raises(aio.AioRpcError) as caught:
            await self.call(path, data, SAMPLED)
        return caught.value.code()

    async def stream(self, path: str, messages: Iterable[bytes], *metadata: tuple[str, str]) -> list[bytes]:
        stream: Any = self.channel.stream_stream(path)(iter(messages), timeout=60, metadata=metadata)
        return [answer async for answer in stream]


Start = Callable[..., Awaitable[Tracing]]


@asynccontextmanager
async def starting(engine: str, models: list[Path], folder: Path) -> AsyncIterator[Start]:
    """A function that starts an engine of these bundles; what it has started is stopped at the end.

    The engine traces calls with a traceparent, and no others unless it is told to. Records are in `folder`.
    """
    running: list[Tracing] = []
    kind = choose_engine(engine)

    async def start_one(
        *,
        records: bool = False,
        max_stream_seconds: float = 0.0,
        access: AccessOptions | None = None,
        **options: Any,
    ) -> Tracing:
        traces = TraceOptions(**({"share": 0.0, "per_second": MILLION} | options))
        recording = RecordOptions(folder=folder / "records", start=new_start(), free_bytes=0)
        settings = Settings(
            listen="127.0.0.1:0", threads=2, max_rows=MILLION, max_stream_seconds=max_stream_seconds
        )
        made = kind.make(settings, [], recording if records else None, traces, access)
        loaded = []
        for path in models:
            bundle = BundleFolder(path, path.parent.name, path.name)
            record = load(bundle, partial(kind.open_session, threads=1), open_trees=kind.open_trees)
            assert record.loaded is not None, record.reason
            loaded.append(record.loaded)
        channel = aio.insecure_channel(await made.start())
        running.append(Tracing(made, channel, loaded))
        return running[-1]

    try:
        yield start_one
    finally:
        for each in running:
            await each.channel.close()
            await each.engine.stop(0)
            each.take()


def stages(call: Traced) -> list[str]:
    """The names of the stages of a call."""
    return [name for name, _, _ in call.stages]


def assert_nested(call: Traced, before_ns: int, after_ns: int) -> None:
    """All times of a call are between two times, and those of its stages are in order and within the call."""
    # Clocks of wall time and of intervals do not agree to the nanosecond.
    slack_ns = 1_000_000
    assert before_ns - slack_ns <= call.begin_ns <= call.end_ns <= after_ns + slack_ns
    last = {"record": after_ns + slack_ns}
    for name, begin_ns, end_ns in call.stages:
        assert call.begin_ns - slack_ns <= begin_ns <= end_ns <= last.get(name, call.end_ns + slack_ns)
    begins = [begin_ns for _, begin_ns, _ in call.stages]
    assert begins == sorted(begins)

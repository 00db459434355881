"""Traces of predictions that the extension hands over to Python."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread

import grpc
import pytest
from google.rpc import code_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.tracing import TraceOptions
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles, otlp
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.inference import INFER, infer_request, sum_tensors
from tests.scorewire_server.engine.running import CONTROL, Start, starting, until
from tests.scorewire_server.models import snapshot_of

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

CALLS = 4
SAMPLED = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
# What the extension does not read itself.
HALF = infer_request("sum", {**sum_tensors(), "x0": ("FP16", [1, 1], [1.0])}).SerializeToString()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts engines that trace calls with a traceparent, and stops them after the test."""
    from scorewire_server.engine.native.engine import NativeEngine

    def make(settings: Settings) -> NativeEngine:
        return NativeEngine(settings, CONTROL, traces=TraceOptions(share=0.0, per_second=1_000_000))

    async with starting(make, threads=1) as start_one:
        yield start_one


async def test_a_call_that_is_over_before_python_looks_at_it_has_a_span(start: Start, tmp_path: Path) -> None:
    from scorewire_server.engine.native.session import open_session

    running = await start()
    folder = BundleFolder(bundles.write_sum_bundle(tmp_path), "sum", "1.0.0")
    loaded = load(folder, lambda graph: open_session(graph, 1)).loaded
    assert loaded is not None
    running.engine.publish(snapshot_of(loaded))
    codes: list[grpc.StatusCode] = []

    def ask() -> None:
        with grpc.insecure_channel(running.address) as channel:
            for _ in range(CALLS):
                call = channel.unary_unary(INFER).future(HALF, timeout=0.5, metadata=(SAMPLED,))
                codes.append(call.code())

    asking = Thread(target=ask)
    asking.start()
    # Holds up the event loop, so that it learns at once of calls and of their ends.
    asking.join()
    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED] * CALLS
    told: list[int] = []

    def all_have_ended() -> bool:
        spans = ScopeSpans.FromString(running.engine.traces.take(CALLS).encoded).spans
        told.extend(otlp.attributes(span)["rpc.grpc.status_code"] for span in spans if span.attributes)
        return len(told) >= CALLS

    await until(all_have_ended)
    assert set(told) <= {code_pb2.DEADLINE_EXCEEDED, code_pb2.CANCELLED}
    assert len(told) == CALLS

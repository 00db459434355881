"""One measurement: a load on a server, or the model run bare."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

import numpy as np
import onnxruntime
import uvloop

from scorewire_loadtest.attack import Attack, ClosedLoop
from scorewire_loadtest.calls import Expectation, PreparedCall
from scorewire_loadtest.results import Results
from scorewire_loadtest.streams import StreamTransport
from scorewire_loadtest.timer import open_timer
from scorewire_loadtest.transport import Target, Transport, UnaryTransport
from scorewire_proto.v1 import packed_pb2
from tests.bench.scored_model import FEATURES, ScoredModel

# More connections than that bring nothing on one core, and fewer starve many calls in flight.
MAX_CONNECTIONS = 4
TIMEOUT_S = 20.0


class BadAnswerError(Exception):
    """A server failed a call or answered it wrong: its speed is worth nothing."""


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keep this thread, and processes and threads that it starts, on a core; None lets them be."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int | None, int | None]:
    """A core for servers and another for the generator; None and None where there are no two."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


def put_load(
    address: str, mode: str, calls: list[PreparedCall], *, in_flight: int, duration_s: float, warmup_s: float
) -> Results:
    """Closed loop with so many calls in flight.

    Raises:
        BadAnswerError: a call failed, or an answer was wrong.
    """

    async def run() -> Results:
        connections = min(in_flight, MAX_CONNECTIONS)
        target = Target(address)
        transport: Transport
        if mode == "unary":
            transport = UnaryTransport(target, connections=connections, timeout_s=TIMEOUT_S)
        else:
            transport = StreamTransport(
                target, connections=connections, streams=connections, timeout_s=TIMEOUT_S
            )
        timer = open_timer()
        try:
            return await Attack(
                transport=transport,
                calls=calls,
                load=ClosedLoop(in_flight),
                warmup_s=warmup_s,
                duration_s=duration_s,
                timer=timer,
            ).run()
        finally:
            timer.close()
            await transport.close()

    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        results = runner.run(run())
    if results.failed or results.wrong or not results.answered:
        raise BadAnswerError(f"{address}: {results.errors} {results.wrong_examples}")
    return results


@dataclass(slots=True)
class Timed:
    """An expectation that also notes the times that the answers tell, in microseconds."""

    expectation: Expectation
    server_us: list[int] = field(default_factory=list)
    model_us: list[int] = field(default_factory=list)

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        """As in `Expectation`."""
        self.server_us.append(response.server_time_us)
        self.model_us.append(response.model_time_us)
        return self.expectation.problem(response)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where the time of a call goes, in microseconds: medians, or medians of the rounds' medians."""

    bare_us: float
    model_us: float
    server_us: float
    call_us: float


def measure_parts(
    model: ScoredModel, address: str, *, rows: int, rounds: int, duration_s: float, server_core: int | None
) -> Parts:
    """One call at a time of so many rows, and in turn with it the same rows in onnxruntime alone."""
    plain = model.calls(rows_per_call=rows, count=5)
    found = []
    for _ in range(rounds):
        calls = [PreparedCall(call.request, call.row_count, Timed(call.expectation)) for call in plain]
        results = put_load(
            address, "unary", calls, in_flight=1, duration_s=duration_s, warmup_s=duration_s / 5
        )
        timed = [call.expectation for call in calls if isinstance(call.expectation, Timed)]
        with pinned(server_core):
            bare_us = _run_bare(model, rows, duration_s)
        found.append(
            Parts(
                bare_us=bare_us,
                model_us=statistics.median(us for one in timed for us in one.model_us),
                server_us=statistics.median(us for one in timed for us in one.server_us),
                call_us=results.latency_us[50.0],
            )
        )
    names = [part.name for part in fields(Parts)]
    return Parts(**{name: statistics.median(getattr(one, name) for one in found) for name in names})


def _run_bare(model: ScoredModel, rows: int, duration_s: float) -> float:
    """Median time of `InferenceSession.run`, on one thread, in microseconds.

    It is the thread's processor time: a loop that never rests is the first to
    be set aside where others want its core, and a server's calls are not.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.bundle.graph, options, providers=["CPUExecutionProvider"])
    (graph_input,) = model.bundle.manifest.coding.inputs
    assert len(graph_input.columns) == FEATURES
    names = [output.name for output in model.bundle.manifest.schema.outputs]
    feeds = {graph_input.name: model.rows[:rows].astype(np.float32)}
    times: list[int] = []
    # To read that clock takes as long as to score a row.
    repeats = max(100 // rows, 1)
    end_ns = time.perf_counter_ns() + round(duration_s * 1e9)
    while time.perf_counter_ns() < end_ns:
        begin_ns = time.thread_time_ns()
        for _ in range(repeats):
            session.run(names, feeds)
        times.append((time.thread_time_ns() - begin_ns) // repeats)
    return statistics.median(times) / 1_000

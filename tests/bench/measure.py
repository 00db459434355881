"""Single measurements, each with a check that the answers were right."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle
from scorewire_loadtest.calls import PreparedCall
from scorewire_proto.v1 import packed_pb2
from scorewire_server.engine.runs_on import KERNEL
from tests import http2
from tests.bench.h2load import PREDICT, Load, LoadError, put_load
from tests.bench.servers import Server

_WARM_UP_CALLS = 300
_TIMEOUT_SECONDS = 600


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Pin this thread, and the processes and threads that it starts, to a core; None pins nothing."""
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
    """One core for servers and another for the generator; None and None on a single core."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)


@dataclass(frozen=True, slots=True)
class Question:
    """A unary call, with its message in a file for h2load.

    `problem` tells what is wrong with the bytes of a response; "" if it is right. `headers` go with the call,
    each as NAME: VALUE.
    """

    request: bytes
    file: Path
    path: str
    problem: Callable[[bytes], str]
    headers: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: bytes, file: Path, path: str, problem: Callable[[bytes], str]) -> Question:
        """Write the message to the file."""
        file.write_bytes(http2.message(request))
        return cls(request, file, path, problem)

    @classmethod
    def write(cls, call: PreparedCall, file: Path) -> Question:
        """Write a Predict call's message to the file."""

        def problem(data: bytes) -> str:
            return call.expectation.problem(packed_pb2.PackedPredictResponse.FromString(data))

        return cls.of(call.request, file, PREDICT, problem)

    def ask(self, server: Server) -> None:
        """Make the call to a server once.

        Raises:
            LoadError: the response is not the expected one.
        """
        with grpc.insecure_channel(server.address) as channel:
            method: Callable[..., bytes] = channel.unary_unary(self.path)
            answer = method(self.request, timeout=_TIMEOUT_SECONDS)
        if problem := self.problem(answer):
            raise LoadError(f"{server.name}: {problem}")


@dataclass(slots=True)
class Generator:
    """Puts loads on servers and checks them; `rates` has the speed of each server, to size the next load."""

    core: int | None
    folder: Path
    rates: dict[tuple[int, str, int, int], float] = field(default_factory=dict)

    def load(
        self, server: Server, question: Question, *, in_flight: int, seconds: float, connections: int = 1
    ) -> Load:
        """Make calls for about `seconds`, with `in_flight` calls in flight on each connection.

        Raises:
            LoadError: a call failed, or the scores before or after the load are wrong.
        """
        key = (server.pid, question.file.name, in_flight, connections)
        if key not in self.rates:
            # The first load warms the server up; the second one estimates its rate.
            for calls in (_WARM_UP_CALLS, 10 * _WARM_UP_CALLS):
                self.rates[key] = self.calls(server, question, calls, in_flight, connections).calls_per_second
        count = max(round(self.rates[key] * seconds), in_flight * connections)
        load = self.calls(server, question, count, in_flight, connections)
        self.rates[key] = load.calls_per_second
        return load

    def calls(
        self, server: Server, question: Question, count: int, in_flight: int, connections: int = 1
    ) -> Load:
        """Make exactly `count` calls. Raises as `load` does."""
        with _proven(server, question, count), pinned(self.core):
            log = self.folder / "h2load.log"
            return put_load(
                f"{server.address}{question.path}",
                question.file,
                calls=count,
                in_flight=in_flight,
                connections=connections,
                log=log,
                headers=question.headers,
            )

    def stream(
        self,
        program: Path,
        server: Server,
        question: Question,
        *,
        window: int,
        count: int,
        others: Sequence[bytes] = (),
    ) -> float:
        """Measure messages per second on one stream.

        Args:
            program: the generator for streams.
            server: the server.
            question: the call; its message is wrapped for the stream here.
            window: messages in flight.
            count: number of messages.
            others: further calls, sent in turn with the first.

        Raises:
            LoadError: as `load`.
        """
        file = self.folder / "stream-messages"
        file.write_bytes(b"".join(map(_stream_message, (question.request, *others))))
        with _proven(server, question, count), pinned(self.core):
            command = [program, server.address, file, str(count), str(window)]
            result = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
            )
        if result.returncode:
            raise LoadError(f"a message of the stream was not answered well: {result.stderr}")
        return count / float(result.stdout)


def _stream_message(request: bytes) -> bytes:
    wrapped = packed_pb2.PackedPredictStreamRequest(correlation_id=1)
    wrapped.request.ParseFromString(request)
    return http2.message(wrapped.SerializeToString())


@contextmanager
def _proven(server: Server, question: Question, count: int) -> Iterator[None]:
    """Check that a server answers exactly `count` calls, all with OK, with right scores before and after."""
    if server.answered is None:
        yield
        return
    question.ask(server)
    well, others = server.answered()
    yield
    well_after, others_after = server.answered()
    if (well_after - well, others_after - others) != (count, 0):
        raise LoadError(
            f"{server.name} says that of {count} calls it answered {well_after - well} well"
            f" and {others_after - others} not"
        )
    question.ask(server)


def server_time_us(server: Server, question: Question, seconds: float) -> float:
    """The median of the server's own time for a request, with one in flight, in microseconds."""
    times = []
    end = time.monotonic() + seconds
    with grpc.insecure_channel(server.address) as channel:
        call: Callable[..., bytes] = channel.unary_unary(PREDICT)
        while time.monotonic() < end or len(times) < 3:
            answer = packed_pb2.PackedPredictResponse.FromString(
                call(question.request, timeout=_TIMEOUT_SECONDS)
            )
            times.append(answer.server_time_us)
    question.ask(server)
    return statistics.median(times)


def runs_on(server: Server, bundle: Bundle) -> str:
    """What runs a bundle's graph in a server: "kernel" or "onnxruntime"."""
    assert server.metrics is not None, "an empty server runs no graph"
    wanted = {("model", bundle.model), ("version", bundle.version.text)}
    (found,) = (
        dict(labels)["runs_on"]
        for name, labels in server.metrics()
        if name == "scorewire_version_info" and wanted <= labels
    )
    return found


class BareGraph:
    """A bundle's graph on one thread, without a server: in the kernel, or in onnxruntime."""

    def __init__(self, bundle: Bundle, rows: NDArray[np.float64], runner: str) -> None:
        if runner == KERNEL:
            from scorewire_kernel import Program

            self._run: Callable[..., object] = Program(bundle.graph).run
        else:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._run = onnxruntime.InferenceSession(
                bundle.graph, options, providers=["CPUExecutionProvider"]
            ).run
        (graph_input,) = bundle.manifest.coding.inputs
        self._names = [output.name for output in bundle.manifest.schema.outputs]
        self._feeds = {graph_input.name: rows.astype(np.float32)}

    def run_us(self, seconds: float) -> float:
        """The median time of a run, in microseconds."""
        times = []
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(times) < 3:
            begin = time.perf_counter_ns()
            self._run(self._names, self._feeds)
            times.append(time.perf_counter_ns() - begin)
        return statistics.median(times) / 1_000


def resident_bytes(server: Server) -> int:
    """The resident memory of a server's process, in bytes."""
    return int(psutil.Process(server.pid).memory_info().rss)

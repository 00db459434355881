"""Loads of calls whose rows all differ: in closed loops, and as a Poisson process.

A row that is repeated flatters a server: its processor learns the way through the trees. So each load sends
thousands of rows, shuffled. The generator compares every answer with the fitted model's scores, or the empty
servers' with the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scorewire import TLS
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.pacing import Poisson
from scorewire_loadtest.plan import ClosedLoop, OpenLoop
from scorewire_loadtest.target import Target
from scorewire_proto.v1 import packed_pb2
from tests.bench import native_load
from tests.bench.scored_model import ScoredModel
from tests.bench.servers import Server
from tests.bench.tables import Sample

# More than a server may hold back before the latency shows it.
_MAX_OUTSTANDING = 4096
# A field that neither requests nor responses have, so that an empty server's answer can be parsed as one.
_UNKNOWN_FIELD = 1000


@dataclass(frozen=True, slots=True)
class Shape:
    """Connections, and calls in flight on each."""

    connections: int
    in_flight: int

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.connections} × {self.in_flight}"


ONE, PIPELINED, APART, CROWD = SHAPES = (Shape(1, 1), Shape(1, 64), Shape(64, 1), Shape(256, 1))


class Echo:
    """Expects the request as the response."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        """What is wrong with a response; "" if it is the request."""
        return "" if response.SerializeToString() == self._request else "the answer is not the request"


def echo_calls(calls: Sequence[PreparedCall]) -> list[PreparedCall]:
    """The same calls for an empty server, each a few bytes longer."""
    made = []
    for call in calls:
        request = _varint(_UNKNOWN_FIELD << 3 | 2) + _varint(len(call.request)) + call.request
        made.append(PreparedCall(request, call.row_count, Echo(request)))
    return made


def _varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


@dataclass(frozen=True, slots=True)
class CallLoads:
    """Puts loads of `seconds` on servers, from a core; `model` is the first model that calls are for."""

    model: ScoredModel
    core: int | None
    seconds: float

    def closed(
        self,
        server: Server,
        calls: Sequence[PreparedCall],
        shape: Shape,
        *,
        name: str = "",
        tls: TLS | None = None,
        streams: int | None = None,
    ) -> Sample:
        """Callers that wait for each response; the sample's load is the shape's unless it has a `name`.

        With one call in flight, the generator does not sleep, so that the latency is the server's.

        Raises:
            LoadError: a call failed, or an answer was wrong, or none came.
        """
        callers = ClosedLoop(shape.connections * shape.in_flight)
        spins = callers.concurrency == 1
        load = name or shape.name
        return self._run(
            server, calls, callers, shape.connections, load, tls=tls, streams=streams, spins=spins
        )

    def poisson(
        self, server: Server, calls: Sequence[PreparedCall], connections: int, rate: float, *, name: str
    ) -> Sample:
        """Calls at random times, whether or not earlier ones are answered.

        A latency counts from the time at which the call was due. The generator does not sleep.

        Raises:
            LoadError: as `closed`.
        """
        load = OpenLoop(Poisson(rate), _MAX_OUTSTANDING)
        return self._run(server, calls, load, connections, name, spins=True)

    def _run(
        self,
        server: Server,
        calls: Sequence[PreparedCall],
        load: ClosedLoop | OpenLoop,
        connections: int,
        name: str,
        *,
        tls: TLS | None = None,
        streams: int | None = None,
        spins: bool = False,
    ) -> Sample:
        watch = native_load.ProcessorWatch(server.pid)
        results = native_load.run(
            Target(server.address, tls),
            self.model,
            calls,
            load,
            connections=connections,
            seconds=self.seconds,
            core=self.core,
            streams=streams,
            spins=spins,
            watch=watch,
        )
        return Sample(
            server=server.name,
            load=name,
            calls_per_second=results.calls_per_second,
            processor_us=watch.us_per_call,
            p50_us=results.latency_us[50.0],
            p99_us=results.latency_us[99.0],
            generator_busy=results.generator.busy,
        )

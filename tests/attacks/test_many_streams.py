"""Reads that end within frames, as with many clients and many streams."""

from __future__ import annotations

from pathlib import Path

from scorewire_proto.v1 import prediction_pb2
from tests.attacks.healthy import healthy
from tests.attacks.held import Held
from tests.bench import h2load
from tests.conformance.wire import PREDICT, sum_request, values
from tests.http2 import DATA, HEADERS, MESSAGE_HEAD_BYTES, Connection, Frame, call, message
from tests.processes import ServerProcess

CALLS = 80_000
_GOOD = frozenset({("model", "sum"), ("version", "1.0.0"), ("method", "Predict"), ("code", "OK")})


def test_clients_with_a_thousand_streams_are_answered(
    server: ServerProcess, held: Held, tmp_path: Path
) -> None:
    assert not h2load.missing(), h2load.HOW_TO_INSTALL
    request = tmp_path / "message"
    request.write_bytes(message(sum_request().SerializeToString()))
    before = server.metrics().get(("scorewire_calls_total", _GOOD), 0)
    h2load.put_load(
        f"{server.address}{PREDICT}",
        request,
        calls=CALLS,
        in_flight=1000,
        log=tmp_path / "log",
        connections=8,
    )
    assert server.metrics()["scorewire_calls_total", _GOOD] - before == CALLS
    held.comes_back()


def test_calls_are_answered_wherever_a_read_ends(server: ServerProcess, held: Held) -> None:
    request = sum_request().SerializeToString()
    first, second = call(1, PREDICT, request), call(3, PREDICT, request)
    with healthy(server.address):
        for cut in range(len(second)):
            with Connection(server.address) as connection:
                # The server has read the calls that it answered, so the rest comes with another read.
                connection.send(first + second[:cut])
                answers = [scores(connection.until_end(1))]
                connection.send(second[cut:])
                answers.append(scores(connection.until_end(3)))
                assert answers == [[4.0], [4.0]]
    held.comes_back()


def scores(frames: list[Frame]) -> list[float]:
    """The scores in a response of header block, message and trailers."""
    assert [one.kind for one in frames] == [HEADERS, DATA, HEADERS]
    return values(prediction_pb2.PredictResponse.FromString(frames[1].payload[MESSAGE_HEAD_BYTES:]))

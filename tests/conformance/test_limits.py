"""Limits of connections and streams on both engines."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest

from scorewire_proto.v1 import prediction_pb2
from tests import bundles, http2
from tests.attacks.flow import Client
from tests.conformance.wire import PREDICT, PREDICT_STREAM, Wire, failure_of, sum_request, values
from tests.processes import ServerProcess, serving

STREAM_SECONDS = 1
ROWS = sum_request([1.0, 2.0] * 2500, ["de"] * 2500, row_count=2500).SerializeToString()
CONNECTIONS = 4


@pytest.fixture(scope="module")
def limited(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that allows few connections and short streams."""
    folder = tmp_path_factory.mktemp("limited")
    bundles.write_sum_bundle(folder / "models")
    flags = ("--max-connections", str(CONNECTIONS), "--max-stream-seconds", str(STREAM_SECONDS))
    with serving(folder, folder / "models", "--engine", engine, *flags) as running:
        yield running


def test_a_stream_that_never_ends_is_ended(limited: ServerProcess) -> None:
    requests: queue.Queue[bytes | None] = queue.Queue()
    wire = Wire(limited.address)
    with wire.channel:
        call = wire.both_stream(PREDICT_STREAM)(iter(requests.get, None), timeout=60)
        message = prediction_pb2.PredictStreamRequest(request=sum_request()).SerializeToString()
        requests.put(message)
        assert values(prediction_pb2.PredictStreamResponse.FromString(next(call)).response)
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        requests.put(None)
    failure = failure_of(caught.value)
    assert failure.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert failure.reason == "DEADLINE_EXCEEDED"


def test_connections_beyond_the_limit_are_closed_and_those_before_go_on(limited: ServerProcess) -> None:
    host, _, port = limited.address.rpartition(":")
    wire = Wire(limited.address)
    with wire.channel, ExitStack() as open_:
        wire.predict(sum_request())
        closed = False
        for _ in range(CONNECTIONS):
            other = open_.enter_context(
                socket.create_connection((host, int(port)), timeout=http2.TIMEOUT_SECONDS)
            )
            other.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
            closed |= _is_closed(other)
        assert closed
        assert values(wire.predict(sum_request()))


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server closes a connection without sending SETTINGS."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_answers_that_nobody_takes_are_refused_at_last(
    engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("untaken")
    bundles.write_sum_bundle(folder / "models")
    limits = ("--max-message-bytes", "65536", "--max-connection-bytes", "131072")
    with serving(folder, folder / "models", "--engine", engine, *limits) as server:
        with Client(server.address, window=0) as client:
            # Each response has 20,000 bytes, so six of them fit; fewer if requests count as well.
            for _ in range(12):
                client.call(PREDICT, http2.message(ROWS))
            client.pump(quiet_seconds=2)
            assert 6 <= client.ended < 12
            assert client.received == 0
        wire = Wire(server.address)
        with wire.channel:
            for _ in range(12):
                wire.call(PREDICT, ROWS)


def test_a_connection_without_calls_is_told_to_go(
    engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("idle")
    bundles.write_sum_bundle(folder / "models")
    flags = ("--engine", engine, "--max-connection-idle-seconds", "0.5")
    with (
        serving(folder, folder / "models", *flags) as server,
        http2.Connection(server.address) as connection,
    ):
        connection.send(http2.frame(http2.SETTINGS, http2.ACK, 0))
        told = next(frame for frame in connection.frames() if frame.kind == http2.GOAWAY)
        # grpc's core sends an error code; in both cases clients reconnect for their next call.
        assert engine == "reference" or told.error == http2.NO_ERROR

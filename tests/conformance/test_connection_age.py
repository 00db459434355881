"""Connections that have reached their age: no call fails, and streams end after the grace."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import psutil
import pytest

from scorewire import Client, Retries
from scorewire_proto.v1 import prediction_pb2
from tests.bundles import expected_value, write_sum_bundle
from tests.processes import TIMEOUT_SECONDS, ServerProcess, serving

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
WANTED = expected_value([1.0, 2.0], "de")
# How often the client must have connected anew.
RECONNECTS = 3
_MANY_CALLS = 200_000


@pytest.fixture(scope="module")
def aging(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("age")
    write_sum_bundle(folder / "models")
    flags = ("--max-connection-age-seconds", "0.3", "--max-connection-age-grace-seconds", "1")
    with serving(folder, folder / "models", "--engine", engine, *flags) as server:
        yield server


def own_ports(server: ServerProcess) -> set[int]:
    """The ports of this process's connections to a server."""
    port = int(server.address.rpartition(":")[2])
    found = psutil.Process().net_connections(kind="tcp")
    return {each.laddr.port for each in found if each.raddr and each.raddr.port == port}


def test_no_call_fails_where_connections_end(aging: ServerProcess) -> None:
    seen: set[int] = set()
    with Client(aging.address, retries=Retries(attempts=1)) as client:
        for _ in range(_MANY_CALLS):
            assert client.predict("sum", ROW).score == WANTED
            seen |= own_ports(aging)
            if len(seen) > RECONNECTS:
                break
    assert len(seen) > RECONNECTS


def test_a_stream_ends_with_unavailable_after_the_grace(aging: ServerProcess) -> None:
    """Whatever the client does, it can go on at another server."""
    request = prediction_pb2.PredictStreamRequest(correlation_id=1)
    request.request.model = "sum"
    with grpc.insecure_channel(aging.address) as channel:
        stream = channel.stream_stream(
            "/scorewire.v1.PredictionService/PredictStream",
            request_serializer=prediction_pb2.PredictStreamRequest.SerializeToString,
            response_deserializer=prediction_pb2.PredictStreamResponse.FromString,
        )

        def requests() -> Iterator[prediction_pb2.PredictStreamRequest]:
            yield request
            ended.wait(TIMEOUT_SECONDS)

        ended = threading.Event()
        call = stream(requests(), timeout=TIMEOUT_SECONDS)
        try:
            assert next(call).correlation_id == 1
            with pytest.raises(grpc.RpcError):
                next(call)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
        finally:
            ended.set()


def test_a_stream_of_the_sdk_goes_on_where_connections_end(aging: ServerProcess) -> None:
    seen: set[int] = set()

    def rows() -> Iterator[dict[str, object]]:
        for _ in range(_MANY_CALLS):
            if len(seen) > RECONNECTS:
                return
            yield ROW

    with Client(aging.address) as client:
        for prediction in client.predict_stream("sum", rows(), look_ahead=1):
            assert prediction.score == WANTED
            seen.update(own_ports(aging))
    assert len(seen) > RECONNECTS

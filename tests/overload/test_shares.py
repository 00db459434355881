"""A principal that uses more than its share of an overloaded server is refused first. Native engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from scorewire_proto.v1 import prediction_pb2
from scorewire_server.access.keys import ApiKey, make_key
from tests.conformance.wire import PREDICT, TIMEOUT_SECONDS, Wire, values
from tests.overload.offer import Offered, offer
from tests.overload.scenarios import write_chain_bundle
from tests.processes import ServerProcess, serving, wait_until
from tests.scorewire_server.models import write_slow_bundle

pytest.importorskip("scorewire_native")

NAMES = ("heavy", "light")
# Of a model that keeps an I/O thread busy in onnxruntime, and is not slow enough for the threads for batches.
NODES = 400
ROW = prediction_pb2.Rows(row_count=1, numbers=[3.0])
# Of a model that the threads for batches take; the number is how long it runs.
SLOW_ROW = prediction_pb2.Rows(row_count=1, numbers=[50_000.0])
BATCHES = 40


@pytest.fixture(scope="module")
def keys() -> dict[str, ApiKey]:
    return {name: make_key() for name in NAMES}


@pytest.fixture(scope="module")
def server(keys: dict[str, ApiKey], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("shares")
    write_slow_bundle(folder / "models")
    write_chain_bundle(folder / "models", NODES)
    access = folder / "access.toml"
    access.write_text(_access(keys), encoding="utf-8")
    flags: tuple[str | Path, ...] = ("--engine", "native", "--kernel", "onnxruntime", "--access", access)
    with serving(folder, folder / "models", *flags, "--threads", "1", "--batch-threads", "1") as running:
        yield running


def _access(keys: dict[str, ApiKey]) -> str:
    parts = ["[open]\nmetrics = true"]
    for name, key in keys.items():
        parts.append(f'[principals.{name}]\npredict = ["*"]')
        parts.append(f'[[principals.{name}.keys]]\nid = "{key.id}"\nsha256 = "{key.sha256}"')
    return "\n".join(parts)


def _options(key: ApiKey) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {key.text}"),), "timeout": 4 * TIMEOUT_SECONDS}


def _over_share(server: ServerProcess, name: str) -> float:
    labels = frozenset({("principal", name), ("cause", "share")})
    return server.metrics()["scorewire_principal_refused_total", labels]


def _flood(address: str, key: ApiKey, seconds: float) -> Offered:
    """Offer more calls than the server can answer."""
    request = prediction_pb2.PredictRequest(model="chain", rows=ROW).SerializeToString()
    metadata = [("authorization", f"Bearer {key.text}")]
    return offer(address, PREDICT, request, rate=10_000, seconds=seconds, patience=60.0, metadata=metadata)


def test_a_flood_by_one_alone_is_not_refused(server: ServerProcess, keys: dict[str, ApiKey]) -> None:
    flood = _flood(server.address, keys["heavy"], 0.7)
    assert (flood.refused, flood.connections_lost) == (0, 0)
    assert _over_share(server, "heavy") == 0


def test_a_flood_is_refused_before_the_calls_of_another(
    server: ServerProcess, keys: dict[str, ApiKey]
) -> None:
    over, wire = threading.Event(), Wire(server.address)

    def flood() -> int:
        refused = 0
        while not over.is_set():
            refused += _flood(server.address, keys["heavy"], 0.5).refused
        return refused

    request = prediction_pb2.PredictRequest(model="chain", rows=ROW)
    with wire.channel, ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood)

        def is_refused() -> bool:
            # The other one has to call, or nobody shares the thread with the flood.
            for _ in range(10):
                assert values(wire.predict(request, **_options(keys["light"])))
            return _over_share(server, "heavy") > 0

        try:
            wait_until(is_refused, "a refusal of the flood")
        finally:
            over.set()
        refused = flooding.result()
    assert refused == _over_share(server, "heavy")
    assert _over_share(server, "light") == 0


def test_a_batch_does_not_wait_for_all_those_of_another(
    server: ServerProcess, keys: dict[str, ApiKey]
) -> None:
    data = prediction_pb2.PredictRequest(model="slow", rows=SLOW_ROW).SerializeToString()
    wire, other = Wire(server.address), Wire(server.address)
    with wire.channel, other.channel:
        method: Any = wire.channel.unary_unary(PREDICT)
        calls: list[grpc.Future] = [method.future(data, **_options(keys["heavy"])) for _ in range(BATCHES)]
        wait_until(
            lambda: server.metrics()["scorewire_in_flight", frozenset()] > BATCHES / 2, "waiting batches"
        )
        other.call(PREDICT, data, **_options(keys["light"]))
        waiting = sum(not call.done() for call in calls)
        assert all(call.exception() is None for call in calls)
    assert waiting > BATCHES / 4

"""Messages that never become complete, responses that are never read, and idle connections."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from scorewire_proto.v1 import prediction_pb2
from scorewire_training.export import export_onnx
from tests import http2
from tests.attacks.flow import Client
from tests.attacks.healthy import healthy
from tests.attacks.held import Held
from tests.bundles import write_sum_bundle
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.wire import PREDICT
from tests.onnx_models import write_wide
from tests.processes import ServerProcess, wait_until
from tests.processes import serving as serving_models

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

MESSAGE_BYTES = 4 << 20
# The default limit for messages of this size.
CONNECTION_BYTES = 8 * MESSAGE_BYTES
# The most bytes that the server may hold for one connection, with overhead of the allocator and the model.
MARGIN_BYTES = CONNECTION_BYTES + (40 << 20)
WIDTH = 256
WIDE_ROWS = MESSAGE_BYTES // (8 * WIDTH) - 1
# Responses of 14 MiB, of which a connection may hold some 120 MiB. Threads keep some buffers; an allocator
# that returns no memory keeps all of it.
BURST_ROWS = 7_000
BURST_BYTES = 96 << 20
LEFT_BYTES = 64 << 20
PATIENT, IMPATIENT = ("--max-stall-seconds", "0"), ("--max-stall-seconds", "1")


def serving(folder: Path, models: Path, *flags: str) -> AbstractContextManager[ServerProcess]:
    """A native server with its own state file, because other servers share the models."""
    return serving_models(folder, models, "--engine", "native", "--state-file", str(folder / "state"), *flags)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model for healthy clients, and a model whose responses are much longer than its requests."""
    folder = tmp_path_factory.mktemp("wide")
    write_sum_bundle(folder / "models")
    wide = write_wide(folder / "wide.onnx", WIDTH)
    export_onnx(wide, name="wide", version="1.0.0", output_dir=folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without a stall limit."""
    limit = ("--max-message-bytes", str(MESSAGE_BYTES))
    with serving(tmp_path_factory.mktemp("patient"), models, *limit, *PATIENT) as running:
        yield running


@pytest.fixture
def impatient(models: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that soon ends stalled calls."""
    with serving(tmp_path, models, *IMPATIENT) as running:
        yield running


def _begun(length: int, claimed: int = MESSAGE_BYTES) -> bytes:
    """The beginning of a message."""
    return b"\x00" + claimed.to_bytes(4) + bytes(length)


def _wide(rows: int) -> bytes:
    """A request whose response is `WIDTH` times as long."""
    request = prediction_pb2.PredictRequest(model="wide")
    request.rows.row_count = rows
    request.rows.numbers.extend([1.0] * rows)
    return http2.message(request.SerializeToString())


def _buffered(server: ServerProcess) -> float:
    return server.metrics()["scorewire_buffered_bytes", frozenset()]


def _met(server: ServerProcess, limit: str) -> float:
    return server.metrics()["scorewire_limits_met_total", frozenset({("limit", limit)})]


def _pump_until(condition: Callable[[], bool], *attackers: Client, quiet_seconds: float = 1.0) -> None:
    """Let clients send as much as they may, again and again, until the condition holds."""

    def holds() -> bool:
        for attacker in attackers:
            attacker.pump(quiet_seconds=quiet_seconds)
        return condition()

    wait_until(holds, "what clients send to arrive")


def test_messages_that_never_become_whole_are_bounded(server: ServerProcess, held: Held) -> None:
    with healthy(server.address) as client, Client(server.address) as attacker:
        for _ in range(100):
            attacker.call(PREDICT, _begun(MESSAGE_BYTES - 1), ends=False)
        _pump_until(lambda: _buffered(server) > CONNECTION_BYTES / 2, attacker)
        assert _buffered(server) <= CONNECTION_BYTES
        assert held.grown_bytes() < MARGIN_BYTES
        client.goes_on()
    held.comes_back()
    wait_until(lambda: _buffered(server) == 0, "bytes that are given back")


def test_messages_become_whole_one_after_the_other(server: ServerProcess) -> None:
    refused = _met(server, "buffered_bytes")
    with Client(server.address) as client:
        # Together more than twice the connection's limit.
        for _ in range(20):
            client.call(PREDICT, _begun(MESSAGE_BYTES))
        client.pump(quiet_seconds=http2.TIMEOUT_SECONDS)
        assert client.ended == 20
    assert _met(server, "buffered_bytes") == refused
    wait_until(lambda: _buffered(server) == 0, "bytes that are given back")


def test_answers_that_nobody_takes_are_bounded(server: ServerProcess, held: Held) -> None:
    with healthy(server.address) as client, Client(server.address, window=0) as attacker:
        for _ in range(60):
            attacker.call(PREDICT, _wide(WIDE_ROWS))
        _pump_until(lambda: attacker.ended > 40, attacker)
        # Computed responses wait; the other calls were refused.
        assert attacker.ended < 60
        assert _met(server, "buffered_bytes") >= attacker.ended
        assert attacker.received == 0
        assert CONNECTION_BYTES / 2 < _buffered(server) <= CONNECTION_BYTES
        assert held.grown_bytes() < MARGIN_BYTES
        client.goes_on()
    held.comes_back()
    wait_until(lambda: _buffered(server) == 0, "bytes that are given back")


def test_memory_comes_back_after_a_burst(models: Path, tmp_path: Path) -> None:
    with serving(tmp_path, models, *PATIENT) as server:
        with healthy(server.address):
            pass
        held = Held(server)
        with Client(server.address, window=0) as attacker:
            for _ in range(40):
                attacker.call(PREDICT, _wide(BURST_ROWS))
            _pump_until(lambda: held.grown_bytes() > BURST_BYTES, attacker)
        wait_until(lambda: held.grown_bytes() < LEFT_BYTES, "memory that is given back")


def test_all_connections_together_are_bounded(models: Path, tmp_path: Path) -> None:
    limits = ("--max-message-bytes", str(MESSAGE_BYTES), "--max-buffered-bytes", str(CONNECTION_BYTES))
    with serving(tmp_path, models, *limits, *PATIENT) as server, ExitStack() as clients:
        attackers = [clients.enter_context(Client(server.address)) for _ in range(8)]
        for attacker in attackers:
            for _ in range(10):
                attacker.call(PREDICT, _begun(MESSAGE_BYTES - 1), ends=False)
        _pump_until(lambda: _buffered(server) > CONNECTION_BYTES / 2, *attackers, quiet_seconds=0.3)
        assert _buffered(server) <= CONNECTION_BYTES
        with healthy(server.address):
            pass


def test_a_claim_costs_nothing(server: ServerProcess, held: Held) -> None:
    with Client(server.address) as attacker:
        for _ in range(1000):
            attacker.call(PREDICT, _begun(2), ends=False)
        attacker.pump()
        assert attacker.ended == 0
        assert _buffered(server) == 0
        assert held.grown_bytes() < MARGIN_BYTES - CONNECTION_BYTES


def test_a_message_that_does_not_go_on_ends_its_call(impatient: ServerProcess) -> None:
    with Client(impatient.address) as attacker:
        attacker.call(PREDICT, _begun(100), ends=False)
        # For this call, not even the header block arrives.
        attacker.call(PREDICT, b"", ends=False)
        attacker.pump(quiet_seconds=30)
        assert attacker.ended == 2
    assert _met(impatient, "stall") == 2


def test_an_answer_that_nobody_takes_ends_its_call(impatient: ServerProcess) -> None:
    settings = http2.frame(http2.SETTINGS, 0, 0, (4).to_bytes(2) + (0).to_bytes(4))
    with http2.Connection(impatient.address, http2.PREFACE + settings) as connection:
        connection.send(
            http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.grpc_head(PREDICT))
            + http2.frame(http2.DATA, http2.END_STREAM, 1, _wide(1))
        )
        last = connection.until_end(1)[-1]
    assert (last.kind, last.error) == (http2.RST_STREAM, http2.ENHANCE_YOUR_CALM)
    assert _met(impatient, "stall") == 1


@pytest.mark.parametrize(
    ("flags", "limit"),
    [
        (("--max-connections", "3"), "connections"),
        (("--max-connections-per-address", "3"), "connections_per_address"),
    ],
)
def test_connections_beyond_the_limit_are_closed_at_once(
    models: Path, tmp_path: Path, flags: tuple[str, ...], limit: str
) -> None:
    with serving(tmp_path, models, *flags) as server, ExitStack() as open_:
        for _ in range(3):
            connection = open_.enter_context(http2.Connection(server.address))
            assert next(connection.frames()).kind == http2.SETTINGS
        host, _, port = server.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=http2.TIMEOUT_SECONDS) as refused:
            assert refused.recv(1) == b""
        assert _met(server, limit) == 1
        assert server.metrics()["scorewire_connections", frozenset()] == 3
        open_.close()
        wait_until(lambda: server.metrics()["scorewire_connections", frozenset()] == 0, "connections to end")
        with healthy(server.address):
            pass

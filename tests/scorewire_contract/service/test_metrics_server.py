from __future__ import annotations

import gzip
import http.client
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from scorewire_contract.service import metrics_server
from scorewire_contract.service.metrics_server import MAX_CONNECTIONS, MAX_HEAD_BYTES, MetricsServer
from scorewire_contract.service.start import StartError
from tests.processes import wait_until

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


class Families(Collector):
    """A collector whose metrics are up to the test."""

    def __init__(self, tell: Callable[[], Iterator[Any]]) -> None:
        self._tell = tell

    def collect(self) -> Iterator[Any]:
        return self._tell()


def _one() -> Iterator[Any]:
    yield GaugeMetricFamily("answer", "The answer.", value=42)


@contextmanager
def _serving(
    tell: Callable[[], Iterator[Any]] = _one, admit: Callable[[Sequence[str]], bool] | None = None
) -> Iterator[MetricsServer]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(tell))
    server = MetricsServer(registry, "127.0.0.1", 0, admit)
    try:
        yield server
    finally:
        server.close()


def _connect(server: MetricsServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def _ask(server: MetricsServer, method: str = "GET", path: str = "/metrics", **headers: str) -> Any:
    connection = http.client.HTTPConnection(server.address, timeout=60)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    response.text = response.read()  # type: ignore[attr-defined] - read before the connection goes
    connection.close()
    return response


def _said(server: MetricsServer, data: bytes) -> bytes:
    """Send bytes, and read the answer up to the end of the connection."""
    with _connect(server) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_metrics_are_told_plain_and_compressed() -> None:
    with _serving() as server:
        plain = _ask(server)
        assert (plain.status, plain.getheader("Content-Encoding")) == (200, None)
        assert b"\nanswer 42.0\n" in plain.text
        packed = _ask(server, **{"Accept-Encoding": "gzip"})
        assert packed.getheader("Content-Encoding") == "gzip"
        assert gzip.decompress(packed.text) == plain.text
        openmetrics = _ask(server, Accept="application/openmetrics-text; version=1.0.0")
        assert openmetrics.text.endswith(b"# EOF\n")
        head = _ask(server, "HEAD")
        assert head.status == 200
        assert int(head.getheader("Content-Length")) == len(plain.text)
        assert head.text == b""


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\xff\x00\x80\r\n\r\n", 400),
        (b"GET http://[/metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.1\r\nName: " + b"x" * MAX_HEAD_BYTES, 431),
    ],
)
def test_other_requests_are_refused(data: bytes, status: int) -> None:
    with _serving() as server:
        assert _said(server, data).startswith(f"HTTP/1.1 {status} ".encode())
        assert _ask(server).status == 200


def test_who_is_not_admitted_gets_the_same_bytes_whatever_is_asked() -> None:
    shown: list[Sequence[str]] = []

    def admit(authorization: Sequence[str]) -> bool:
        shown.append(authorization)
        return list(authorization) == ["Bearer good"]

    with _serving(admit=admit) as server:
        answers = {
            _said(server, b"%s HTTP/1.1\r\n%s\r\n" % (line, fields))
            for line in (b"GET /metrics", b"POST /metrics", b"GET /other", b"HEAD /metrics")
            for fields in (
                b"",
                b"Authorization: Bearer bad\r\n",
                b"authorization: Bearer good\r\nAuthorization: Bearer good\r\n",
                b"Authorization: Bearer g\xff\r\n",
            )
        }
        assert len(answers) == 1
        (answer,) = answers
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
        assert ["Bearer good", "Bearer good"] in shown
        assert ["Bearer g\xff"] in shown
        answered = _ask(server, AUTHORIZATION=" Bearer good ")
        assert (answered.status, b"\nanswer 42.0\n" in answered.text) == (200, True)
        assert _ask(server, path="/other", Authorization="Bearer good").status == 404


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/health"])
def test_another_path_is_told_the_right_one(path: str) -> None:
    with _serving() as server:
        assert _ask(server, path=path).text == b"404 Not Found: the metrics are at /metrics\n"


def test_a_fault_is_logged_and_the_next_scrape_is_answered() -> None:
    broken = True

    def tell() -> Iterator[Any]:
        if broken:
            raise RuntimeError("out of order")
        yield from _one()

    with _serving(tell) as server:
        with capture_logs() as logged:
            assert _ask(server).status == 500
        assert [str(line["exc_info"]) for line in logged] == ["out of order"]
        broken = False
        assert _ask(server).status == 200


def test_half_requests_cost_no_thread_and_stop_no_scrape() -> None:
    with _serving() as server, ExitStack() as halves:
        threads = threading.active_count()
        for number in range(1000):
            half = halves.enter_context(_connect(server))
            half.sendall(REQUEST[: 1 + number % (len(REQUEST) - 1)])
            if number % 100 == 99:
                assert _ask(server).status == 200
        assert threading.active_count() <= threads
        # The newest connections are served once they send their requests; the oldest were cut off for them.
        half.sendall(REQUEST[1 + number % (len(REQUEST) - 1) :])
        assert half.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_sends_or_reads_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(metrics_server, "ANSWER_SECONDS", 0.05)
    # More than fits in the buffers of both sockets.
    length, told = 64 << 20, threading.Event()

    def much() -> Iterator[Any]:
        told.set()
        yield GaugeMetricFamily("much", "x" * length, value=1)

    with _serving(much) as server:
        with _connect(server) as silent:
            assert silent.recv(1) == b""
        monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 60.0)
        with _connect(server) as deaf:
            deaf.sendall(REQUEST)
            assert told.wait(60)
            wait_until(lambda: not server.open_connections, "the client that does not read to be cut off")
            assert sum(map(len, iter(lambda: deaf.recv(1 << 20), b""))) < length


def test_there_are_never_more_connections_than_the_limit() -> None:
    with _serving() as server, ExitStack() as silent:
        for _ in range(3 * MAX_CONNECTIONS):
            silent.enter_context(_connect(server))
        assert _ask(server).status == 200
        assert server.open_connections <= MAX_CONNECTIONS


def test_a_port_in_use_is_an_error() -> None:
    with _serving() as server, pytest.raises(StartError, match="--metrics-port"):
        MetricsServer(CollectorRegistry(), "127.0.0.1", int(server.address.rpartition(":")[2]))


def test_closing_frees_the_port_and_ends_connections() -> None:
    server = MetricsServer(CollectorRegistry(), "127.0.0.1", 0)
    with _connect(server) as half:
        half.sendall(REQUEST[:-1])
        wait_until(lambda: server.open_connections == 1, "the connection to be served")
        server.close()
        assert half.recv(1) == b""
    again = MetricsServer(CollectorRegistry(), "127.0.0.1", int(server.address.rpartition(":")[2]))
    assert again.address == server.address
    again.close()

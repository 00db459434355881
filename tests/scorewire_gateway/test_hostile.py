"""Requests that are broken on purpose: each is refused within bounds, and others are still answered."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from scorewire.testing import FakeServer
from tests.processes import wait_until
from tests.scorewire_gateway.gateways import gateway_thread
from tests.scorewire_gateway.sockets import HEAD, connection, read_answer, read_to_end

BODY = b'{"row": {"age": 41, "country": "pe"}}'


@contextmanager
def _still_answering(client: httpx.Client) -> Iterator[httpx.Client]:
    """Check after a test that the gateway answers; the places of connections are freed in a moment."""
    yield client
    headers = {"Content-Type": "application/json"}

    def is_answered() -> bool:
        try:
            return client.post("/models/churn:predict", content=BODY, headers=headers).status_code == 200
        except httpx.TransportError:
            # On a busy machine, this client may itself be slower than it may be.
            return False

    wait_until(is_answered, "an answer after the hostile request")


@pytest.fixture
def small(fake: FakeServer) -> Iterator[httpx.Client]:
    """A client of a gateway with small limits, which answers after each test, too."""
    with (
        gateway_thread(
            fake.address, max_body_bytes=2000, max_in_flight=2, max_stall_seconds=0.8, max_connections=8
        ) as client,
        _still_answering(client),
    ):
        yield client


@pytest.fixture
def usual(http: httpx.Client) -> Iterator[httpx.Client]:
    """A client of a gateway with the default limits, which answers after each test, too."""
    with _still_answering(http):
        yield http


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n : x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: five\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\n" * 5000,
    ],
    ids=range(22),
)
def test_what_is_not_http_is_refused_and_the_connection_closed(
    small: httpx.Client, request_bytes: bytes
) -> None:
    with connection(small) as raw:
        # The gateway may close the connection before it has all.
        with suppress(OSError):
            raw.sendall(request_bytes)
        told = read_to_end(raw)
    assert not told or told.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")), told[:200]


def test_a_length_beyond_the_limit_is_refused_before_the_body_is_sent(small: httpx.Client) -> None:
    with connection(small) as raw:
        raw.sendall(HEAD + b"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n")
        told = read_to_end(raw)
    assert told.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in told
    assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["reason"] == "BODY_TOO_LARGE"


@pytest.mark.parametrize("length", [0, 5, len(BODY)])
def test_a_body_whose_end_is_not_certain_is_refused(small: httpx.Client, length: int) -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connection(small) as raw:
        raw.sendall(
            HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (length, chunks + smuggled)
        )
        told = read_to_end(raw)
    assert told.startswith(b"HTTP/1.1 400 ")
    assert told.count(b"HTTP/1.1 ") == 1
    assert b"AMBIGUOUS_LENGTH" in told


def test_a_body_without_a_length_is_cut_off_at_the_limit(small: httpx.Client) -> None:
    with connection(small) as raw:
        raw.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        try:
            for _ in range(10_000):
                raw.sendall(chunk)
        except OSError:
            pass
        else:
            pytest.fail("the gateway took ten megabytes")
    answer = small.post("/models/churn:predict", content=iter([b" " * 1500] * 2))
    assert answer.status_code in (413, 415)


def test_a_body_that_stops_is_not_waited_for(small: httpx.Client) -> None:
    with connection(small) as raw:
        raw.sendall(HEAD + b"Content-Length: 100\r\n\r\n" + BODY)
        told = read_to_end(raw)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"BODY_TOO_SLOW" in told


@pytest.mark.parametrize("sent", [b"", b"POST /models/churn:pre", HEAD, HEAD + b"X"], ids=range(4))
def test_a_head_that_stops_is_not_waited_for(small: httpx.Client, sent: bytes) -> None:
    with connection(small) as raw:
        raw.sendall(sent)
        assert read_to_end(raw) == b""


def test_a_head_that_drips_is_cut_off(small: httpx.Client) -> None:
    with connection(small) as raw:
        # Each byte is in time, and the head as a whole is not.
        raw.settimeout(0.05)
        for byte in HEAD * 100:
            try:
                raw.send(bytes((byte,)))
                if raw.recv(100) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("the gateway waited for the whole head")


def test_a_second_request_that_drips_is_cut_off(small: httpx.Client) -> None:
    with connection(small) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(raw)[0].startswith(b"HTTP/1.1 200 ")
        raw.sendall(b"GET /hea")
        assert read_to_end(raw) == b""


def test_requests_in_one_piece_are_answered_in_order(usual: httpx.Client) -> None:
    request = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    last = request.replace(b"Host:", b"Connection: close\r\nHost:", 1)
    with connection(usual) as raw:
        raw.sendall(request * 20 + last)
        told = read_to_end(raw)
    assert told.count(b"HTTP/1.1 200 OK") == 21


def test_a_client_that_does_not_read_the_answer_is_cut_off(fake: FakeServer) -> None:
    with gateway_thread(fake.address, max_stall_seconds=0.8, max_in_flight=1) as client:
        rows = b'{"rows": [' + b",".join([b'{"x": 0.1234567890123, "y": 0.1234567890123}'] * 60_000) + b"]}"
        head = HEAD.replace(b"churn", b"sum") + b"Content-Length: %d\r\n\r\n" % len(rows)
        with ExitStack() as opened:
            raw = opened.enter_context(connection(client))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(head + rows)

            def is_free() -> bool:
                try:
                    return client.get("/models").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(lambda: not is_free(), "the request in flight")
            wait_until(is_free, "the end of the request that nobody reads")


def test_more_requests_than_may_be_in_flight_are_refused(small: httpx.Client, fake: FakeServer) -> None:
    fake.delay = 60.0
    request = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    with ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(connection(small)).sendall(request)
        wait_until(lambda: fake.waiting == 2, "two calls at the server")
        answer = small.post(
            "/models/churn:predict", content=BODY, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 429
        assert answer.json()["error"]["reason"] == "TOO_MANY_IN_FLIGHT"
        assert answer.headers["Retry-After"] == "1"
        assert small.get("/health").status_code == 200
    fake.delay = 0.0


def test_more_connections_than_allowed_are_told_and_closed(small: httpx.Client) -> None:
    with ExitStack() as opened:
        told = [opened.enter_context(connection(small)) for _ in range(12)]
        refused = [raw for raw in told[8:] if read_to_end(raw).startswith(b"HTTP/1.1 503 ")]
        assert len(refused) >= 4


def test_a_client_that_leaves_frees_its_place(small: httpx.Client, fake: FakeServer) -> None:
    fake.delay = 60.0
    request = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    for calls in range(4):
        with connection(small) as raw:
            raw.sendall(request)
            wait_until(lambda: fake.waiting > calls, "the call at the server")  # noqa: B023 - called at once
    wait_until(lambda: small.get("/models").status_code == 200, "a free place")
    fake.delay = 0.0


@pytest.mark.parametrize("depth", [100, 100_000])
def test_deep_json_is_refused(usual: httpx.Client, depth: int) -> None:
    body = b'{"row": {"age": ' + b"[" * depth + b"]" * depth + b"}}"
    answer = usual.post("/models/churn:predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "number", ["1e999", "9" * 5000, "0." + "1" * 100_000, "1" * 100_000 + "e-99999"], ids=range(4)
)
def test_a_huge_number_takes_no_time(usual: httpx.Client, number: str) -> None:
    body = f'{{"row": {{"age": {number}, "country": "pe"}}}}'.encode()
    answer = usual.post("/models/churn:predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)
    assert len(answer.content) < 1000


def test_many_unknown_names_are_told_within_bounds(usual: httpx.Client) -> None:
    row = {f"name{i}": i for i in range(20_000)}
    answer = usual.post("/models/churn:predict", json={"row": row})
    assert answer.status_code == 400
    assert len(answer.json()["error"]["violations"]) <= 20
    assert len(answer.content) < 20_000


@pytest.mark.parametrize(
    "path", ["/models/%00", "/models/..%2f..%2fetc", "/models/%ff", "/models/" + "x" * 9000], ids=range(4)
)
def test_odd_names_of_models_are_not_found(usual: httpx.Client, path: str) -> None:
    answer = usual.get(path)
    assert 400 <= answer.status_code < 500
    assert len(answer.content) < 3000

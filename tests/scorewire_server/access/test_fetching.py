"""Key sets over real sockets: what is taken, and what is not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scorewire_server.access import fetching
from scorewire_server.access.fetching import FetchError, fetch
from scorewire_server.access.issuers import KeysUrl
from tests.certificates import Certificates, make_certificates

LIMIT = 1000
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[KeysUrl]:
    """A server on loopback; its handler gets each connection after the head of the request."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        port = server.sockets[0].getsockname()[1]
        yield KeysUrl(tls is not None, "127.0.0.1" if tls is None else "localhost", port, "/jwks?a=b")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()


def _answer(answer: bytes, requests: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(head)
        writer.write(answer)
        await writer.drain()

    return handle


def _ok(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


async def test_the_content_is_fetched_with_one_plain_request() -> None:
    requests: list[bytes] = []
    async with _serving(_answer(_ok(b"keys"), requests)) as url:
        assert await fetch(url, LIMIT) == b"keys"
    (request,) = requests
    assert request.startswith(b"GET /jwks?a=b HTTP/1.1\r\n")
    assert b"accept: application/json\r\n" in request.lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nke\r\n2\r\nys\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nkeys",
        _ok(b"k" * LIMIT),
    ],
)
async def test_all_forms_of_a_whole_answer_are_taken(answer: bytes) -> None:
    async with _serving(_answer(answer)) as url:
        assert await fetch(url, LIMIT) in (b"keys", b"k" * LIMIT)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "answers 302"),
        (b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "answers 301"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server answers 404"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "the server answers 500"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the server answers 204"),
        (_ok(b"k" * (LIMIT + 1)), f"the answer has more than {LIMIT} bytes"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"k" * 100_000, f"the answer has more than {LIMIT} bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "the answer ends in its middle"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n", "the server does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n", "the server does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "the server does not speak HTTP"),
        (b"", "the server cannot be reached|the server does not speak HTTP"),
    ],
)
async def test_other_answers_are_refused(answer: bytes, reason: str) -> None:
    async with _serving(_answer(answer)) as url:
        with pytest.raises(FetchError, match=reason):
            await fetch(url, LIMIT)


async def test_a_server_that_is_not_there_is_named_as_the_reason() -> None:
    async with _serving(_answer(b"")) as url:
        pass
    with pytest.raises(FetchError, match="the server cannot be reached: Connection refused"):
        await fetch(url, LIMIT)


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _drip_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("handler", [_hang, _drip_head, _drip_content])
async def test_a_server_that_never_ends_its_answer_is_given_up(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            closed.set()

    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.3)
    async with _serving(handle) as url:
        with pytest.raises(FetchError, match="no answer within 0.3 seconds|cannot be reached: timed out"):
            await fetch(url, LIMIT)
        # The connection ends, and so does the thread.
        await closed.wait()


async def test_a_connection_that_opens_too_late_is_not_used() -> None:
    received: list[bytes] = []
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())
        ended.set()

    async with _serving(handle) as url:
        request = fetching._Request(url, LIMIT)
        request.abort()
        assert isinstance(await asyncio.to_thread(request.run), str)
        # The server may take the connection later, and has to see its end before the test is over.
        await ended.wait()
    assert received == [b""]


def _server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    return context


async def test_https_is_taken_from_a_server_that_an_authority_of_the_system_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(tmp_path)
    async with _serving(_answer(_ok(b"keys")), _server_context(certificates)) as url:
        with pytest.raises(FetchError, match="certificate of the server is not valid"):
            await fetch(url, LIMIT)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        assert await fetch(url, LIMIT) == b"keys"


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with _serving(_answer(_ok(b"keys"))) as url:
        assert await fetch(url, LIMIT) == b"keys"

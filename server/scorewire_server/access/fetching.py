"""Fetches the keys of an issuer over HTTP, within bounds of time and size."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import threading
from http import HTTPStatus

from scorewire_server.access.issuers import KeysUrl

# All of a fetch: names, connection, answer.
FETCH_SECONDS = 5.0
_PART_BYTES = 1 << 16


class FetchError(Exception):
    """The keys cannot be fetched; the message says why."""


async def fetch(url: KeysUrl, max_bytes: int) -> bytes:
    """The content of a URL. Redirects are not followed, and proxies are not used.

    The request runs in a thread of its own, which may outlast the call: the system
    gives no bound for looking up a name.

    Raises:
        FetchError: there is no answer in time, or one other than 200 OK, or it is too large.
    """
    request = _Request(url, max_bytes)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes | str] = loop.create_future()

    def settle(result: bytes | str) -> None:
        if not answer.done():
            answer.set_result(result)

    def run() -> None:
        result = request.run()
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=run, name="fetch-keys", daemon=True).start()
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            result = await answer
    except TimeoutError:
        raise FetchError(f"there is no answer within {FETCH_SECONDS:g} seconds") from None
    finally:
        request.abort()
    if isinstance(result, str):
        raise FetchError(result)
    return result


class _Request:
    """A GET request of one thread, which another thread may abort."""

    def __init__(self, url: KeysUrl, max_bytes: int) -> None:
        self._url = url
        self._max_bytes = max_bytes
        self._socket: socket.socket | None = None
        self._aborted = False

    def run(self) -> bytes | str:
        """The content, or why there is none."""
        try:
            return self._get()
        except ssl.SSLCertVerificationError as error:
            return f"the certificate of the server is not valid: {error.verify_message}"
        except OSError as error:
            return f"the server cannot be reached: {error.strerror or error or type(error).__name__}"
        except Exception as error:
            return f"the server does not speak HTTP: {type(error).__name__}"

    def abort(self) -> None:
        """End what `run` waits for; a connection that is still being opened ends once it is open."""
        self._aborted = True
        opened = self._socket
        if opened is not None:
            with contextlib.suppress(OSError):
                # Not the method of an SSLSocket, which `run` may be reading.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def _get(self) -> bytes | str:
        url = self._url
        connection = (
            http.client.HTTPSConnection(
                url.host, url.port, timeout=FETCH_SECONDS, context=ssl.create_default_context()
            )
            if url.tls
            else http.client.HTTPConnection(url.host, url.port, timeout=FETCH_SECONDS)
        )
        try:
            connection.connect()
            self._socket = connection.sock
            if self._aborted:
                return "it takes too long to connect"
            connection.request("GET", url.target, headers={"Accept": "application/json"})
            with connection.getresponse() as response:
                if response.status != HTTPStatus.OK:
                    return f"the server answers {response.status}"
                content = bytearray()
                while part := response.read1(_PART_BYTES):
                    content += part
                    if len(content) > self._max_bytes:
                        return f"the answer has more than {self._max_bytes} bytes"
                # What is still to come, by the header of the answer; None if that does not say.
                return "the answer ends in its middle" if response.length else bytes(content)
        finally:
            self._socket = None
            connection.close()

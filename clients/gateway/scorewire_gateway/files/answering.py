"""Answers a request for a file, by its conditions and its range."""

from __future__ import annotations

import base64
import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scorewire import Code
from scorewire.tables import in_thread
from scorewire_contract.service.logs import logger
from scorewire_gateway.errors import RequestError
from scorewire_gateway.files.conditions import Answer, http_date, wanted
from scorewire_gateway.files.digests import Digests
from scorewire_gateway.files.folder import Listing, OpenFile
from scorewire_gateway.files.media import media_headers

_PIECE_BYTES = 256 << 10


async def answer_file(request: Request, file: OpenFile, digests: Digests) -> Response:
    """The answer to GET or HEAD of a file, which the answer closes.

    Raises:
        RequestError: a condition of the request does not hold, or its range is outside the file.
    """
    try:
        return await _answer(request, file, digests)
    except BaseException:
        file.close()
        raise


def close_file(found: OpenFile | Listing) -> None:
    """Close what `Folder.open` found, if it is to be closed."""
    if isinstance(found, OpenFile):
        found.close()


async def _answer(request: Request, file: OpenFile, digests: Digests) -> Response:
    digest = await digests.of(file)
    headers = {"Accept-Ranges": "bytes", "Last-Modified": http_date(file.modified)}
    tag = None
    if digest is None:
        # It is being written: no one may keep it, or put ranges of it together.
        headers["Cache-Control"] = "no-store"
    else:
        tag = f'"{digest.hex()[:32]}"'
        headers |= {
            "ETag": tag,
            "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
            "Cache-Control": "no-cache",
        }
    is_get = request.method == "GET"
    found = wanted(request.headers, tag=tag, modified=file.modified, size=file.size, is_get=is_get)
    if found is Answer.NOT_MODIFIED:
        file.close()
        return Response(status_code=304, headers=headers)
    if found is Answer.PRECONDITION_FAILED:
        raise RequestError(
            "the file is not the one of If-Match",
            code=Code.FAILED_PRECONDITION,
            reason="PRECONDITION_FAILED",
            http_code=412,
        )
    if not isinstance(found, range):
        raise RequestError(
            f"the range is outside the file, which has {file.size} bytes",
            code=Code.OUT_OF_RANGE,
            reason="RANGE_NOT_SATISFIABLE",
            http_code=416,
            headers={"Content-Range": f"bytes */{file.size}"},
        )
    headers |= media_headers(file.name) | {"Content-Length": str(len(found))}
    is_part = len(found) != file.size
    if is_part:
        headers["Content-Range"] = f"bytes {found.start}-{found.stop - 1}/{file.size}"
    if not is_get:
        file.close()
        return Response(status_code=200, headers=headers)
    return _Content(file, found, 206 if is_part else 200, headers)


class _Content(Response):
    """Sends bytes of a file, and closes it."""

    def __init__(self, file: OpenFile, wanted_bytes: range, status: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status, headers=headers)
        self._file = file
        self._wanted = wanted_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI
        """Send the answer; ends it before its end if the file becomes shorter meanwhile."""
        position, stop = self._wanted.start, self._wanted.stop
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            while position < stop:
                piece = await in_thread(
                    os.pread, self._file.descriptor, min(_PIECE_BYTES, stop - position), position
                )
                if not piece:
                    # The length was announced, so that the client sees it.
                    logger().warning("a file became shorter while it was sent", file=self._file.name[:100])
                    return
                position += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": position < stop})
            if not len(self._wanted):
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            # Of the middleware that bounds how long a client takes; the connection is closed.
            logger().info("a client did not take a file", file=self._file.name[:100])
        finally:
            self._file.close()

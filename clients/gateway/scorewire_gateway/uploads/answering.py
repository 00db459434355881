"""Answers an upload: its rows with their predictions, sent while the server scores those that follow.

Nothing is sent before the table was checked and its first rows were scored, so that what
is wrong until then is an ordinary error. A failure after that cuts the answer short: the
connection is closed before the end of the answer, which every client of HTTP/1.1 sees.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scorewire import Code, Explain, Model, ScorewireError
from scorewire.tables import (
    ExplainedColumns,
    FileError,
    TableReader,
    TableWriter,
    added_columns,
    in_thread,
    score_table_async,
)
from scorewire_contract.service.logs import logger
from scorewire_gateway.calls import CallOptions, call_options
from scorewire_gateway.errors import RequestError, to_json, unread
from scorewire_gateway.explaining import explain_of_query
from scorewire_gateway.json_values import to_text
from scorewire_gateway.limits import read_pieces
from scorewire_gateway.state import State
from scorewire_gateway.uploads.formats import Format, wanted_format
from scorewire_gateway.uploads.receiving import Upload, receive_upload
from scorewire_gateway.uploads.tables import Bounds, Opening, check_columns
from scorewire_gateway.uploads.writing import Pieces, writer_of

_BATCH_ROWS = 1000
# The most values of one batch, since each of them is a Python object for a while.
_BATCH_VALUES = 100_000
_MAX_COLUMNS = 4096
# Batches without a response, each of which waits in memory.
_LOOK_AHEAD = 4
_CLIENT_LEFT = "the client closed the connection, or did not read the answer"
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")
_T = TypeVar("_T")


class Uploads:
    """Answers uploads, so many at one time."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._count = 0

    async def answer(self, request: Request, model: str, version: str) -> Response:
        """Receive a table, and answer it.

        Raises:
            RequestError: the upload is not one that can be answered.
        """
        settings = self._state.settings
        if request.scope["http_version"] == "1.0":
            raise RequestError(
                "a table is answered over HTTP/1.1 only: over HTTP/1.0, half an answer looks like a whole one"
                " (in nginx, proxy_http_version 1.1)",
                code=Code.FAILED_PRECONDITION,
                reason="HTTP_VERSION",
                http_code=505,
                close=True,
            )
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RequestError(
                "a table is read without Content-Encoding; Parquet is compressed by itself",
                reason="ENCODING_NOT_KNOWN",
                http_code=415,
                close=True,
            )
        if self._count >= settings.max_uploads:
            raise RequestError(
                f"the gateway answers {self._count} uploads already; try again later",
                code=Code.RESOURCE_EXHAUSTED,
                reason="TOO_MANY_UPLOADS",
                headers={"Retry-After": "1"},
                close=True,
            )
        self._count += 1
        try:
            # First, so that nothing is stored for a caller without a right to the model.
            options = call_options(request, settings)
            try:
                found = await self._state.client.model(model, version, **options)
            except ScorewireError as error:
                raise unread(error) from error
            pieces = read_pieces(
                request, max_bytes=settings.max_upload_bytes, max_stall_seconds=settings.max_stall_seconds
            )
            upload = await receive_upload(pieces, request.headers.get("content-type", ""))
            try:
                asked = _Asked(
                    upload=upload,
                    model=found,
                    format=wanted_format(request.headers.getlist("accept"), upload.format),
                    ids=_flag(request.query_params.get("ids", "")),
                    explain=explain_of_query(
                        request.query_params.get("explain", ""),
                        request.query_params.get("explain_output", ""),
                    ),
                    options=options,
                )
            except BaseException:
                upload.file.close()
                raise
        except BaseException:
            self._count -= 1
            raise
        return _Answer(self._state, asked, self._release)

    def _release(self) -> None:
        self._count -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a request asks for."""

    upload: Upload
    model: Model
    format: Format
    ids: bool
    explain: Explain | None
    options: CallOptions


class _Answer(Response):
    """The answer to an upload, made while it is sent."""

    def __init__(self, state: State, asked: _Asked, release: Callable[[], None]) -> None:
        super().__init__()
        self._state = state
        self._asked = asked
        self._release = release
        self._opening: Opening | None = None
        self._begun = self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI
        """Send the answer; ends it before its end if the client goes away, or something fails."""
        # A task of its own, since what it waits for must be told to stop when this one is cancelled.
        work = asyncio.create_task(self._answer(send), name="upload")
        try:
            await asyncio.wait((work,))
            await work
        except (RequestError, ScorewireError) as error:
            if not self._begun:
                raise
            if self._asked.format is Format.JSON_LINES:
                await self._send_error(error, send)
            self._cut("server", str(error))
        except TimeoutError:
            # Of the middleware that bounds how long a client takes.
            self._cut("client", _CLIENT_LEFT)
        except asyncio.CancelledError:
            if not self._complete:
                self._cut("client", _CLIENT_LEFT)
            raise
        finally:
            work.cancel()
            if self._opening is not None:
                self._opening.stop()
            # Even if it is cancelled once more: a thread may still read the file.
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((work,))
            self._asked.upload.file.close()
            self._release()

    async def _answer(self, send: Send) -> None:
        asked, settings = self._asked, self._state.settings
        model = asked.model
        most_columns = max(_MAX_COLUMNS, 2 * len(model.schema.features))
        chunk_rows = min(_BATCH_ROWS, model.max_rows or _BATCH_ROWS)
        bounds = Bounds(rows=settings.max_upload_rows, columns=most_columns, chunk_rows=chunk_rows)
        self._opening = Opening(asked.upload, bounds)
        try:
            with await in_thread(self._opening.open, discard=TableReader.close) as source:
                check_columns(len(source.names), most_columns)
                await self._send_scored(model, source, chunk_rows, send)
        except FileError as error:
            raise RequestError(str(error), reason="INVALID_TABLE") from error

    async def _send_scored(self, model: Model, source: TableReader, chunk_rows: int, send: Send) -> None:
        asked = self._asked
        added = added_columns(source, model, ids=asked.ids)
        explained = None
        if asked.explain is not None:
            explained = ExplainedColumns(model, asked.explain, [*source.names, *added])
        kinds = added | (explained.kinds if explained is not None else {})
        columns = len(source.names) + (len(explained.kinds) if explained is not None else 0)
        rows = max(1, min(chunk_rows, _BATCH_VALUES // columns))
        pieces = Pieces()
        scored = score_table_async(
            self._state.client,
            model,
            source,
            rows,
            list(added),
            explained=explained,
            look_ahead=_LOOK_AHEAD,
            **asked.options,
        )
        with contextlib.closing(writer_of(asked.format, pieces, source, kinds)) as writer:
            async with contextlib.aclosing(scored):
                async for content in self._contents(scored, writer, source, pieces, model.name):
                    if not self._begun:
                        await send(self._start(model))
                        self._begun = True
                    if content:
                        await send({"type": "http.response.body", "body": content, "more_body": True})
        self._complete = True
        await send({"type": "http.response.body", "body": pieces.take()})

    async def _contents(
        self,
        scored: AsyncGenerator[Any, None],
        writer: TableWriter,
        source: TableReader,
        pieces: Pieces,
        model: str,
    ) -> AsyncGenerator[bytes, None]:
        """The pieces of the answer; at least one."""
        names = source.names

        def write(chunks: list[Any]) -> bytes:
            for chunk, columns in chunks:
                writer.write(chunk, names, columns)
            return pieces.take()

        def finish() -> bytes:
            writer.finish()
            return pieces.take()

        async for chunks in scored:
            yield await in_thread(write, chunks)
            self._state.metrics.rows.labels(model).inc(sum(chunk.row_count for chunk, _ in chunks))
        yield await in_thread(finish)

    def _start(self, model: Model) -> dict[str, Any]:
        format_ = self._asked.format
        charset = "; charset=utf-8" if format_ is Format.CSV else ""
        headers = {
            "Content-Type": format_ + charset,
            "Content-Disposition": f'attachment; filename="scores{format_.suffix}"',
            "Cache-Control": "no-store",
            "Scorewire-Model": model.name,
            "Scorewire-Version": model.version,
        }
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw}

    async def _send_error(self, error: RequestError | ScorewireError, send: Send) -> None:
        """Send a last line with the error; a line of the table has no object in `error`."""
        reason = error.reason
        body = to_text(to_json(error.code, reason, str(error), error.violations)) + b"\n"
        with contextlib.suppress(TimeoutError):
            await send({"type": "http.response.body", "body": body, "more_body": True})

    def _cut(self, cause: str, message: str) -> None:
        """Note that the answer ends too early; the protocol closes the connection of such an answer."""
        self._state.metrics.uploads_cut.labels(cause).inc()
        logger().warning(
            "the answer to an upload was cut short",
            model=self._asked.model.name[:100],
            cause=cause,
            error=message,
        )


def _flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise RequestError("ids is true or false")

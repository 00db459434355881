"""Receives an upload into a file without a name, which is gone when it is closed, even by a crash."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO

from scorewire import Code
from scorewire.tables import in_thread
from scorewire_gateway.errors import RequestError
from scorewire_gateway.uploads.form import read_form
from scorewire_gateway.uploads.formats import MULTIPART, READABLE, Format, format_of, media_type

_WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """A table that was received.

    Attributes:
        file: the table, from its begin; the owner closes it.
        format: CSV or Parquet.
    """

    file: IO[bytes]
    format: Format


async def receive_upload(pieces: AsyncIterator[bytes], content_type: str) -> Upload:
    """Receive a table.

    Args:
        pieces: the body, bounded by the caller.
        content_type: the header Content-Type of the request, of a table or of a form with a `file`.

    Raises:
        RequestError: the body is no table, or no form with one, or there is no room for it.
    """
    if media_type(content_type)[0] == MULTIPART:
        form = await read_form(content_type, pieces)
        if form.fields:
            raise RequestError(
                f"the form has a part {form.fields[0][0][:50]!r}; its only part is 'file'",
                reason="INVALID_FORM",
                close=True,
            )
        found, pieces = format_of(form.media_type, form.file_name), form.content
        if found is None:
            raise unsupported(form.media_type or "of no type")
    else:
        found = format_of(content_type)
        if found is None:
            raise unsupported(content_type)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the owner of the upload closes it
    try:
        waiting: list[bytes] = []
        size = 0
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                await _write(file, waiting)
                waiting, size = [], 0
        await _write(file, waiting)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return Upload(file, found)


def unsupported(content_type: str) -> RequestError:
    """The refusal of a body that is neither JSON nor a table."""
    media, _ = media_type(content_type)
    return RequestError(
        f"the body is {media[:100]!r}; send application/json, {', '.join(READABLE)}, or a form"
        f" ({MULTIPART}) with one of these as 'file'",
        reason="UNSUPPORTED_MEDIA_TYPE",
        http_code=415,
        close=True,
    )


async def _write(file: IO[bytes], pieces: list[bytes]) -> None:
    try:
        await in_thread(file.write, b"".join(pieces))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RequestError(
            "the gateway has no room for the file on its disk",
            code=Code.RESOURCE_EXHAUSTED,
            reason="NO_ROOM",
            http_code=507,
            close=True,
        ) from error

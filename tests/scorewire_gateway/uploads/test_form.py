"""Forms are read as they come, in pieces of any size, and within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from scorewire_gateway.errors import RequestError
from scorewire_gateway.uploads.form import read_form

TYPE = "multipart/form-data; boundary=--x"
FIELD = b'----x\r\nContent-Disposition: form-data; name="model"\r\n\r\nrepurchase\r\n'
FILE = (
    b'----x\r\nContent-Disposition: form-data; name="file"; filename="my \xc3\xbc.csv"\r\n'
    b"Content-Type: Text/CSV; charset=utf-8\r\n\r\na,b\r\n--1,2\n\r\n"
)
END = b"----x--\r\n"


def _read(body: bytes, size: int, content_type: str = TYPE) -> tuple[list[tuple[str, str]], str, str, bytes]:
    """The fields, the name, the media type and the bytes of a form that comes in pieces of a size."""

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), size):
            yield body[begin : begin + size]

    async def read() -> tuple[list[tuple[str, str]], str, str, bytes]:
        form = await read_form(content_type, pieces())
        content = b"".join([piece async for piece in form.content])
        return list(form.fields), form.file_name, form.media_type, content

    return asyncio.run(read())


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_a_form_is_the_same_in_pieces_of_any_size(size: int) -> None:
    told = _read(FIELD + FIELD.replace(b"model", b"kind") + FILE + END, size)
    assert told == (
        [("model", "repurchase"), ("kind", "repurchase")],
        "my ü.csv",
        "text/csv",
        b"a,b\r\n--1,2\n",
    )


def _broken() -> Iterator[tuple[str, bytes, str]]:
    yield "no file", FIELD + END, "no part named file"
    yield "empty", b"", "no part named file"
    yield "no form", b"customer,time\n1,2\n", "the form cannot be read"
    yield "cut off", FIELD + FILE, "ends before its last boundary"
    yield "cut off in the file", (FIELD + FILE)[:-6], "ends before its last boundary"
    yield "field after the file", FILE + FIELD + END, "not the last one"
    yield "two files", FILE + FILE + END, "not the last one"
    yield "many fields", FIELD * 65 + FILE + END, "more than 64 fields"
    yield "long field", FIELD.replace(b"repurchase", b"a" * 70_000) + FILE + END, "more than 65,536 bytes"
    long_name = FIELD.replace(b"model", b"a" * 10_000)
    yield "long header", long_name + FILE + END, "the form cannot be read"
    many = b"X: y\r\n" * 100
    yield (
        "many headers",
        FIELD.replace(b"\r\n\r\n", b"\r\n" + many + b"\r\n", 1) + FILE + END,
        "cannot be read",
    )


@pytest.mark.parametrize(("body", "message"), [pytest.param(*rest, id=name) for name, *rest in _broken()])
@pytest.mark.parametrize("size", [1, 10_000])
def test_what_is_no_such_form_is_refused(body: bytes, message: str, size: int) -> None:
    with pytest.raises(RequestError, match=message):
        _read(body, size)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"{TYPE}{'a' * 300}"]
)
def test_a_boundary_is_needed(content_type: str) -> None:
    with pytest.raises(RequestError, match="has no boundary"):
        _read(FILE + END, 100, content_type)

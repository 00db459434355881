"""Reads a form (multipart/form-data) of some short fields and a file, which is passed on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from scorewire_gateway.errors import RequestError
from scorewire_gateway.uploads.formats import media_type

_MAX_FIELDS = 64
_MAX_FIELDS_BYTES = 64 << 10
_MAX_BOUNDARY = 200
_FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form.

    Attributes:
        fields: the names and values of the fields before the file.
        file_name: the file's name, as the client gives it; "" without one.
        media_type: the file's Content-Type; "" without one.
        content: the bytes of the file, in pieces; to be read to the end.
    """

    fields: tuple[tuple[str, str], ...]
    file_name: str
    media_type: str
    content: AsyncIterator[bytes]


async def read_form(content_type: str, pieces: AsyncIterator[bytes]) -> Form:
    """Read a form up to the bytes of its file, the part `file`, which must be the last one.

    Args:
        content_type: the header Content-Type of the request.
        pieces: the body of the request.

    Raises:
        RequestError: the body is not such a form, or its fields are too many or too long. Reading the
            content raises it, too.
    """
    boundary = media_type(content_type)[1].get("boundary", "").encode("latin-1")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise _invalid("its Content-Type has no boundary")
    reader = _Reader(boundary)
    async for piece in pieces:
        reader.feed(piece)
        if reader.in_file:
            break
    if not reader.in_file:
        raise _invalid("it has no part named file")
    return Form(
        fields=tuple(reader.fields),
        file_name=reader.file_name,
        media_type=reader.media_type,
        content=_content(reader, pieces),
    )


async def _content(reader: _Reader, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield reader.take()
    async for piece in pieces:
        reader.feed(piece)
        yield reader.take()
    if not reader.is_whole:
        raise _invalid("it ends before its last boundary")


class _Reader:
    """What the parser has found so far.

    Attributes:
        fields: the fields before the file.
        file_name: the file's name.
        media_type: the file's Content-Type.
        in_file: whether the file has begun.
        is_whole: whether the last boundary was read.
    """

    def __init__(self, boundary: bytes) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file_name = ""
        self.media_type = ""
        self.in_file = False
        self.is_whole = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name = b""
        self._value = bytearray()
        self._field_bytes = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Read a piece of the body."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _invalid(str(error)[:200]) from None

    def take(self) -> bytes:
        """The bytes of the file since the last call."""
        taken = bytes(self._value)
        self._value.clear()
        return taken

    def _begin_part(self) -> None:
        if self.in_file:
            raise _invalid("its part named file is not the last one; send the other fields before it")
        if len(self.fields) >= _MAX_FIELDS:
            raise _invalid(f"it has more than {_MAX_FIELDS} fields")
        self._headers.clear()
        self._value.clear()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition"))[1]
        self._name = options.get(b"name", b"")
        if self._name == _FILE.encode():
            self.in_file = True
            self.file_name = options.get(b"filename", b"").decode("utf-8", "replace")
            self.media_type = media_type(self._headers.get(b"content-type", b"").decode("latin-1"))[0]

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if not self.in_file:
            self._field_bytes += end - start
            if self._field_bytes > _MAX_FIELDS_BYTES:
                raise _invalid(f"its fields have more than {_MAX_FIELDS_BYTES:,} bytes")
        self._value += data[start:end]

    def _end_part(self) -> None:
        if not self.in_file:
            name, value = (text.decode("utf-8", "replace") for text in (self._name, bytes(self._value)))
            self.fields.append((name, value))

    def _end(self) -> None:
        self.is_whole = True


def _invalid(what: str) -> RequestError:
    return RequestError(f"the form cannot be read: {what}", reason="INVALID_FORM", close=True)

"""Writes a scored table piece by piece, for an answer that is sent while it grows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from scorewire.tables import Chunk, TableReader, TableWriter, write_csv, write_parquet
from scorewire_gateway.json_values import to_text
from scorewire_gateway.uploads.formats import Format

_PLAIN = (str, int, float, bool, type(None))
Added = Mapping[str, type[float] | type[str]]


class Pieces(io.BufferedIOBase):
    """A file that only grows; `take` gives what was written since the last time."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:
        """Append bytes; returns their number."""
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        """The number of bytes that were written so far."""
        return self._position

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


class _JsonLinesWriter(TableWriter):
    """Writes a JSON object for each row, in a line of its own."""

    def __init__(self, file: Pieces) -> None:
        self._file = file

    def write(self, chunk: Chunk, names: Sequence[str], added: dict[str, list[Any]]) -> None:
        columns = [*(chunk.values(name) for name in names), *added.values()]
        keys = [*names, *added]
        for values in zip(*columns, strict=True):
            row = {
                key: value if isinstance(value, _PLAIN) else _plain(value)
                for key, value in zip(keys, values, strict=True)
            }
            self._file.write(to_text(row) + b"\n")

    def finish(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Nothing is held."""


def _plain(value: Any) -> Any:
    """A value of a Parquet file as JSON: dates, decimals and bytes as texts."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def writer_of(format_: Format, pieces: Pieces, source: TableReader, added: Added) -> TableWriter:
    """The writer of an answer.

    Args:
        format_: the format of the answer.
        pieces: gets what is written.
        source: the table whose columns come first.
        added: the columns that come after them: float or str by name.
    """
    if format_ is Format.CSV:
        return write_csv(pieces, source, added)
    if format_ is Format.PARQUET:
        return write_parquet(pieces, source, added)
    return _JsonLinesWriter(pieces)

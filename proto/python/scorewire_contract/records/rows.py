"""The body of a block of rows: predictions of one source, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.blocks import FORMAT, BlockError, padded
from scorewire_contract.records.source import Output, Source
from scorewire_contract.records.texts import Texts

# The flag of a prediction that is kept whatever the sample says.
KEPT = 1
# The writer of an original that has no record.
NO_WRITER = 0xFFFF
_HEAD_BYTES = 8
# The sections before those of the outputs, by the format.
_FIXED_SECTIONS = {1: 17, 2: 19}

_U16: TypeAlias = "NDArray[np.uint16]"
_U32: TypeAlias = "NDArray[np.uint32]"
_U64: TypeAlias = "NDArray[np.uint64]"
_I64: TypeAlias = "NDArray[np.int64]"
_F64: TypeAlias = "NDArray[np.float64]"
OutputColumn: TypeAlias = "_F64 | Texts"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowsBlock:
    """`n` predictions with `m` rows; a prediction with many rows may be in several blocks, as parts.

    What `decode` returns refers to the body's bytes, and cannot be written to.

    Attributes:
        sequences: uint64, shape (n,): sequence numbers.
        times_us: int64, shape (n,): when each message was read, in microseconds since 1970 (UTC).
        server_us: uint32, shape (n,): microseconds from the decoded message to the outputs.
        model_us: uint32, shape (n,): microseconds of the run of the model.
        first_rows: uint32, shape (n,): the index of the first row of each part in its prediction.
        row_counts: uint32, shape (n,): rows.
        writers: uint16, shape (n,): numbers of writers.
        flags: uint16, shape (n,): `KEPT`.
        original_sequences: uint64, shape (n,) for a shadow, else (0,): sequence numbers of the originals.
        original_writers: uint16, shape (n,) for a shadow, else (0,): their writers, or `NO_WRITER`.
        callers: n texts.
        routing_keys: n texts.
        principals: n texts.
        numbers: float64, shape (m, numbers of the source): NaN is a missing value.
        texts: m times the texts of the source, row by row: empty is a missing value.
        error_rows: uint32, shape (e,): the index in the block of each row with an error, ascending.
        error_reasons: uint16, shape (e,): numbers of `ErrorReason`.
        error_features: uint16, shape (e,): indices of `Source.features`.
        outputs: for each output of the source, float64 of shape (m, width), or m times width texts; NaN or
            empty for a row with an error.
    """

    sequences: _U64
    times_us: _I64
    server_us: _U32
    model_us: _U32
    first_rows: _U32
    row_counts: _U32
    writers: _U16
    flags: _U16
    original_sequences: _U64
    original_writers: _U16
    callers: Texts
    routing_keys: Texts
    principals: Texts
    numbers: _F64
    texts: Texts
    error_rows: _U32
    error_reasons: _U16
    error_features: _U16
    outputs: tuple[OutputColumn, ...]

    def __len__(self) -> int:
        """The number of predictions."""
        return len(self.sequences)

    @property
    def row_count(self) -> int:
        """The number of rows, m."""
        return int(self.row_counts.sum(dtype=np.uint64))

    @property
    def prediction_of_row(self) -> NDArray[np.int64]:
        """For each row, the index of its prediction in the block; shape (m,)."""
        return np.repeat(np.arange(len(self)), self.row_counts)

    @property
    def index_of_row(self) -> NDArray[np.int64]:
        """For each row, its index in its whole prediction; shape (m,)."""
        counts = self.row_counts.astype(np.int64)
        moved = self.first_rows - (np.cumsum(counts) - counts)
        index: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(moved, counts)
        return index

    def encode(self) -> bytes:
        """The body of the block."""
        sections = [
            _bytes(self.sequences, "<u8"),
            _bytes(self.times_us, "<i8"),
            _bytes(self.server_us, "<u4"),
            _bytes(self.model_us, "<u4"),
            _bytes(self.first_rows, "<u4"),
            _bytes(self.row_counts, "<u4"),
            _bytes(self.writers, "<u2"),
            _bytes(self.flags, "<u2"),
            _bytes(self.original_sequences, "<u8"),
            _bytes(self.original_writers, "<u2"),
            self.callers.encode(),
            self.routing_keys.encode(),
            _bytes(self.numbers, "<f8"),
            self.texts.encode(),
            _bytes(self.error_rows, "<u4"),
            _bytes(self.error_reasons, "<u2"),
            _bytes(self.error_features, "<u2"),
            *_repeated(self.principals),
            *(each.encode() if isinstance(each, Texts) else _bytes(each, "<f8") for each in self.outputs),
        ]
        head = np.array([len(sections), 0], "<u4").tobytes()
        lengths = np.array([len(each) for each in sections], "<u8").tobytes()
        return b"".join([head, lengths, *map(padded, sections)])

    @classmethod
    def decode(cls, body: bytes, source: Source, format: int = FORMAT) -> RowsBlock:  # noqa: A002
        """Read the body of a block, without copies.

        Args:
            body: the body.
            source: the source that the header names.
            format: the format that the header names.

        Raises:
            BlockError: the body is no block of rows of this source.
        """
        sections = _sections(body)
        if len(sections) != _FIXED_SECTIONS[format] + len(source.outputs):
            raise BlockError(f"rows of {len(source.outputs)} outputs have {len(sections)} sections")
        each = iter(sections)
        n = len(sections[0]) // 8
        originals = n if source.is_shadow else 0
        sequences, times_us = _array(each, "<u8", n), _array(each, "<i8", n)
        server_us, model_us, first_rows, row_counts = (_array(each, "<u4", n) for _ in range(4))
        writers, flags = _array(each, "<u2", n), _array(each, "<u2", n)
        m = int(row_counts.sum(dtype=np.uint64))
        originals_of = _array(each, "<u8", originals), _array(each, "<u2", originals)
        callers, routing_keys = Texts.decode(next(each), n), Texts.decode(next(each), n)
        numbers = _matrix(each, m, len(source.numbers))
        texts = Texts.decode(next(each), m * len(source.texts))
        e = len(sections[14]) // 4
        error_rows, error_reasons = _array(each, "<u4", e), _array(each, "<u2", e)
        error_features = _array(each, "<u2", e)
        _check_errors(error_rows, error_features, m, len(source.features))
        principals = _read_repeated(each, n) if format > 1 else Texts.of([""]).repeated(n)
        return cls(
            sequences=sequences,
            times_us=times_us,
            server_us=server_us,
            model_us=model_us,
            first_rows=first_rows,
            row_counts=row_counts,
            writers=writers,
            flags=flags,
            original_sequences=originals_of[0],
            original_writers=originals_of[1],
            callers=callers,
            routing_keys=routing_keys,
            principals=principals,
            numbers=numbers,
            texts=texts,
            error_rows=error_rows,
            error_reasons=error_reasons,
            error_features=error_features,
            outputs=tuple(_output(each, output, m) for output in source.outputs),
        )


def _bytes(values: NDArray[np.generic], dtype: str) -> bytes:
    return values.astype(dtype, copy=False).tobytes()


def _sections(body: bytes) -> Sequence[memoryview]:
    if len(body) < _HEAD_BYTES:
        raise BlockError("a body of rows is too short")
    count = int.from_bytes(body[:4], "little")
    begin = _HEAD_BYTES + 8 * count
    if len(body) < begin:
        raise BlockError("a body of rows is shorter than its table of sections")
    view, sections = memoryview(body), []
    for length in np.frombuffer(body, "<u8", count, _HEAD_BYTES).tolist():
        if begin + length > len(body):
            raise BlockError("a section ends behind its body")
        sections.append(view[begin : begin + length])
        begin += length + -length % 8
    if begin != len(body):
        raise BlockError("a body of rows is longer than its sections")
    return sections


def _array(sections: Iterator[memoryview], dtype: str, count: int) -> NDArray[Any]:
    section = next(sections)
    if len(section) != count * np.dtype(dtype).itemsize:
        raise BlockError(f"a section for {count} values has {len(section)} bytes")
    return np.frombuffer(section, dtype)


def _matrix(sections: Iterator[memoryview], rows: int, width: int) -> NDArray[np.float64]:
    return _array(sections, "<f8", rows * width).reshape(rows, width)


def _repeated(texts: Texts) -> tuple[bytes, bytes]:
    """The sections of texts that repeat: the place of each among the different ones, and these.

    The different texts are in the order in which they came. If there is only one, there are no places.
    """
    places: dict[bytes, int] = {}
    each_place = [places.setdefault(text, len(places)) for text in texts.as_bytes()]
    section = np.array(each_place if len(places) > 1 else [], "<u2")
    return section.tobytes(), Texts.of_bytes(list(places)).encode()


def _read_repeated(sections: Iterator[memoryview], count: int) -> Texts:
    """`count` texts from the sections that `_repeated` makes."""
    places, different = next(sections), next(sections)
    if not len(places):
        return Texts.decode(different, min(count, 1)).repeated(count)
    of_each = _array(iter([places]), "<u2", count)
    return Texts.decode(different, int(of_each.max()) + 1).take(of_each)


def _output(sections: Iterator[memoryview], output: Output, rows: int) -> OutputColumn:
    if output.is_text:
        return Texts.decode(next(sections), rows * output.width)
    return _matrix(sections, rows, output.width)


def _check_errors(rows: _U32, features: _U16, row_count: int, feature_count: int) -> None:
    ascending = (rows[1:] > rows[:-1]).all()
    if not ascending or (rows[-1:] >= row_count).any() or (features >= feature_count).any():
        raise BlockError("errors name rows or features that the block does not have")

"""Binary COPY, made from whole columns.

PostgreSQL's binary COPY has the rows one after the other, and each field as its length (a
big-endian int32) and its bytes. The fields of fixed width of all rows are one structured array.
Texts get their lengths in front of them, and stand behind the fixed fields, by one join each:
nothing here loops over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scorewire_contract.records.texts import Texts

# The signature, no flags, no extension; and after the last row -1 as its number of fields.
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
# PostgreSQL cannot store NUL in a text: this symbol for it stands there instead.
NUL_SYMBOL = "\N{SYMBOL FOR NULL}"
_NUL_SYMBOL = NUL_SYMBOL.encode()

# Array header: dimensions, whether there are nulls, the type of the elements, their count, the first index.
_ARRAY_HEAD = [("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">i4"), ("count", ">i4"), ("first", ">i4")]
_FLOAT8, _TEXT = 701, 25
_LENGTH_BYTES = 4

Values: TypeAlias = "NDArray[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Columns of one type of fixed width.

    Attributes:
        type: the type on the wire as a NumPy type: >i2, >i4, >i8, >f8 or V16 (a UUID).
        values: shape (m,) for one column, (m, k) for k of them; or one value for all rows.
    """

    type: str
    values: Values

    @property
    def fields(self) -> int:
        """How many columns these are."""
        return self.values.shape[1] if self.values.ndim == 2 else 1

    def dtype(self) -> Any:
        """The fields of one row."""
        return np.dtype([("size", ">i4"), ("value", self.type)]), (self.fields,)

    def template(self, row: Any) -> None:
        """Write what is equal in all rows."""
        row["size"] = row.dtype["value"].itemsize

    def write(self, rows: Any) -> None:
        """Write the values into the fields of all rows."""
        rows["value"] = self.values if self.values.ndim == 2 else self.values.reshape(-1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A column with one text in all rows.

    Attributes:
        text: the text, in UTF-8.
    """

    text: bytes
    fields = 1

    def dtype(self) -> Any:
        """The field of one row."""
        return np.dtype([("size", ">i4"), ("value", "u1", (len(self.text),))])

    def template(self, row: Any) -> None:
        """Write what is equal in all rows."""
        row["size"] = len(self.text)
        row["value"] = np.frombuffer(self.text, np.uint8)

    def write(self, rows: Any) -> None:
        """Nothing differs between rows."""


@dataclass(frozen=True, slots=True, eq=False)
class NumberArray:
    """A column of type double precision[].

    Attributes:
        values: float64, shape (m, width); width is 1 or more.
    """

    values: NDArray[np.float64]
    fields = 1

    def dtype(self) -> Any:
        """The field of one row."""
        items = np.dtype([("size", ">i4"), ("value", ">f8")])
        return np.dtype([("size", ">i4"), ("head", _ARRAY_HEAD), ("items", items, self.values.shape[1:])])

    def template(self, row: Any) -> None:
        """Write what is equal in all rows."""
        row["size"] = row.dtype.itemsize - _LENGTH_BYTES
        row["head"] = (1, 0, _FLOAT8, self.values.shape[1], 1)
        row["items"]["size"] = 8

    def write(self, rows: Any) -> None:
        """Write the values into the fields of all rows."""
        rows["items"]["value"] = self.values


@dataclass(frozen=True, slots=True, eq=False)
class TextColumns:
    """Columns of texts.

    Attributes:
        texts: m times `fields` texts, row by row.
        fields: how many columns these are.
    """

    texts: Texts
    fields: int = 1

    def rows(self) -> pa.Array:
        """The fields of each row."""
        return _grouped(_with_lengths(_binary(self.texts)), self.fields)


@dataclass(frozen=True, slots=True, eq=False)
class TextArray:
    """A column of type text[].

    Attributes:
        texts: m times `width` texts, row by row.
        width: texts per row, 1 or more.
    """

    texts: Texts
    width: int
    fields = 1

    def rows(self) -> pa.Array:
        """The field of each row."""
        items = _grouped(_with_lengths(_binary(self.texts)), self.width)
        head = np.array([1, 0, _TEXT, self.width, 1], ">i4")
        heads = np.tile(head, (len(items), 1))
        return _with_lengths(_joined(_fixed_size(heads.view(np.uint8)), items))


_FixedWidth: TypeAlias = "Fixed | Constant | NumberArray"
Field: TypeAlias = "_FixedWidth | TextColumns | TextArray"


def text_columns(*columns: Texts) -> list[Field]:
    """Columns with a text in each row: `Constant` as far as the first ones have one text in all rows.

    Most blocks have one caller, and no routing keys.
    """
    result: list[Field] = []
    for texts in columns:
        is_front = all(isinstance(each, Constant) for each in result)
        only = _only_text(texts) if is_front else None
        result.append(TextColumns(texts) if only is None else Constant(only))
    return result


def encode_rows(fields: Sequence[Field], rows: int, chosen: NDArray[np.bool_] | None = None) -> memoryview:
    """Rows as binary COPY, without `HEADER` and `TRAILER`.

    Args:
        fields: the columns, in the order of COPY's list; texts stand behind all others.
        rows: the number of rows, m.
        chosen: shape (m,): the rows that are wanted; None for all.

    Raises:
        ValueError: a column of fixed width stands behind a text.
    """
    fixed = [each for each in fields if isinstance(each, Fixed | Constant | NumberArray)]
    texts = [each for each in fields if isinstance(each, TextColumns | TextArray)]
    if list(fields) != [*fixed, *texts]:
        raise ValueError("texts stand behind the columns of fixed width")
    if rows == 0:
        return memoryview(b"")
    beginnings = _fixed_fields(fixed, rows, sum(each.fields for each in fields))
    if not texts:
        return (beginnings if chosen is None else beginnings[chosen]).reshape(-1).data
    joined = _joined(_fixed_size(beginnings), *(each.rows() for each in texts))
    if chosen is not None:
        joined = joined.filter(pa.array(chosen))
    offsets = _offsets(joined)
    return memoryview(joined.buffers()[2])[offsets[0] : offsets[-1]]


def _fixed_fields(fields: Sequence[_FixedWidth], rows: int, count: int) -> NDArray[np.uint8]:
    """The number of fields and the fields of fixed width: shape (rows, bytes)."""
    types: list[Any] = [("count", ">i2")]
    for index, each in enumerate(fields):
        dtype = each.dtype()
        types.append((str(index), *dtype) if isinstance(dtype, tuple) else (str(index), dtype))
    template = np.zeros(1, np.dtype(types))
    template["count"] = count
    for index, each in enumerate(fields):
        each.template(template[str(index)])
    # A row of bytes is copied faster than a structure is, field by field.
    result = np.empty((rows, template.itemsize), np.uint8)
    result[:] = template.view(np.uint8)
    structured = result.view(template.dtype)[:, 0]
    for index, each in enumerate(fields):
        each.write(structured[str(index)])
    return result


def _only_text(texts: Texts) -> bytes | None:
    """The text that all rows have, if it is one that PostgreSQL takes as it is."""
    lengths = np.diff(texts.offsets)
    if not len(lengths) or (lengths != lengths[0]).any():
        return None
    rows = texts.data.reshape(len(lengths), lengths[0])
    is_plain = rows[0].all() and (rows[0] < 0x80).all()
    return rows[0].tobytes() if is_plain and (rows == rows[0]).all() else None


def _binary(texts: Texts) -> pa.Array:
    """Texts that PostgreSQL takes: UTF-8 without NUL."""
    found = _from_offsets(texts.offsets.astype(np.int32), texts.data)
    if not texts.data.all():
        found = pc.replace_substring(found, b"\0", _NUL_SYMBOL)
    try:
        found.cast(pa.string())
    except pa.ArrowInvalid:
        # An engine checks its texts; this one is damaged, and PostgreSQL would refuse all rows for it.
        repaired = [each.decode(errors="replace").encode() for each in found.to_pylist()]
        found = pa.array(repaired, pa.binary())
    return found


def _with_lengths(values: pa.Array) -> pa.Array:
    """Each value with its length in front."""
    lengths = np.diff(_offsets(values)).astype(">i4")
    return _joined(_fixed_size(lengths.view(np.uint8).reshape(-1, _LENGTH_BYTES)), values)


def _grouped(values: pa.Array, width: int) -> pa.Array:
    """Each `width` values as one."""
    if width == 1:
        return values
    return _from_offsets(np.ascontiguousarray(_offsets(values)[::width]), values.buffers()[2])


def _joined(*columns: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.binary()))


def _fixed_size(values: NDArray[np.uint8]) -> pa.Array:
    """The rows of a matrix of bytes as values."""
    count, size = values.shape
    return _from_offsets(np.arange(0, size * count + 1, size, dtype=np.int32), np.ascontiguousarray(values))


def _from_offsets(offsets: NDArray[np.int32], data: Any) -> pa.Array:
    buffer = data if isinstance(data, pa.Buffer) or data is None else pa.py_buffer(memoryview(data).cast("B"))
    return pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), buffer or pa.py_buffer(b"")]
    )


def _offsets(values: pa.Array) -> NDArray[np.int32]:
    found = np.frombuffer(values.buffers()[1], np.int32)
    return found[values.offset : values.offset + len(values) + 1]

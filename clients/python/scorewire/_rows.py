"""Encodes dicts, numpy arrays and data frames as rows of the wire.

The rules:

- A row is a mapping from feature names to values. A name that is not a feature is
  an error. A feature that a row leaves out is missing, where the model allows
  that; leaving out any other feature is an error.
- In a batch, a feature that no row names is an error, because it looks like a
  forgotten column. A batch says that a feature is missing by giving it as None.
- A numpy array has the shape [rows, features], with columns in the schema's
  order. A data frame has exactly the model's features as columns, in any order.
- A number is a float, an integer up to 2^53 or a boolean; a text is a str. None,
  NaN, pandas.NA and the empty text are missing values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from scorewire._errors import MAX_VIOLATIONS, InvalidRowsError, UnimplementedError, Violation
from scorewire._models import Feature, FeatureKind, Schema
from scorewire._values import Faults, array_to_doubles, is_missing, to_doubles, to_floats, to_texts
from scorewire_contract.spelling import suggestion
from scorewire_proto.v1 import packed_pb2

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = "pd.DataFrame"
# For isinstance: a dict, which rows nearly always are, is found so in a third of the time.
MAPPINGS = (dict, Mapping)
Row: TypeAlias = Mapping[str, Any]
_NO_TEXTS: tuple[list[str], Faults] = ([], {})
Rows: TypeAlias = "Row | Sequence[Row] | NDArray[Any] | Frame"


@dataclass(slots=True, eq=False)
class EncodedRows:
    """Rows of a schema, ready for the wire: little-endian doubles and texts, both row by row."""

    row_count: int
    numbers: bytes
    texts: Sequence[str]

    def message(self) -> packed_pb2.PackedRows:
        """The rows as a message."""
        numbers = (self.numbers,) if self.numbers else ()
        return packed_pb2.PackedRows(row_count=self.row_count, numbers=numbers, texts=self.texts)

    def part(self, start: int, stop: int) -> EncodedRows:
        """The rows from `start` up to `stop`, without the latter."""
        width, texts = len(self.numbers) // self.row_count, len(self.texts) // self.row_count
        return EncodedRows(
            stop - start,
            self.numbers[start * width : stop * width],
            self.texts[start * texts : stop * texts],
        )


@dataclass(frozen=True, slots=True, eq=False)
class SentRows:
    """Rows as they were sent, and the features that they have values of."""

    features: tuple[Feature, ...]
    rows: EncodedRows

    def values(self, row: int) -> dict[str, float | str | None]:
        """The values of one row by feature; None for a missing value."""
        numeric = [feature.kind is FeatureKind.NUMBER for feature in self.features]
        count, texts = sum(numeric), len(numeric) - sum(numeric)
        numbers = struct.unpack_from(f"<{count}d", self.rows.numbers, 8 * count * row)
        of_row = iter(numbers), iter(self.rows.texts[texts * row : texts * (row + 1)])
        found = {
            feature.name: next(of_row[0 if is_number else 1])
            for feature, is_number in zip(self.features, numeric, strict=True)
        }
        return {name: None if value == "" or is_missing(value) else value for name, value in found.items()}

    def joined(self, others: Sequence[SentRows]) -> SentRows:
        """These rows and those of others with the same features."""
        parts = [self.rows, *(other.rows for other in others)]
        numbers = b"".join(part.numbers for part in parts)
        texts = [text for part in parts for text in part.texts]
        return SentRows(self.features, EncodedRows(sum(part.row_count for part in parts), numbers, texts))


class RowEncoder:
    """Encodes rows for one schema; safe to share between threads.

    Raises:
        UnimplementedError: the schema has a kind of feature that this release does not know.
    """

    def __init__(self, schema: Schema) -> None:
        for feature in schema.features:
            if feature.kind is FeatureKind.UNSPECIFIED:
                raise UnimplementedError(
                    f"feature {feature.name!r} is of a kind that this release does not know: update scorewire"
                )
        self._names = [feature.name for feature in schema.features]
        self._known = frozenset(self._names)
        self._numbers = [f.name for f in schema.features if f.kind is FeatureKind.NUMBER]
        self._texts = [f.name for f in schema.features if f.kind is FeatureKind.TEXT]
        self._required = frozenset(f.name for f in schema.features if not f.missing_allowed)
        self._take_numbers = _taker(self._numbers)
        self._take_texts = _taker(self._texts)
        self._one_row = struct.Struct(f"<{len(self._numbers)}d")
        self._number_positions = [self._names.index(name) for name in self._numbers]
        self._text_positions = [self._names.index(name) for name in self._texts]

    def encode(self, rows: Rows) -> EncodedRows:
        """Encode rows.

        Raises:
            InvalidRowsError: the rows do not fit the schema; the message tells which row and feature.
        """
        if isinstance(rows, MAPPINGS):
            return self._from_mapping(rows)
        if isinstance(rows, np.ndarray):
            return self._from_array(rows)
        if is_frame(rows):
            return self._from_frame(rows)
        if isinstance(rows, list | tuple):
            return self._from_mappings(rows)
        kinds = "a dict, a list of dicts, a numpy array or a pandas data frame"
        return _refuse("rows", f"rows are {kinds}, not {_kind(rows)}")

    def zeros(self) -> EncodedRows:
        """One row of zeros, without texts."""
        return EncodedRows(1, bytes(self._one_row.size), ())

    def take(self, row: Row) -> tuple[Sequence[object], Sequence[object]]:
        """The numbers and the texts of one row, in the schema's order, as the caller gave them.

        Raises:
            InvalidRowsError: the row leaves out a feature that it must have, or has another name.
        """
        if type(row) is dict and len(row) == len(self._known):
            try:
                return self._take_numbers(row), self._take_texts(row)
            except KeyError:
                pass  # it lacks a feature and has another name
        if not row.keys() <= self._known:
            self._refuse_unknown("rows[0].", row.keys())
        if absent := self._required - row.keys():
            self._refuse_absent(self._known - absent)
        return tuple(map(row.get, self._numbers)), tuple(map(row.get, self._texts))

    def encode_taken(
        self, row_count: int, numbers: Sequence[object], texts: Sequence[object]
    ) -> tuple[EncodedRows, set[int]]:
        """Encode the values of rows as `take` gave them, one row after the other.

        Returns:
            The rows that fit the schema, and the indices of the others.
        """
        doubles, number_faults = to_doubles(numbers)
        flat, text_faults = to_texts(texts)
        if not (number_faults or text_faults):
            return EncodedRows(row_count, _to_bytes(doubles), flat), set()
        misfits = {row for row, _, _ in self._locate(number_faults, text_faults)}
        kept = np.array([row for row in range(row_count) if row not in misfits], dtype=np.intp)
        table = doubles.reshape(row_count, len(self._numbers))[kept]
        width = len(self._texts)
        left = [text for row in kept.tolist() for text in flat[row * width : (row + 1) * width]]
        return EncodedRows(len(kept), _to_bytes(table), left), misfits

    def _from_mapping(self, row: Row) -> EncodedRows:
        numbers, texts = self.take(row)
        floats, number_faults = to_floats(numbers)
        strings, text_faults = to_texts(texts) if texts else _NO_TEXTS
        if number_faults or text_faults:
            self._refuse_faults(number_faults, text_faults)
        return EncodedRows(1, self._one_row.pack(*floats), strings)

    def _from_mappings(self, rows: Sequence[Row]) -> EncodedRows:
        partial = []
        for index, row in enumerate(rows):
            if not isinstance(row, MAPPINGS):
                _refuse(f"rows[{index}]", f"a row is a dict of features by name, not {_kind(row)}")
            if row.keys() != self._known:
                if not row.keys() <= self._known:
                    self._refuse_unknown(f"rows[{index}].", row.keys())
                partial.append(index)
        if len(rows) == 1:
            return self._from_mapping(rows[0])
        if partial:
            self._check_partial(rows, partial)
            numbers = [row.get(name) for row in rows for name in self._numbers]
            texts = [row.get(name) for row in rows for name in self._texts]
        else:
            numbers = [value for row in rows for value in self._take_numbers(row)]
            texts = [value for row in rows for value in self._take_texts(row)]
        return self._encoded(len(rows), to_doubles(numbers), to_texts(texts))

    def _check_partial(self, rows: Sequence[Row], partial: list[int]) -> None:
        """Check what rows leave out; `partial` has the indices of those that leave out something."""
        if len(partial) == len(rows):
            named = set().union(*(row.keys() for row in rows))
            if len(named) < len(self._names):
                self._refuse_absent(named)
        for index in partial if self._required else ():
            if absent := self._required - rows[index].keys():
                _raise(
                    [
                        Violation(
                            field=f"rows[{index}].{name}",
                            description="the row does not name this feature, and the model requires it",
                        )
                        for name in self._names
                        if name in absent
                    ]
                )

    def _from_array(self, rows: NDArray[Any]) -> EncodedRows:
        if rows.ndim != 2:
            hint = ": for one row, rows.reshape(1, -1)" if rows.ndim == 1 else ""
            _refuse("rows", f"an array of rows has two dimensions, not {rows.ndim}{hint}")
        if rows.shape[1] != len(self._names):
            wanted = ", ".join(self._names[:MAX_VIOLATIONS])
            _refuse("rows", f"the model takes {len(self._names)} columns, not {rows.shape[1]}: {wanted}")
        if isinstance(rows, np.ma.MaskedArray):
            masked = np.ma.getmaskarray(rows)
            rows = rows.data.astype(object)
            rows[masked] = None
        texts = rows[:, self._text_positions] if self._texts else rows[:, :0]
        if self._texts and rows.dtype.kind not in "OUT":
            _refuse(
                f"rows[0].{self._texts[0]}",
                f"takes a text, and an array of dtype {rows.dtype} has none: pass an array of dtype object",
            )
        numbers = rows[:, self._number_positions] if self._texts else rows
        try:
            doubles = array_to_doubles(numbers) if self._numbers else to_doubles([])
        except TypeError as error:
            _refuse(f"rows[0].{self._numbers[0]}", f"takes a number: {error}")
        return self._encoded(len(rows), doubles, to_texts(texts.reshape(-1).tolist()))

    def _from_frame(self, frame: Frame) -> EncodedRows:
        names = list(frame.columns)
        if not all(isinstance(name, str) for name in names):
            _refuse("rows", "a data frame's columns are named by text; see DataFrame.columns")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            _refuse("rows", f"the data frame has more than one column {twice!r}")
        if not self._known.issuperset(names):
            self._refuse_unknown("rows.", names)
        if len(names) < len(self._names):
            self._refuse_absent(names)
        table = np.empty((len(frame), len(self._numbers)))
        number_faults: Faults = {}
        for column, name in enumerate(self._numbers):
            table[:, column], faults = _series_to_doubles(frame[name])
            number_faults |= {row * len(self._numbers) + column: fault for row, fault in faults.items()}
        columns: list[list[str]] = []
        text_faults: Faults = {}
        for column, name in enumerate(self._texts):
            texts, faults = to_texts(frame[name].tolist())
            columns.append(texts)
            text_faults |= {row * len(self._texts) + column: fault for row, fault in faults.items()}
        flat = [text for row in zip(*columns, strict=True) for text in row]
        return self._encoded(len(frame), (table, number_faults), (flat, text_faults))

    def _encoded(
        self, row_count: int, doubles: tuple[NDArray[np.float64], Faults], texts: tuple[list[str], Faults]
    ) -> EncodedRows:
        """Rows of values that are row-major, with faults by flat position.

        Raises:
            InvalidRowsError: there are no rows, or a value has a fault.
        """
        if not row_count:
            _refuse("rows", "there are no rows to score")
        if doubles[1] or texts[1]:
            self._refuse_faults(doubles[1], texts[1])
        return EncodedRows(row_count, _to_bytes(doubles[0]), texts[0])

    def _refuse_faults(self, numbers: Faults, texts: Faults) -> NoReturn:
        _raise(
            [
                Violation(field=f"rows[{row}].{name}", description=fault)
                for row, name, fault in self._locate(numbers, texts)
            ]
        )

    def _locate(self, numbers: Faults, texts: Faults) -> list[tuple[int, str, str]]:
        """The row, the feature and the fault for faults by flat position, in the order of rows."""
        found = [
            (position // len(names), names[position % len(names)], fault)
            for names, faults in ((self._numbers, numbers), (self._texts, texts))
            for position, fault in faults.items()
        ]
        return sorted(found, key=itemgetter(0))

    def _refuse_unknown(self, path: str, names: Iterable[object]) -> NoReturn:
        unknown = [name for name in names if name not in self._known]
        violations = []
        for name in unknown:
            hint = suggestion(str(name), self._names)
            violations.append(
                Violation(field=f"{path}{name}", description=f"{name!r} is not a feature of this model{hint}")
            )
        _raise(violations)

    def _refuse_absent(self, names: Iterable[str]) -> NoReturn:
        named = set(names)
        _raise(
            [
                Violation(
                    field=f"rows.{name}",
                    description="no row names this feature of the model: give it, as None where missing",
                )
                for name in self._names
                if name not in named
            ]
        )


def is_frame(rows: object) -> TypeGuard[Frame]:
    """Whether `rows` is a pandas data frame; does not import pandas."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.partition(".")[0] == "pandas"
        for kind in type(rows).__mro__
    )


def _series_to_doubles(series: pd.Series[Any]) -> tuple[NDArray[np.float64], Faults]:
    kind = getattr(series.dtype, "kind", "O")
    # Floats convert as they are, nullable or not. Integers may be too large for a double.
    if kind == "f":
        return series.to_numpy(dtype=np.float64, na_value=np.nan), {}
    if kind in "iub" and isinstance(series.dtype, np.dtype):
        return array_to_doubles(series.to_numpy())
    return to_doubles(series.tolist())


def _taker(names: list[str]) -> Callable[[Row], Sequence[object]]:
    """A function that takes the values of these names from a row that has all of them."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)


def _to_bytes(doubles: NDArray[np.float64]) -> bytes:
    return doubles.astype("<f8", copy=False).tobytes()


def _kind(value: object) -> str:
    hint = ": for one row of a frame, row.to_dict()" if type(value).__name__ == "Series" else ""
    return f"{type(value).__name__}{hint}"


def _refuse(path: str, description: str) -> NoReturn:
    _raise([Violation(field=path, description=description)])


def _raise(violations: list[Violation]) -> NoReturn:
    first = violations[0]
    others = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    raise InvalidRowsError(
        f"{first.field}: {first.description}{others}",
        reason="INVALID_ROWS",
        violations=violations[:MAX_VIOLATIONS],
    )

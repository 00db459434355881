"""Encodes dicts, numpy arrays and data frames as rows of the wire.

The rules:

- A row is a mapping from feature names to values. A feature that a row leaves
  out is missing. A name that is not a feature is an error.
- In a batch, a feature that no row names is an error, because it looks like a
  forgotten column. A batch says that a feature is missing by giving it as None.
- A numpy array has the shape [rows, features], with columns in the schema's
  order. A data frame has exactly the model's features as columns, in any order.
- A number is a float, an integer up to 2^53 or a boolean; a text is a str. None,
  NaN, pandas.NA and the empty text are missing values.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from scorewire._errors import MAX_VIOLATIONS, InvalidRowsError, UnimplementedError, Violation
from scorewire._models import FeatureKind, Schema
from scorewire._values import Faults, array_to_doubles, to_doubles, to_texts
from scorewire_proto.v1 import packed_pb2

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = "pd.DataFrame"
Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = "Row | Sequence[Row] | NDArray[Any] | Frame"


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
        self._number_positions = [self._names.index(name) for name in self._numbers]
        self._text_positions = [self._names.index(name) for name in self._texts]

    def encode(self, rows: Rows) -> packed_pb2.PackedRows:
        """Encode rows as a message.

        Raises:
            InvalidRowsError: the rows do not fit the schema; the message tells which row and feature.
        """
        if isinstance(rows, Mapping):
            return self._from_mappings([rows])
        if isinstance(rows, np.ndarray):
            return self._from_array(rows)
        if is_frame(rows):
            return self._from_frame(rows)
        if isinstance(rows, list | tuple):
            return self._from_mappings(rows)
        kinds = "a dict, a list of dicts, a numpy array or a pandas data frame"
        return _refuse("rows", f"rows are {kinds}, not {_kind(rows)}")

    def _from_mappings(self, rows: Sequence[Row]) -> packed_pb2.PackedRows:
        named: set[str] = set()
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                _refuse(f"rows[{index}]", f"a row is a dict of features by name, not {_kind(row)}")
            if not row.keys() <= self._known:
                self._refuse_unknown(f"rows[{index}].", row.keys())
            named.update(row)
        if len(rows) > 1 and len(named) < len(self._names):
            self._refuse_absent(named)
        return _pack(
            len(rows),
            self._numbers,
            to_doubles([row.get(name) for row in rows for name in self._numbers]),
            self._texts,
            to_texts([row.get(name) for row in rows for name in self._texts]),
        )

    def _from_array(self, rows: NDArray[Any]) -> packed_pb2.PackedRows:
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
        return _pack(len(rows), self._numbers, doubles, self._texts, to_texts(texts.reshape(-1).tolist()))

    def _from_frame(self, frame: Frame) -> packed_pb2.PackedRows:
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
        return _pack(len(frame), self._numbers, (table, number_faults), self._texts, (flat, text_faults))

    def _refuse_unknown(self, path: str, names: Iterable[object]) -> NoReturn:
        unknown = [name for name in names if name not in self._known]
        violations = []
        for name in unknown:
            near = difflib.get_close_matches(str(name).lower(), [known.lower() for known in self._names], n=1)
            hints = [f": did you mean {known!r}?" for known in self._names if known.lower() in near]
            hint = hints[0] if hints else ""
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


def _pack(
    row_count: int,
    number_names: list[str],
    doubles: tuple[NDArray[np.float64], Faults],
    text_names: list[str],
    texts: tuple[list[str], Faults],
) -> packed_pb2.PackedRows:
    """Make the message. `doubles` and `texts` are row-major, and faults have flat positions in them.

    Raises:
        InvalidRowsError: there are no rows, or a value has a fault.
    """
    if not row_count:
        _refuse("rows", "there are no rows to score")
    if doubles[1] or texts[1]:
        _raise(
            [
                Violation(field=f"rows[{row}].{name}", description=fault)
                for row, name, fault in sorted(
                    (*_locate(number_names, doubles[1]), *_locate(text_names, texts[1])),
                    key=lambda found: found[0],
                )
            ]
        )
    numbers = [doubles[0].astype("<f8", copy=False).tobytes()] if number_names else []
    return packed_pb2.PackedRows(row_count=row_count, numbers=numbers, texts=texts[0])


def _locate(names: list[str], faults: Faults) -> Iterable[tuple[int, str, str]]:
    for position, fault in faults.items():
        row, column = divmod(position, len(names))
        yield row, names[column], fault


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

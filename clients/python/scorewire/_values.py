"""Converts Python, numpy and pandas values to doubles and texts.

None, NaN, pandas.NA and pandas.NaT are missing values: a missing number becomes
NaN, and a missing text "". A value that cannot be converted does not raise: its
fault is returned with its position, so that a caller can tell the row and the
feature.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

# What is wrong with values, by their positions.
Faults: TypeAlias = dict[int, str]

# The largest integer up to which a double holds every integer exactly.
MAX_EXACT_INTEGER = 2**53
_PLAIN_NUMBERS = frozenset((float, bool, type(None), np.float64, np.float32, np.bool_))
_INTEGERS = frozenset((int, np.int64, np.int32))
_FLOAT = {float}
_BUILT_IN = {float, int, bool, type(None)}
_T = TypeVar("_T")


def to_floats(values: Sequence[object]) -> tuple[Sequence[float], Faults]:
    """Convert the values of one row as `to_doubles` does, but without numpy, which is slow for so few.

    An integer or a boolean stays what it is; packing makes a double of it.
    """
    kinds = set(map(type, values))
    if kinds == _FLOAT:
        return values, {}  # type: ignore[return-value]  # all are float
    if kinds <= _BUILT_IN:
        found = [math.nan if value is None else value for value in values]
        if int not in kinds or not any(isinstance(v, int) and abs(v) > MAX_EXACT_INTEGER for v in found):
            return found, {}  # type: ignore[return-value]  # all are numbers
    return _convert(values, to_double, math.nan)


def to_doubles(values: Sequence[object]) -> tuple[NDArray[np.float64], Faults]:
    """Convert values to doubles: NaN for a missing value and for a fault."""
    kinds = set(map(type, values))
    if kinds <= _PLAIN_NUMBERS | _INTEGERS:
        try:
            doubles = np.array(values, dtype=np.float64)
        except OverflowError:
            return _one_by_one(values, to_double)
        if kinds.isdisjoint(_INTEGERS) or not (np.abs(doubles) >= MAX_EXACT_INTEGER).any():
            return doubles, {}
    return _one_by_one(values, to_double)


def _one_by_one(
    values: Iterable[object], convert: Callable[[object], float]
) -> tuple[NDArray[np.float64], Faults]:
    found, faults = _convert(values, convert, math.nan)
    return np.array(found, dtype=np.float64), faults


def to_texts(values: Sequence[object]) -> tuple[list[str], Faults]:
    """Convert values to texts: "" for a missing value and for a fault."""
    if set(map(type, values)) <= {str}:
        texts = list(values)
        try:
            "".join(texts).encode()  # type: ignore[arg-type]  # all are str, as the line above found
        except UnicodeEncodeError:
            pass
        else:
            return texts, {}  # type: ignore[return-value]  # as above
    return _convert(values, to_text, "")


def array_to_doubles(values: NDArray[np.generic]) -> tuple[NDArray[np.float64], Faults]:
    """Convert an array of any shape to doubles, flattened in row-major order.

    Raises:
        TypeError: the array's dtype is not numeric.
    """
    flat = values.reshape(-1)
    if flat.dtype.kind in "fb" or (flat.dtype.kind in "iu" and _exact(flat)):
        return flat.astype(np.float64), {}
    if flat.dtype.kind in "iuO":
        return to_doubles(flat.tolist())
    raise TypeError(f"an array of dtype {values.dtype} holds no numbers")


def to_double(value: object) -> float:
    """Convert one value to a double.

    Raises:
        TypeError: the value is not a number.
        ValueError: the value is an integer or decimal that a double cannot hold.
    """
    if isinstance(value, numbers.Integral):
        if abs(int(value)) > MAX_EXACT_INTEGER:
            raise ValueError(f"takes a double, which does not hold the integer {_short(value)} exactly")
        return float(value)
    if isinstance(value, numbers.Real | Decimal | np.bool_):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        # A decimal that is too large becomes infinite without an error.
        if math.isinf(found) and abs(value) != math.inf:
            raise ValueError(f"takes a double, which does not hold {_short(value)}")
        return found
    if is_missing(value):
        return math.nan
    raise TypeError(f"takes a number, not {_named(value)}")


def to_text(value: object) -> str:
    """Convert one value to a text.

    Raises:
        TypeError: the value is not a text.
        ValueError: the text is not valid Unicode.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("takes valid Unicode, and this text has lone surrogates") from None
        return str(value)
    if is_missing(value):
        return ""
    hint = ": decode it first" if isinstance(value, bytes) else ""
    raise TypeError(f"takes a text, not {_named(value)}{hint}")


def is_missing(value: object) -> bool:
    """Whether the value is None, NaN, pandas.NA or pandas.NaT; does not import pandas, which is optional."""
    if value is None:
        return True
    if isinstance(value, float | np.floating | Decimal):
        return math.isnan(value)
    kind = type(value)
    return kind.__name__ in {"NAType", "NaTType"} and kind.__module__.startswith("pandas.")


def _exact(integers: NDArray[np.generic]) -> bool:
    return not integers.size or (
        int(integers.max()) <= MAX_EXACT_INTEGER and int(integers.min()) >= -MAX_EXACT_INTEGER
    )


def _convert(
    values: Iterable[object], convert: Callable[[object], _T], missing: _T
) -> tuple[list[_T], Faults]:
    found, faults = [], {}
    for position, value in enumerate(values):
        try:
            found.append(convert(value))
        except (TypeError, ValueError) as error:
            found.append(missing)
            faults[position] = str(error)
    return found, faults


def _named(value: object) -> str:
    kind = "text" if isinstance(value, str) else type(value).__name__
    return f"the {kind} {_short(value)}"


def _short(value: object) -> str:
    return reprlib.repr(value)

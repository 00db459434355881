"""Values as callers have them, turned into what the wire takes: doubles and texts.

A missing number is NaN and a missing text is "". None, NaN and pandas' NA and
NaT are missing. A value that is neither is named with its position, so that
the caller can say which row and feature it stands in.
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

# Position: what is wrong with the value there.
Faults: TypeAlias = dict[int, str]

# A double holds every integer up to here, and not every one beyond.
MAX_EXACT_INTEGER = 2**53
_PLAIN_NUMBERS = frozenset((float, bool, type(None), np.float64, np.float32, np.bool_))
_INTEGERS = frozenset((int, np.int64, np.int32))
_T = TypeVar("_T")


def to_doubles(values: Sequence[object]) -> tuple[NDArray[np.float64], Faults]:
    """The values as doubles, NaN where one is missing or at fault."""
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
    """The values as texts, "" where one is missing or at fault."""
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
    """The array, of any shape, as a flat row-major run of doubles.

    Raises:
        TypeError: the array's dtype holds no numbers.
    """
    flat = values.reshape(-1)
    if flat.dtype.kind in "fb" or (flat.dtype.kind in "iu" and _exact(flat)):
        return flat.astype(np.float64), {}
    if flat.dtype.kind in "iuO":
        return to_doubles(flat.tolist())
    raise TypeError(f"an array of dtype {values.dtype} holds no numbers")


def to_double(value: object) -> float:
    """One value as a double.

    Raises:
        TypeError: it is no number.
        ValueError: it is an integer that a double does not hold.
    """
    if isinstance(value, numbers.Integral):
        if abs(int(value)) > MAX_EXACT_INTEGER:
            raise ValueError(f"takes a double, which does not hold the integer {_short(value)} exactly")
        return float(value)
    if isinstance(value, numbers.Real | Decimal | np.bool_):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"takes a double, which does not hold {_short(value)}") from None
    if is_missing(value):
        return math.nan
    raise TypeError(f"takes a number, not {_named(value)}")


def to_text(value: object) -> str:
    """One value as a text.

    Raises:
        TypeError: it is no text.
        ValueError: it is no valid Unicode.
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
    """Whether the value is None, NaN, pandas.NA or pandas.NaT (known by name: pandas is optional)."""
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

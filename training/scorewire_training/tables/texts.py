"""Columns of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_training.errors import TrainingError

# Characters that are stripped from both ends of a text.
BLANKS = " \t\n\r\f\v"
_MAX_EXACT = 2**53


def read_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts as Python objects, None where missing or blank; equal texts share one object.

    Raises:
        TrainingError: floats are too large to tell whole numbers apart, or a value is a list
            or another nested value.
    """
    if pd.api.types.is_float_dtype(column.dtype) and column.abs().max() >= _MAX_EXACT:
        # They may have been integers, and different ones.
        raise TrainingError(
            f"column {column.name} has floats of 2^53 or more, which may have been different integers: write "
            "it as text or as integers"
        )
    codes, values = find_values(column)
    if isinstance(values.dtype, pd.StringDtype):
        found = pd.Series(values).str.strip(BLANKS).to_list()
    else:
        found = [_to_text(value) for value in values]
    # The code of a missing value is -1, the last element.
    texts = np.array([*(text or None for text in found), None], dtype=object)
    return pd.Series(texts[codes], index=column.index, dtype=object)


def find_values(column: pd.Series[Any]) -> tuple[NDArray[np.intp], pd.Index[Any]]:
    """The different values of a column, and the code of the value of each row, -1 where it is missing.

    Raises:
        TrainingError: a value is a list or another nested value.
    """
    try:
        return pd.factorize(column)
    except TypeError:
        raise TrainingError(
            f"column {column.name} has values of several parts, such as lists: write each as a text"
        ) from None


def _to_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    # In many tables, integers with missing values are stored as floats.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip(BLANKS)

"""Columns of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scorewire_training.errors import TrainingError

# Characters that are stripped from both ends of a text.
BLANKS = " \t\n\r\f\v"
_MAX_EXACT = 2**53


def read_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts as Python objects, None where missing or blank; equal texts share one object.

    Raises:
        TrainingError: whole numbers became floats that may be equal though they were not.
    """
    if pd.api.types.is_float_dtype(column.dtype) and column.abs().max() > _MAX_EXACT:
        # Integers with missing values became floats before, and large ones may have become equal.
        raise TrainingError(
            f"column {column.name} has numbers beyond 2^53 and missing ones, which cannot be told apart: "
            "write it as text"
        )
    codes, values = pd.factorize(column)
    if isinstance(values.dtype, pd.StringDtype):
        found = pd.Series(values).str.strip(BLANKS).to_list()
    else:
        found = [_to_text(value) for value in values]
    # The code of a missing value is -1, the last element.
    texts = np.array([*(text or None for text in found), None], dtype=object)
    return pd.Series(texts[codes], index=column.index, dtype=object)


def _to_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    # In many tables, integers with missing values are stored as floats.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip(BLANKS)

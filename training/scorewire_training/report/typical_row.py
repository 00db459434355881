"""The row that a report explains: typical, and nobody's.

A report is part of a bundle, which goes to servers, and rows of customers are not for
them. So the explained row is made: each of its values is the typical one of many rows,
column by column.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scorewire_training.training_result import TrainingResult

# A tenth of the test rows, but of fewer rows a typical value might be one person's.
_SHARE, _LEAST_ROWS = 0.1, 20


def typical_row(result: TrainingResult) -> pd.DataFrame:
    """A row that is typical of the tenth of the test rows with the highest predictions.

    Numbers are medians, the lower of two middle ones; texts are the most frequent ones,
    the first in alphabetical order of several. What is missing in most of the rows is missing.

    Returns:
        A frame of one row with the columns and dtypes of `result.test`.
    """
    count = max(round(_SHARE * len(result.test)), _LEAST_ROWS)
    highest = result.test.iloc[np.argsort(-result.predictions, kind="stable")[:count]]
    return pd.concat([_typical_value(highest[name]) for name in highest.columns], axis=1)


def _typical_value(column: pd.Series) -> pd.Series:
    """A Series of one value, with the name and dtype of the column."""
    present = column.dropna()
    if 2 * len(present) < len(column):
        return column[column.isna()].iloc[:1].reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return present.sort_values().iloc[[(len(present) - 1) // 2]].reset_index(drop=True)
    counts = present.astype(object).value_counts()
    likeliest = min(counts.index[counts == counts.max()])
    equal: pd.Series = present[present == likeliest]
    return equal.iloc[:1].reset_index(drop=True)

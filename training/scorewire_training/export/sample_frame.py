"""Conversion of the sample that a user passes to a frame of named columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from scorewire_training.export.errors import ExportError
from scorewire_training.export.lowering.sample_columns import first_step, fitted_names


def as_table(model: object, sample: object) -> tuple[Any, Any]:
    """Wrap a model of a single flat column so that it takes a table of that column.

    Other models and their samples are returned unchanged.

    Args:
        model: the fitted model.
        sample: for a model of one flat column, a Series or an array of texts of shape
            [rows], or a table of one column if the model begins with a text
            vectorizer.

    Returns:
        The model, and the sample that it takes.
    """
    if isinstance(sample, np.ndarray) and sample.ndim == 1 and sample.dtype.kind in "UO":
        sample = pd.Series(sample.astype(object))
    if isinstance(sample, pd.Series):
        sample = sample.to_frame("text" if sample.name is None else sample.name)
    elif not (
        isinstance(sample, pd.DataFrame)
        and len(sample.columns) == 1
        and isinstance(first_step(model), CountVectorizer | HashingVectorizer)
    ):
        return model, sample
    return make_pipeline(FunctionTransformer(np.ravel), model), sample


def to_frame(model: object, sample: object) -> pd.DataFrame:
    """The sample as a frame of named columns.

    Args:
        model: the fitted model, which may store the names of an array's columns.
        sample: a frame, or an array of shape [rows, columns].

    Raises:
        ExportError: the sample is neither, is empty, or has unnamed columns or two
            columns of the same name.
    """
    if isinstance(sample, np.ndarray):
        sample = _name_columns(model, sample)
    if not isinstance(sample, pd.DataFrame):
        raise ExportError(
            f"sample is a {type(sample).__name__}: pass a pandas DataFrame with the columns of training,"
            " or a numpy array of them; of a model of one column of texts, a pandas Series of them"
        )
    if not len(sample) or not len(sample.columns):
        raise ExportError("sample is empty: pass rows that the model was fitted on")
    unnamed = [column for column in sample.columns if not isinstance(column, str) or not column]
    if unnamed:
        raise ExportError(
            f"sample has a column named {unnamed[0]!r}: name columns by texts, for instance by "
            "sample.columns = [f'x{i}' for i in range(sample.shape[1])]"
        )
    if not sample.columns.is_unique:
        twice = sample.columns[sample.columns.duplicated()][0]
        raise ExportError(f"sample has two columns named {twice!r}: rename or drop one")
    return sample


def _name_columns(model: object, sample: np.ndarray) -> pd.DataFrame:
    if sample.ndim != 2:
        raise ExportError(f"sample has shape {sample.shape}: pass an array of shape [rows, columns]")
    names = fitted_names(model)
    if names is None or len(names) != sample.shape[1]:
        names = [f"x{i}" for i in range(sample.shape[1])]
    values = sample.astype(object) if sample.dtype.kind in "SU" else sample
    return pd.DataFrame(values, columns=names).infer_objects()

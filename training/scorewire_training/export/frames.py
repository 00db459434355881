"""Conversion between sample frames, which the fitted model takes, and wire rows, which a caller sends.

A wire row has doubles and texts, with NaN and "" for missing values. Converted back
to a frame, each column has the dtype of the sample wherever that dtype holds the
values exactly, so that the model gets what it got in training. A fraction in a
column of integers makes it a column of doubles.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ExportError

# Outside this range a double cannot hold every integer.
_EXACT_INTEGERS = (-(2**53), 2**53)

Features: TypeAlias = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class WireRows:
    """Rows as a caller sends them, the features in schema order.

    `numbers` has shape [rows, number features], NaN is missing. `texts` has
    shape [rows, text features] and dtype object, "" is missing.
    """

    numbers: NDArray[np.float64]
    texts: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Sequence[int] | NDArray[np.intp] | slice) -> WireRows:
        """A copy of some rows, in the given order."""
        index = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.intp)
        return WireRows(self.numbers[index].copy(), self.texts[index].copy())

    def flat_texts(self) -> list[str]:
        """The texts row after row, as on the wire."""
        return list(self.texts.ravel())


def concatenate(parts: Sequence[WireRows]) -> WireRows:
    """The rows of all parts, in order."""
    return WireRows(
        np.concatenate([part.numbers for part in parts]), np.concatenate([part.texts for part in parts])
    )


class FrameCodec:
    """Converts frames like the sample to wire rows and back.

    Args:
        sample: rows as the fitted model takes them.
        features: name and kind (schema_pb2.FeatureKind) of each feature. Other
            columns of the sample, which the model ignores, get the values of the
            sample's first row.
        missing_texts: by text feature, the value that the model takes for a missing
            text: "", None or NaN.
        coded_features: the text features that the model takes as codes of a pandas
            categorical, where a text that is not a category is missing.

    Raises:
        ExportError: a column cannot be sent as numbers or texts without loss.
    """

    def __init__(
        self,
        sample: pd.DataFrame,
        features: Features,
        missing_texts: Mapping[str, object],
        coded_features: Collection[str] = (),
    ) -> None:
        kinds = dict(features)
        self._order = list(sample.columns)
        self._ignored = sample.loc[:, [name for name in self._order if name not in kinds]].iloc[:1]
        self._numbers = {
            name: _NumberColumn(sample[name])
            for name, kind in features
            if kind == schema_pb2.FEATURE_KIND_NUMBER
        }
        self._texts = {
            name: _TextColumn(sample[name], missing_texts.get(name, ""), is_coded=name in coded_features)
            for name, kind in features
            if kind == schema_pb2.FEATURE_KIND_TEXT
        }

    def to_rows(self, frame: pd.DataFrame) -> WireRows:
        """Convert a frame to the rows that a caller sends."""
        numbers = np.empty((len(frame), len(self._numbers)), dtype=np.float64)
        for i, (name, number) in enumerate(self._numbers.items()):
            numbers[:, i] = number.read(frame[name])
        texts = np.empty((len(frame), len(self._texts)), dtype=object)
        for i, (name, text) in enumerate(self._texts.items()):
            texts[:, i] = text.read(frame[name])
        return WireRows(numbers, texts)

    def to_frame(self, rows: WireRows) -> pd.DataFrame:
        """Convert rows to the frame that the fitted model takes."""
        columns: dict[str, Any] = {}
        for i, (name, number) in enumerate(self._numbers.items()):
            columns[name] = number.write(rows.numbers[:, i])
        for i, (name, text) in enumerate(self._texts.items()):
            columns[name] = text.write(rows.texts[:, i])
        for name in self._ignored.columns:
            columns[name] = self._ignored[name].repeat(len(rows)).reset_index(drop=True)
        return pd.DataFrame({name: columns[name] for name in self._order}, index=range(len(rows)))


class _NumberColumn:
    def __init__(self, series: pd.Series[Any]) -> None:
        self._name = series.name
        self._dtype = series.dtype
        self._categories: pd.Index[float] | None = None
        if isinstance(self._dtype, pd.SparseDtype):
            raise ExportError(
                f"column {self._name!r} of the sample is sparse: pass it dense,"
                " as sample[name].sparse.to_dense()"
            )
        if isinstance(self._dtype, pd.CategoricalDtype):
            self._categories = pd.Index(self._doubles(self._dtype.categories.to_series()))
        self.read(series)

    def read(self, series: pd.Series[Any]) -> NDArray[np.float64]:
        if self._categories is None:
            return self._doubles(series)
        if not isinstance(series.dtype, pd.CategoricalDtype):
            raise ExportError(f"column {self._name!r} is not of a category dtype in every frame")
        codes = series.cat.codes.to_numpy()
        known = np.append(self._categories.to_numpy(dtype=np.float64), np.nan)
        return np.asarray(known[codes])  # code -1, a missing value, finds the NaN at the end

    def write(self, values: NDArray[np.float64]) -> Any:
        dtype: Any = self._dtype
        if dtype == np.dtype(object):
            return values.astype(object)
        if self._categories is not None:
            return pd.Categorical.from_codes(self._categories.get_indexer(pd.Index(values)), dtype=dtype)
        missing = np.isnan(values)
        nullable = isinstance(dtype, pd.api.extensions.ExtensionDtype)
        plain: Any = dtype.numpy_dtype if nullable and hasattr(dtype, "numpy_dtype") else dtype
        with np.errstate(all="ignore"):
            filled = np.where(missing, 0.0, values) if nullable else values
            cast = filled.astype(plain)
            back = cast.astype(np.float64)
        if not np.array_equal(back, filled, equal_nan=True) or np.any(np.abs(filled) > _limit(plain)):
            return values
        return pd.array(pd.Series(cast).astype(object).mask(missing, None), dtype=dtype) if nullable else cast

    def _doubles(self, series: pd.Series[Any]) -> NDArray[np.float64]:
        if series.dtype == np.dtype(object):
            series = pd.to_numeric(series, errors="coerce").mask(series.isna())
        if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_complex_dtype(series.dtype):
            raise ExportError(
                f"column {self._name!r} has dtype {series.dtype}, which is neither numbers nor text: "
                "turn it into one of them before the model is fitted"
            )
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if (
            pd.api.types.is_integer_dtype(series.dtype)
            and not series.dropna().between(*_EXACT_INTEGERS).all()
        ):
            raise ExportError(
                f"column {self._name!r} has integers beyond 2^53, which doubles cannot tell apart: "
                "an identifier is better a text, or left out"
            )
        return np.asarray(values, dtype=np.float64)


def _limit(dtype: Any) -> float:
    """The largest magnitude whose cast to the dtype is defined."""
    # The cast of a double beyond an integer type's range is undefined, and may convert back unchanged.
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else np.inf


class _TextColumn:
    def __init__(self, series: pd.Series[Any], missing: object, *, is_coded: bool) -> None:
        self._name = series.name
        self._is_coded = is_coded
        self._dtype = series.dtype
        self._missing: Any = missing
        self.read(series)

    def read(self, series: pd.Series[Any]) -> NDArray[np.object_]:
        values = np.array(series.astype(object).to_numpy(), dtype=object)
        values[pd.isna(values)] = ""
        for value in values:
            if not isinstance(value, str):
                raise ExportError(
                    f"column {self._name!r} mixes text with {value!r} of type {type(value).__name__}: "
                    "make it all text or all numbers before the model is fitted"
                )
        return values

    def write(self, values: NDArray[np.object_]) -> Any:
        if isinstance(self._dtype, pd.CategoricalDtype):
            dtype = self._dtype
            codes = dtype.categories.get_indexer(pd.Index(values, dtype=object))
            unknown = dict.fromkeys(values[(codes < 0) & (values != "")])
            if unknown and not self._is_coded:
                # A model that reads the texts themselves distinguishes these from missing texts.
                dtype = pd.CategoricalDtype([*dtype.categories, *unknown], dtype.ordered)
                codes = dtype.categories.get_indexer(pd.Index(values, dtype=object))
            return pd.Categorical.from_codes(codes, dtype=dtype)
        filled = values.copy()
        filled[values == ""] = self._missing
        return pd.Series(filled, dtype=self._dtype)

"""Symbolic columns: what the steps of a pipeline pass to each other while it is lowered.

A column is one of:

- an unchanged number feature (`RawNumber`),
- a text feature (`RawText`),
- a text feature that a table encodes as a number outside the graph (`EncodedText`),
- a column of a tensor in the graph (`TensorColumn`),
- a column of counts of terms (`CountColumn`),
- a column that rows cannot hold (`UnusableColumn`).

Numbers stay double until a step asks for float.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pandas as pd

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.sparse_counts import CountColumn


@dataclass(frozen=True, slots=True)
class RawNumber:
    """An unchanged number feature."""

    feature: str


@dataclass(frozen=True, slots=True)
class RawText:
    """A text feature, folded.

    Attributes:
        feature: the name of the feature.
        fold: the fold of its texts.
        spellings: the values that stand for a missing text ("" on the wire) at this
            point of the pipeline. Several values must mean the same to the next step.
            Empty if the sample has no missing text: then the first step that knows a
            missing value decides.
    """

    feature: str
    fold: manifest_pb2.TextFold.ValueType
    spellings: tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """A text feature that a table encodes as a number, outside the graph.

    Attributes:
        feature: the name of the feature.
        fold: the fold of its texts.
        values: the number of each known folded text.
        unknown: the number of all other texts.
        strict: whether the model refuses unknown texts.
    """

    feature: str
    fold: manifest_pb2.TextFold.ValueType
    values: Mapping[str, float]
    unknown: float
    strict: bool


@dataclass(frozen=True, slots=True, eq=False)
class ColumnOrigin:
    """The origin of a column that was computed from a single number feature.

    Attributes:
        feature: the name of the feature.
        steps: the fitted steps, each with the position of the column in its inputs.
        exact: whether the graph computes all steps to the last bit.
    """

    feature: str
    steps: tuple[tuple[Any, int], ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True)
class TensorColumn:
    """Column `index` of a double tensor of shape [rows, width] in the graph.

    `origin` is set if the column was computed from a single number feature.
    """

    tensor: str
    index: int
    width: int
    origin: ColumnOrigin | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UnusableColumn:
    """A column of values that rows cannot hold, such as dates; an error only if a step reads it."""

    feature: str
    error: UnsupportedModelError


Column: TypeAlias = RawNumber | RawText | EncodedText | TensorColumn | CountColumn | UnusableColumn


@dataclass(frozen=True, slots=True)
class SymbolicColumns:
    """The columns that a step is given or makes, in order.

    Attributes:
        columns: the columns.
        sparse: whether the fitted pipeline has a sparse matrix here.
        flat: whether it has a single column of shape [rows], as text vectorizers take.
        framed: whether it has the caller's pandas frame, categoricals included.
        pattern: where steps changed the entries of a sparse matrix, the columns before:
            the entries that are 0 there are left out, and an entry that became 0 is
            still stored. None where the entries that are 0 are left out.
        by_column: whether the sparse matrix is stored by column (CSC) and not by row
            (CSR); LightGBM reads the two differently.
    """

    columns: tuple[Column, ...]
    sparse: bool = False
    flat: bool = False
    framed: bool = False
    pattern: SymbolicColumns | None = None
    by_column: bool = False

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.columns)

    def take(self, indices: Iterable[int]) -> SymbolicColumns:
        """The columns at some positions, in that order."""
        places = tuple(indices)
        pattern = None if self.pattern is None else self.pattern.take(places)
        return replace(self, columns=tuple(self.columns[i] for i in places), pattern=pattern)

    def changed(self, columns: tuple[Column, ...]) -> SymbolicColumns:
        """The result of a step that only changes stored entries of a sparse matrix."""
        pattern = (self.pattern or self) if self.sparse else None
        return SymbolicColumns(columns, sparse=self.sparse, pattern=pattern, by_column=self.by_column)

    def by_row(self) -> SymbolicColumns:
        """The same columns, stored by row if sparse."""
        return replace(self, by_column=False)

    def check_usable(self) -> None:
        """Check that rows can hold all columns, before a step reads them.

        Raises:
            UnsupportedModelError: a column holds values that rows cannot hold.
        """
        for column in self.columns:
            if isinstance(column, UnusableColumn):
                raise column.error

    def check_width(self, step: object, expected: int) -> None:
        """Check that a step was fitted on this number of columns.

        Raises:
            UnsupportedModelError: the step was fitted on another number of columns.
        """
        if self.width != expected:
            raise UnsupportedModelError(
                f"{type(step).__name__} was fitted on {expected} columns and is given {self.width}",
                "pass a sample with the columns that the model was fitted on",
            )


def join_columns(parts: Sequence[SymbolicColumns], *, sparse: bool) -> SymbolicColumns:
    """Join columns side by side; if the whole is sparse, zeros of dense parts are left out."""
    columns = tuple(column for part in parts for column in part.columns)
    pattern = None
    if sparse and any(part.pattern is not None for part in parts):
        pattern = SymbolicColumns(
            tuple(column for part in parts for column in (part.pattern or part).columns)
        )
    return SymbolicColumns(columns, sparse=sparse, pattern=pattern)


def tensor_columns(tensor: str, width: int) -> tuple[TensorColumn, ...]:
    """The columns of a double tensor of shape [rows, width]."""
    return tuple(TensorColumn(tensor, index, width) for index in range(width))


def is_null(value: object) -> bool:
    """Whether a value is None, NaN, NaT or pd.NA."""
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    )

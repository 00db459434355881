"""What flows between the steps of a pipeline while it is lowered: a matrix of symbols.

A column is a number feature as it came, a text feature as it came, a text that a
table turns into a number outside the graph, a column of a tensor in the graph, or a
column of counts of words. Numbers stay double until a consumer asks for less.
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
    """A number feature as it came."""

    feature: str


@dataclass(frozen=True, slots=True)
class RawText:
    """A text feature, folded.

    `spellings` are the values that the next step is given where the text is
    missing, "" on the wire. Several must mean the same to it; none means that
    the sample has no missing text, and that the first step that knows one says
    how it is spelt.
    """

    feature: str
    fold: manifest_pb2.TextFold.ValueType
    spellings: tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """A text feature that a table turns into a number, outside the graph.

    `values` has a number for each folded text known, `unknown` is that of all
    others. A strict column's model refuses texts that it does not know.
    """

    feature: str
    fold: manifest_pb2.TextFold.ValueType
    values: Mapping[str, float]
    unknown: float
    strict: bool


@dataclass(frozen=True, slots=True, eq=False)
class ColumnOrigin:
    """A number feature, and the steps that have made a column of nothing else.

    Each step comes with the place that the column had in what it was given.
    `exact`: the graph computes all of them to the last bit.
    """

    feature: str
    steps: tuple[tuple[Any, int], ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True)
class TensorColumn:
    """Column `index` of a double tensor of shape [rows, width] in the graph.

    `origin` tells what it was made of, where that is a single number feature.
    """

    tensor: str
    index: int
    width: int
    origin: ColumnOrigin | None = None


@dataclass(frozen=True, slots=True, eq=False)
class UnusableColumn:
    """A column of what no row can hold, such as dates: in the way only where something reads it."""

    feature: str
    error: UnsupportedModelError


Column: TypeAlias = RawNumber | RawText | EncodedText | TensorColumn | CountColumn | UnusableColumn


@dataclass(frozen=True, slots=True)
class SymbolicColumns:
    """Columns in order.

    `sparse`: the fitted pipeline has a sparse matrix here. It leaves out what is 0,
    or where steps have changed what it holds, what is 0 in `pattern`: an entry that
    became 0 is still there. `by_column`: it is kept column by column (CSC), else row
    by row (CSR), which LightGBM reads otherwise. `flat`: it has a single column of shape [rows], as text
    vectorizers take it. `framed`: it has the caller's pandas frame, categoricals and
    all.
    """

    columns: tuple[Column, ...]
    sparse: bool = False
    flat: bool = False
    framed: bool = False
    pattern: SymbolicColumns | None = None
    by_column: bool = False

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.columns)

    def take(self, indices: Iterable[int]) -> SymbolicColumns:
        """The columns at some places, in that order."""
        places = tuple(indices)
        pattern = None if self.pattern is None else self.pattern.take(places)
        return replace(self, columns=tuple(self.columns[i] for i in places), pattern=pattern)

    def changed(self, columns: tuple[Column, ...]) -> SymbolicColumns:
        """What a step makes of the entries that are there; a sparse matrix leaves out what it did."""
        pattern = (self.pattern or self) if self.sparse else None
        return SymbolicColumns(columns, sparse=self.sparse, pattern=pattern, by_column=self.by_column)

    def by_row(self) -> SymbolicColumns:
        """The matrix as steps take it that want rows."""
        return replace(self, by_column=False)

    def check_usable(self) -> None:
        """Check that rows can hold all columns, before something reads them.

        Raises:
            UnsupportedModelError: they cannot.
        """
        for column in self.columns:
            if isinstance(column, UnusableColumn):
                raise column.error

    def check_width(self, step: object, expected: int) -> None:
        """Check that a step was fitted on as many columns.

        Raises:
            UnsupportedModelError: it was not.
        """
        if self.width != expected:
            raise UnsupportedModelError(
                f"{type(step).__name__} was fitted on {expected} columns and is given {self.width}",
                "pass a sample with the columns that the model was fitted on",
            )


def beside(parts: Sequence[SymbolicColumns], *, sparse: bool) -> SymbolicColumns:
    """Matrices side by side; where the whole is sparse, the zeros of dense parts are left out."""
    columns = tuple(column for part in parts for column in part.columns)
    pattern = None
    if sparse and any(part.pattern is not None for part in parts):
        pattern = SymbolicColumns(
            tuple(column for part in parts for column in (part.pattern or part).columns)
        )
    return SymbolicColumns(columns, sparse=sparse, pattern=pattern)


def tensor_columns(tensor: str, width: int) -> tuple[TensorColumn, ...]:
    """All columns of a double tensor of shape [rows, width]."""
    return tuple(TensorColumn(tensor, index, width) for index in range(width))


def is_null(value: object) -> bool:
    """Whether a value is None, NaN, NaT or pd.NA."""
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    )

"""Encoders of categories: each becomes a table, computed with the fitted encoder itself.

For a text column the table is a vocabulary with values, outside the graph. For a
number column it is a look-up in the graph.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from scorewire_contract.folding import fold_of
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.symbolic_columns import (
    Column,
    EncodedText,
    RawText,
    SymbolicColumns,
    is_null,
    tensor_columns,
)

# A text that no training set contains.
_UNHEARD_OF = "\x00 a text that no encoder knows \x00"
FILL_FIRST = 'fill missing texts with "" (fillna("")) before the model is fitted'

# Computes the fitted encoder's numbers for values that it is asked about: takes a list of
# values for each column, returns for each column an array of shape [values asked, numbers].
_Read: TypeAlias = "Callable[[list[list[object]]], list[NDArray[np.float64]]]"


@dataclass(frozen=True, slots=True)
class _Table:
    """The numbers of one column's categories: `rows` of shape [categories, numbers]."""

    categories: list[object]
    rows: NDArray[np.float64]
    unknown: NDArray[np.float64]
    strict: bool


@lowers_step(OrdinalEncoder)
def lower_ordinal(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Encode each category as its code."""

    def read(asked: list[list[object]]) -> list[NDArray[np.float64]]:
        codes = np.asarray(transform_plain(step, asked), dtype=np.float64)
        return [codes[:, [i]] for i in range(codes.shape[1])]

    return lower_tables(builder, inputs, read, step.categories_, strict=step.handle_unknown == "error")


@lowers_step(TargetEncoder)
def lower_target(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Encode each category as its smoothed mean of the target, or as one mean for each class."""
    width = len(step.classes_) if step.target_type_ == "multiclass" else 1

    def read(asked: list[list[object]]) -> list[NDArray[np.float64]]:
        means = np.asarray(transform_plain(step, asked), dtype=np.float64)
        return [means[:, i : i + width] for i in range(0, means.shape[1], width)]

    return lower_tables(builder, inputs, read, step.categories_, strict=False)


@lowers_step(OneHotEncoder)
def lower_one_hot(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Encode each category as the position of its 1; the graph spreads it over the columns."""
    # The same encoder with sparse output, so that it need not write zeros.
    spreader = copy.copy(step)
    spreader.sparse_output = True
    widths = _one_hot_widths(step)
    starts = np.concatenate([[0], np.cumsum(widths)])

    def read(asked: list[list[object]]) -> list[NDArray[np.float64]]:
        ones = transform_plain(spreader, asked).tocsc()
        if ones.shape[1] != starts[-1]:
            raise UnsupportedModelError(
                "the widths of a OneHotEncoder's columns cannot be told",
                "set neither drop nor min_frequency on it",
            )
        places = []
        for start, stop in itertools.pairwise(starts):
            part = ones[:, start:stop].tocoo()
            place = np.full((ones.shape[0], 1), -1.0)
            place[part.row, 0] = part.col
            places.append(place)
        return places

    codes = lower_tables(builder, inputs, read, step.categories_, strict=step.handle_unknown == "error")
    owners = np.repeat(np.arange(len(widths)), widths)
    locals_ = np.concatenate([np.arange(width) for width in widths]).astype(np.float64)
    if not len(owners):
        return SymbolicColumns((), sparse=bool(step.sparse_output))
    # Compares each output column's position with the code of the encoder column that it belongs to.
    tensor = builder.tensor(codes)
    if len(widths) > 1:
        tensor = builder.graph.node(
            "Gather", [tensor, builder.graph.constant(owners.astype(np.int64))], axis=1
        )
    hits = builder.graph.node("Equal", [tensor, builder.constant(locals_)])
    result = builder.cast(hits, TensorProto.DOUBLE)
    return SymbolicColumns(tensor_columns(result, len(owners)), sparse=bool(step.sparse_output))


def lower_categories(builder: GraphBuilder, column: Column, categories: Sequence[object]) -> Column:
    """Encode a pandas categorical that a model reads by its codes: positions of categories, others NaN.

    Raises:
        UnsupportedModelError: the column has both missing texts and the category "".
    """
    table = _Table(
        categories=list(categories),
        rows=np.arange(len(categories), dtype=np.float64)[:, np.newaxis],
        unknown=np.array([np.nan]),
        strict=False,
    )
    if isinstance(column, RawText):
        builder.coded_features.add(column.feature)
        spelt = _spell(builder, column, [category for category in categories if category == ""])
        values = {str(c): float(row[0]) for c, row in zip(categories, table.rows, strict=True)}
        if "" in values and any(is_null(spelling) for spelling in spelt):
            raise UnsupportedModelError(
                f'{column.feature!r} has both missing texts and the category ""', FILL_FIRST
            )
        return EncodedText(column.feature, column.fold, values, np.nan, strict=False)
    return _look_up(builder, column, table)[0]


def lower_tables(
    builder: GraphBuilder,
    inputs: SymbolicColumns,
    read: _Read,
    categories: Sequence[NDArray[Any]],
    *,
    strict: bool,
) -> SymbolicColumns:
    """Lower each column by its table; the encoder is called once for all tables."""
    known = [list(column) for column in categories]
    asked = [list(own) for own in known]
    if not strict:
        for column, values in zip(inputs.columns, asked, strict=True):
            values.append(_UNHEARD_OF if isinstance(column, RawText) else _unheard_of_number(values))
    height = max(len(values) for values in asked)
    padded = [values + values[:1] * (height - len(values)) for values in asked]
    values_read = _read_known(read, padded)
    columns: list[Column] = []
    for column, own, answer in zip(inputs.columns, known, values_read, strict=True):
        unknown = np.full(answer.shape[1], np.nan) if strict else answer[len(own)]
        table = _Table(own, answer[: len(own)], unknown, strict)
        if isinstance(column, RawText):
            columns.extend(_code(builder, column, table))
        else:
            columns.extend(_look_up(builder, column, table))
    return SymbolicColumns(tuple(columns))


def _read_known(read: _Read, asked: list[list[object]]) -> list[NDArray[np.float64]]:
    with warnings.catch_warnings():
        # Encoders warn about unknown categories, and here they are asked about some.
        warnings.simplefilter("ignore")
        return read(asked)


def _spell(builder: GraphBuilder, column: RawText, known: list[object]) -> tuple[object, ...]:
    """The values that stand for missing texts of a column; decided here if the sample has none."""
    if column.spellings:
        return column.spellings
    return (builder.missing_texts.setdefault(column.feature, known[0] if known else ""),)


def _code(builder: GraphBuilder, column: RawText, table: _Table) -> list[Column]:
    """The columns that a text column is encoded as."""
    odd = [c for c in table.categories if not isinstance(c, str) and not is_null(c)]
    if odd:
        raise UnsupportedModelError(
            f"text column {column.feature!r} meets an encoder fitted on {odd[0]!r}, which is not a text",
            "pass a sample of the data that the model was fitted on, one kind of value per column",
        )
    rows = dict(zip(map(_key, table.categories), table.rows, strict=True))
    missing_known = [c for c in table.categories if is_null(c) or c == ""]
    spelt = (*_spell(builder, column, missing_known), *missing_known)
    numbers = [rows.get(_key(spelling), None if table.strict else table.unknown) for spelling in spelt]
    for spelling, other in zip(spelt, numbers, strict=True):
        if not _alike(numbers[0], other):
            raise UnsupportedModelError(
                f"missing texts of {column.feature!r} are spelt as {spelt[0]!r} and as {spelling!r},"
                " and the model takes them for different categories",
                FILL_FIRST,
            )
    own = {
        category: row
        for category, row in zip(table.categories, table.rows, strict=True)
        if isinstance(category, str) and category and fold_of(column.fold)(category) == category
    }
    if numbers[0] is not None and numbers[0] is not table.unknown:
        own[""] = numbers[0]
    return [
        EncodedText(
            column.feature,
            column.fold,
            {text: float(row[j]) for text, row in own.items()},
            float(table.unknown[j]),
            table.strict,
        )
        for j in range(table.rows.shape[1])
    ]


def _key(value: object) -> object:
    """A key that is equal for values that an encoder takes for one category."""
    return ("null", value is None) if is_null(value) else value


def _alike(a: NDArray[np.float64] | None, b: NDArray[np.float64] | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b, equal_nan=True))


def _look_up(builder: GraphBuilder, column: Column, table: _Table) -> list[Column]:
    """The columns that a number column is encoded as, by a look-up in the graph."""
    if any(isinstance(c, str) for c in table.categories):
        raise UnsupportedModelError(
            "an encoder fitted on texts is given numbers",
            "pass a sample with the dtypes that the model was fitted on",
        )
    graph = builder.graph
    numbers = np.array([np.nan if is_null(c) else float(c) for c in table.categories])  # type: ignore[arg-type]  # numbers all
    builder.add_thresholds(column, numbers[~np.isnan(numbers)])
    x = builder.tensor(SymbolicColumns((column,)))
    hits = graph.node("Equal", [x, builder.constant(numbers)])
    if np.isnan(numbers).any():
        # Equal is never true for NaN.
        nan_place = graph.constant(np.isnan(numbers)[np.newaxis, :])
        hits = graph.node("Or", [hits, graph.node("And", [graph.node("IsNaN", [x]), nan_place])])
    places = builder.constant(np.arange(1.0, len(numbers) + 1.0)[:, np.newaxis])
    place = graph.node("MatMul", [builder.cast(hits, TensorProto.DOUBLE), places])
    place = graph.node("Squeeze", [builder.cast(place, TensorProto.INT64), graph.constant(np.array([1]))])
    rows = builder.constant(np.vstack([table.unknown[np.newaxis, :], table.rows]))
    found = graph.node("Gather", [rows, place], axis=0)
    return list(tensor_columns(found, table.rows.shape[1]))


def _unheard_of_number(known: list[object]) -> float:
    taken = {float(value) for value in known if not is_null(value)}  # type: ignore[arg-type]  # numbers all
    return next(number for number in np.arange(0.5, len(taken) + 1.5) if number not in taken)


def transform_plain(step: Any, asked: list[list[object]]) -> Any:
    """The encoder's result, without the output container that a user may have set."""
    plain = copy.copy(step)
    # A new dict: set_output would change the one that the copies share.
    plain._sklearn_output_config = {"transform": "default"}
    return plain.transform(_frame(step, asked))


def _frame(step: Any, asked: list[list[object]]) -> pd.DataFrame:
    """The values asked about, as the frame that an encoder takes."""
    names = getattr(step, "feature_names_in_", range(len(asked)))
    columns = []
    for values in asked:
        text = any(isinstance(value, str) or value is None for value in values)
        columns.append(pd.Series(values, dtype=object if text else None))
    return pd.concat(columns, axis=1, keys=list(names))


def _one_hot_widths(step: Any) -> list[int]:
    """The number of columns that a OneHotEncoder makes of each input column."""
    count = len(step.categories_)
    dropped = [None] * count if step.drop_idx_ is None else list(step.drop_idx_)
    rare = getattr(step, "infrequent_categories_", [None] * count)
    return [
        len(categories) - (len(few) - 1 if few is not None and len(few) else 0) - (drop is not None)
        for categories, few, drop in zip(step.categories_, rare, dropped, strict=True)
    ]

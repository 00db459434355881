"""Sparse matrices in the graph: counts of terms, of which a row has few among many columns.

Entries are in the order of rows and columns and are added one after the other, as
scipy adds them. So weights and norms have the bits of scikit-learn's, and a row's
result does not depend on other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import Graph

# Wider counts are not made dense: a row would take a megabyte.
MAX_DENSE_WIDTH = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class SparseCounts:
    """A sparse matrix as tensors of shape [entries].

    Attributes:
        rows: the row of each entry, int64.
        places: the column of each entry, int64; `width` for an idle entry.
        values: the value of each entry, double; 0 for an idle entry.
        zero: a column of zeros, double [rows, 1].
        width: the number of columns.
        signed: whether a value may be 0 or below.
    """

    rows: str
    places: str
    values: str
    zero: str
    width: int
    signed: bool


@dataclass(frozen=True, slots=True, eq=False)
class CountColumn:
    """Column `index` of sparse counts."""

    counts: SparseCounts
    index: int


def count_columns(counts: SparseCounts) -> tuple[CountColumn, ...]:
    """All columns of sparse counts."""
    return tuple(CountColumn(counts, index) for index in range(counts.width))


def select(graph: Graph, counts: SparseCounts, indices: Sequence[int]) -> SparseCounts:
    """Some of the columns, given by ascending and distinct indices."""
    if list(indices) == list(range(counts.width)):
        return counts
    width = len(indices)
    table = np.full(counts.width + 1, width, dtype=np.int64)
    table[list(indices)] = np.arange(width)
    places = graph.node("Gather", [graph.constant(table), counts.places])
    return _without_idle(graph, replace(counts, places=places, width=width), counts.values)


def scale_counts(graph: Graph, counts: SparseCounts, factors: NDArray[np.float64]) -> SparseCounts:
    """Each column times a factor."""
    factor = _pick(graph, np.append(np.broadcast_to(factors, (counts.width,)), 0.0), counts)
    return replace(counts, values=graph.node("Mul", [counts.values, factor]))


def normalize_counts(graph: Graph, counts: SparseCounts, kind: str) -> SparseCounts:
    """Divide rows by their "l1" or "l2" norm; rows of zeros are unchanged."""
    x = counts.values
    part = graph.node("Mul", [x, x]) if kind == "l2" else graph.node("Abs", [x])
    norm = _sum_by_row(graph, counts, graph.node("Reshape", [part, _column(graph)]), 1)
    if kind == "l2":
        norm = graph.node("Sqrt", [norm])
    none = graph.node("Equal", [norm, graph.constant(np.array([0.0]))])
    norm = graph.node("Where", [none, graph.constant(np.array([1.0])), norm])
    flat = graph.node("Reshape", [norm, graph.constant(np.array([-1]))])
    of_entry = graph.node("Gather", [flat, counts.rows])
    return replace(counts, values=graph.node("Div", [x, of_entry]))


def log_counts(graph: Graph, counts: SparseCounts) -> SparseCounts:
    """1 + log(value) for each value.

    Raises:
        UnsupportedModelError: values may be 0 or below.
    """
    if counts.signed:
        raise UnsupportedModelError(
            "sublinear_tf takes the logarithm of counts that may be 0 or below", "use alternate_sign=False"
        )
    one = graph.constant(np.array([1.0]))
    log = graph.node("Log", [counts.values])
    return _without_idle(graph, counts, graph.node("Add", [log, one]))


def count_once(graph: Graph, counts: SparseCounts) -> SparseCounts:
    """Replace each stored value by 1."""
    return replace(_without_idle(graph, counts, graph.constant(np.array([1.0]))), signed=False)


def counts_above(graph: Graph, counts: SparseCounts, threshold: float) -> SparseCounts:
    """Replace values above a threshold of at least 0 by 1, and drop the others."""
    over = graph.node("Greater", [counts.values, graph.constant(np.array([threshold]))])
    places = graph.node("Where", [over, counts.places, graph.constant(np.array([counts.width]))])
    return replace(counts, places=places, values=graph.node("Cast", [over], to=TensorProto.DOUBLE))


def multiply(graph: Graph, counts: SparseCounts, weights: NDArray[np.float64]) -> str:
    """Counts times weights of shape [width, targets]: double, [rows, targets]."""
    picked = _pick(graph, np.vstack([weights, np.zeros((1, weights.shape[1]))]), counts)
    product = graph.node("Mul", [picked, graph.node("Reshape", [counts.values, _column(graph)])])
    return _sum_by_row(graph, counts, product, weights.shape[1])


def write_out(graph: Graph, counts: SparseCounts, indices: Sequence[int], *, absent: float = 0.0) -> str:
    """Some of the columns as a dense tensor: double, [rows, columns]; `absent` where a row has no value.

    Raises:
        UnsupportedModelError: there are more than MAX_DENSE_WIDTH distinct columns.
    """
    distinct = sorted(set(indices))
    if len(distinct) > MAX_DENSE_WIDTH:
        raise UnsupportedModelError(
            f"a step asks for each of {len(distinct)} columns of words as a number of its own",
            f"use at most {MAX_DENSE_WIDTH} (max_features, n_features), or a linear model or naive Bayes",
        )
    chosen = select(graph, counts, distinct)
    places = [graph.node("Reshape", [part, _column(graph)]) for part in (chosen.rows, chosen.places)]
    width = chosen.width
    # Idle entries go to an extra last column, which is sliced off.
    empty = graph.node("Add", [counts.zero, graph.constant(np.full((1, width + 1), absent))])
    filled = graph.node("ScatterND", [empty, graph.node("Concat", places, axis=1), chosen.values])
    bounds = [graph.constant(np.array([edge])) for edge in (0, width, 1)]
    filled = graph.node("Slice", [filled, *bounds])
    if list(indices) == distinct:
        return filled
    order = np.searchsorted(distinct, list(indices))
    return graph.node("Gather", [filled, graph.constant(order)], axis=1)


def _without_idle(graph: Graph, counts: SparseCounts, values: str) -> SparseCounts:
    """The counts with other values, and 0 for idle entries."""
    idle = graph.node("Equal", [counts.places, graph.constant(np.array([counts.width]))])
    return replace(counts, values=graph.node("Where", [idle, graph.constant(np.array([0.0])), values]))


def _pick(graph: Graph, table: NDArray[np.float64], counts: SparseCounts) -> str:
    """For each entry, the row of a table at the entry's column."""
    return graph.node("Gather", [graph.constant(np.ascontiguousarray(table)), counts.places])


def _sum_by_row(graph: Graph, counts: SparseCounts, x: str, width: int) -> str:
    """Sum a tensor of shape [entries, width] by row: [rows, width]."""
    rows = graph.node("Reshape", [counts.rows, _column(graph)])
    if width > 1:
        rows = graph.node("Add", [rows, graph.constant(np.zeros((1, width), dtype=np.int64))])
    start = counts.zero
    if width > 1:
        start = graph.node("Add", [start, graph.constant(np.zeros((1, width)))])
    # Adds one entry after the other; a matrix product adds in an order that depends on the sizes.
    return graph.node("ScatterElements", [start, rows, x], axis=0, reduction="add")


def _column(graph: Graph) -> str:
    return graph.constant(np.array([-1, 1]))

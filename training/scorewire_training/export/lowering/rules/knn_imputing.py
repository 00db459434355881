"""KNNImputer: missing numbers are filled from the nearest training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.impute import KNNImputer
from sklearn.metrics.pairwise import nan_euclidean_distances

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import row_sum, take_column
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.rules.imputing import indicators, is_missing
from scorewire_training.export.lowering.rules.neighbors import check_edge, check_size
from scorewire_training.export.lowering.symbolic_columns import Column, SymbolicColumns, TensorColumn

# The number of training rows whose neighbours are checked for ties.
_ROWS_ASKED = 500
_OTHER_IMPUTERS = "use an IterativeImputer or a SimpleImputer"


@lowers_step(KNNImputer)
def lower_knn_imputer(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Replace a missing number by the mean of the nearest rows that have it, or else of all rows.

    The distance of two rows is a mean over the columns that both have.
    """
    rows = _checked(step)
    builder.only_near = True
    graph, x = builder.graph, builder.tensor(inputs)
    lacks = is_missing(builder, step, inputs, x)
    distances = _distances(builder, x, lacks, rows)
    columns: list[Column] = []
    for i, known in enumerate(~np.isnan(rows).T):
        lacks_it = take_column(builder, lacks, i)
        if known.any():
            mean = _mean_of_nearest(builder, step.n_neighbors, distances, rows[:, i])
            filled = graph.node("Where", [lacks_it, mean, take_column(builder, x, i)])
        elif step.keep_empty_features:
            filled = graph.node("Mul", [builder.cast(lacks_it, TensorProto.DOUBLE), builder.constant([0.0])])
        else:
            continue
        columns.append(TensorColumn(filled, 0, 1))
    if step.add_indicator:
        columns.extend(indicators(builder, step.indicator_, inputs))
    return SymbolicColumns(tuple(columns))


def _distances(builder: GraphBuilder, x: str, lacks: str, rows: NDArray[np.float64]) -> str:
    """Mean squared differences over the columns that a row and a training row both have; else infinite."""
    graph, zero = builder.graph, builder.constant([0.0])
    center = np.ma.masked_invalid(rows).mean(axis=0).filled(0.0)
    has = builder.cast(graph.node("Not", [lacks]), TensorProto.DOUBLE)
    away = graph.node("Where", [lacks, zero, graph.node("Sub", [x, builder.constant(center)])])
    known = (~np.isnan(rows)).T.astype(np.float64)
    theirs = np.nan_to_num(rows - center).T
    # The squared difference is multiplied out, so that one matrix product covers all rows and columns.
    parts = graph.node("Concat", [graph.node("Mul", [away, away]), away, has], axis=1)
    squares = graph.node("MatMul", [parts, builder.constant(np.vstack([known, -2.0 * theirs, theirs**2]))])
    common = graph.node("MatMul", [has, builder.constant(known)])
    none = graph.node("Equal", [common, zero])
    return graph.node("Where", [none, builder.constant([np.inf]), graph.node("Div", [squares, common])])


def _mean_of_nearest(
    builder: GraphBuilder, neighbors: int, distances: str, column: NDArray[np.float64]
) -> str:
    """The mean of a column over the nearest of the rows that have it, [rows, 1]."""
    graph = builder.graph
    (having,) = np.nonzero(~np.isnan(column))
    values = column[having]
    taken = min(neighbors, len(having))
    theirs = graph.node("Gather", [distances, graph.constant(having)], axis=1)
    count = graph.constant(np.array([taken]))
    apart, near = graph.nodes("TopK", [theirs, count], 2, axis=1, largest=0, sorted=1)
    is_near = graph.node("Less", [apart, builder.constant([np.inf])])
    weights = builder.cast(is_near, TensorProto.DOUBLE)
    picked = graph.node("Gather", [builder.constant(values), near], axis=0)
    total = row_sum(builder, graph.node("Mul", [picked, weights]), taken)
    weight = row_sum(builder, weights, taken)
    mean = graph.node("Div", [total, weight])
    some = graph.node("Greater", [weight, builder.constant([0.0])])
    return graph.node("Where", [some, mean, builder.constant([values.mean()])])


def _checked(step: Any) -> NDArray[np.float64]:
    """The training rows, with NaN for missing numbers.

    Raises:
        UnsupportedModelError: a graph would find other neighbours than the step, or there
            are too many training rows.
    """
    if step.metric != "nan_euclidean" or step.weights != "uniform":
        given = "metric" if step.metric != "nan_euclidean" else "weights"
        raise UnsupportedModelError(
            f"KNNImputer's {given} other than the default cannot be translated",
            "use metric='nan_euclidean' and weights='uniform'",
        )
    if step._fit_X.dtype != np.float64:
        raise UnsupportedModelError(
            "KNNImputer was fitted on numbers in less than double precision",
            "fit it on a dense table of float64",
        )
    check_size("KNNImputer", step._fit_X, _OTHER_IMPUTERS)
    rows = np.where(step._mask_fit_X, np.nan, step._fit_X)
    _check_equal_numbers(step, rows)
    _check_ties(step, rows)
    return rows


def _check_equal_numbers(step: Any, rows: NDArray[np.float64]) -> None:
    """Check that rows with a single number are not equally near to several training rows.

    Raises:
        UnsupportedModelError: a column has equal numbers in different training rows.
    """
    different = pd.DataFrame(rows).drop_duplicates().to_numpy()
    if step.n_neighbors >= len(different):
        return
    names = getattr(step, "feature_names_in_", range(rows.shape[1]))
    for name, column in zip(names, different.T, strict=True):
        numbers = column[~np.isnan(column)]
        equal = len(numbers) - len(np.unique(numbers))
        if equal:
            raise UnsupportedModelError(
                f"{equal:,} rows of training have the same number in column {name!r} as others: to a row that"
                " has little else they are equally near, and KNNImputer chooses by the order of its search,"
                " which a graph has not",
                "keep columns of whole or rounded numbers out of it with a ColumnTransformer, or"
                f" {_OTHER_IMPUTERS}",
            )


def _check_ties(step: Any, rows: NDArray[np.float64]) -> None:
    """Check on training rows that no tie decides which number they would get.

    Raises:
        UnsupportedModelError: a tie between neighbours with different numbers exists.
    """
    asked = rows[:: max(1, len(rows) // _ROWS_ASKED)]
    for i, column in enumerate(rows.T):
        having = ~np.isnan(column)
        taken = step.n_neighbors
        if taken >= np.count_nonzero(having):
            continue
        without = asked.copy()
        without[:, i] = np.nan
        apart = nan_euclidean_distances(without, rows[having])
        # The last neighbour that is used, and the first that is not.
        edge = np.argpartition(apart, [taken - 1, taken], axis=1)[:, taken - 1 : taken + 1]
        last, following = np.take_along_axis(apart, edge, axis=1).T
        values = column[having][edge]
        check_edge("KNNImputer", last, following, values[:, 0] != values[:, 1], _OTHER_IMPUTERS)

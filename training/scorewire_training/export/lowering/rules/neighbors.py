"""Nearest neighbours, with distances in double as scikit-learn's search trees compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    RadiusNeighborsClassifier,
    RadiusNeighborsRegressor,
)

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import arg_max, row_sum, take_column
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import PredictionTensors, class_labels
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns

# The distances of each row from all training rows are in memory at once.
MAX_ROWS = 4_096
MAX_COLUMNS = 128
_METRICS = ("euclidean", "manhattan")
# The number of training rows whose neighbours are checked for ties.
_ROWS_ASKED = 2_000
# Relative differences of distances below this are rounding.
_ROUNDING = 1e-9


@lowers_model(KNeighborsClassifier)
def lower_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The share of each class among the nearest training rows, weighted by distance if the model does."""
    if model.outputs_2d_:
        raise UnsupportedModelError(
            "KNeighborsClassifier has several labels",
            "use a MultiOutputClassifier of one with a single label",
        )
    labels = class_labels(model)
    near, weights = _nearest(builder, model, inputs)
    votes = _pick(builder, np.eye(len(labels))[np.asarray(model._y, np.intp)], near)
    probabilities = _mean(builder, votes, weights, model.n_neighbors)
    return PredictionTensors(
        family="KNeighborsClassifier",
        class_labels=labels,
        label=arg_max(builder, probabilities),
        probabilities=probabilities,
    )


@lowers_model(KNeighborsRegressor)
def lower_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean over the nearest training rows, weighted by distance if the model does."""
    near, weights = _nearest(builder, model, inputs)
    targets = np.asarray(model._y, np.float64).reshape(len(model._fit_X), -1)
    value = _mean(builder, _pick(builder, targets, near), weights, model.n_neighbors)
    return PredictionTensors(family="KNeighborsRegressor", value=value, width=targets.shape[1])


@lowers_model(RadiusNeighborsClassifier, RadiusNeighborsRegressor)
def refuse_radius(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:  # noqa: ARG001 - a rule's signature
    """Refused: rows without a neighbour have no prediction."""
    name = type(model).__name__
    raise UnsupportedModelError(
        f"{name} has no prediction for rows without a neighbour within its radius",
        f"use {name.replace('Radius', 'K')}",
    )


def _nearest(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> tuple[str, str | None]:
    """The indices of the nearest training rows, [rows, neighbours], and weights; None if equal."""
    rows = _checked(model)
    builder.only_near = True
    graph, x = builder.graph, builder.tensor(inputs)
    is_euclidean = model.effective_metric_ == "euclidean"
    total = ""
    for column in range(rows.shape[1]):
        away = graph.node(
            "Sub",
            [
                take_column(builder, x, column),
                builder.constant(rows[np.newaxis, :, column]),
            ],
        )
        away = graph.node("Mul", [away, away]) if is_euclidean else graph.node("Abs", [away])
        total = graph.node("Add", [total, away]) if total else away
    count = graph.constant(np.array([model.n_neighbors]))
    distances, near = graph.nodes("TopK", [total, count], 2, axis=1, largest=0, sorted=1)
    if model.weights == "uniform":
        return near, None
    return near, _nearness(builder, graph.node("Sqrt", [distances]) if is_euclidean else distances)


def _nearness(builder: GraphBuilder, distances: str) -> str:
    """1 / distance; if some neighbours have distance 0, only those count."""
    graph, zero, one = builder.graph, builder.constant([0.0]), builder.constant([1.0])
    same = graph.node("Equal", [distances, zero])
    any_same = graph.node("ReduceMax", [builder.cast(same, TensorProto.INT32)], axes=[1], keepdims=1)
    weights = graph.node("Where", [same, one, zero])
    return graph.node(
        "Where", [builder.cast(any_same, TensorProto.BOOL), weights, graph.node("Div", [one, distances])]
    )


def _pick(builder: GraphBuilder, table: NDArray[np.float64], near: str) -> str:
    """Rows of a table, [rows, neighbours, columns]."""
    return builder.graph.node("Gather", [builder.constant(table), near], axis=0)


def _mean(builder: GraphBuilder, values: str, weights: str | None, count: int) -> str:
    """The mean over the neighbours, [rows, columns]."""
    graph = builder.graph
    if weights is None:
        return graph.node("ReduceMean", [values], axes=[1], keepdims=0)
    weighed = graph.node("Mul", [values, graph.node("Unsqueeze", [weights, graph.constant(np.array([2]))])])
    total = graph.node("ReduceSum", [weighed, graph.constant(np.array([1]))], keepdims=0)
    return graph.node("Div", [total, row_sum(builder, weights, count)])


def _checked(model: Any) -> NDArray[np.float64]:
    """The training rows.

    Raises:
        UnsupportedModelError: a graph would find other neighbours than the model, or there
            are too many training rows.
    """
    name = type(model).__name__
    if model.effective_metric_ not in _METRICS:
        metric = model.effective_metric_
        called = metric if isinstance(metric, str) else getattr(metric, "__name__", "a function")
        raise UnsupportedModelError(
            f"{name}'s metric {called!r} cannot be translated", f"use one of {', '.join(map(repr, _METRICS))}"
        )
    if model.weights not in ("uniform", "distance"):
        raise UnsupportedModelError(
            f"{name}'s weights are a function of one's own", "use weights='uniform' or 'distance'"
        )
    rows = model._fit_X
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float64:
        raise UnsupportedModelError(
            f"{name} was fitted on a sparse matrix, or on numbers in less than double precision",
            "fit it on a dense table of float64",
        )
    check_size(name, rows, "use a tree ensemble")
    if model.weights == "distance" and model._fit_method == "brute":
        raise UnsupportedModelError(
            f"{name} searches all rows, by sums in which small distances are rounded away",
            "fit it with algorithm='kd_tree'",
        )
    _check_ties(model, rows)
    return rows


def check_size(name: str, rows: NDArray[np.float64], instead: str) -> None:
    """Check that the training rows are few enough for a graph.

    Raises:
        UnsupportedModelError: there are more than MAX_ROWS rows or MAX_COLUMNS columns.
    """
    if len(rows) > MAX_ROWS or rows.shape[1] > MAX_COLUMNS:
        raise UnsupportedModelError(
            f"{name} was fitted on {len(rows):,} rows of {rows.shape[1]} columns, and more than "
            f"{MAX_ROWS:,} of {MAX_COLUMNS} would make each call slow",
            f"fit it on a sample of at most {MAX_ROWS:,} rows, or {instead}",
        )


def _check_ties(model: Any, rows: NDArray[np.float64]) -> None:
    """Check on training rows that no tie decides which neighbours are used.

    Raises:
        UnsupportedModelError: a tie between neighbours with different targets exists.
    """
    if model.n_neighbors >= len(rows):
        return
    asked: Any = rows[:: max(1, len(rows) // _ROWS_ASKED)]
    if hasattr(model, "feature_names_in_"):
        asked = pd.DataFrame(asked, columns=model.feature_names_in_)
    distances, near = model.kneighbors(asked, n_neighbors=model.n_neighbors + 1)
    targets = np.asarray(model._y).reshape(len(rows), -1)
    differ = (targets[near[:, -2]] != targets[near[:, -1]]).any(axis=1)
    instead = "fit it without repeated rows, or on columns that are not whole numbers; or use a tree ensemble"
    check_edge(type(model).__name__, distances[:, -2], distances[:, -1], differ, instead)


def check_edge(
    name: str,
    last: NDArray[np.float64],
    following: NDArray[np.float64],
    differ: NDArray[np.bool_],
    instead: str,
) -> None:
    """Check that the last neighbour that is used is nearer than the first that is not.

    Args:
        name: the name of the step or model.
        last: the distance of the last neighbour that is used, for each checked row.
        following: the distance of the first neighbour that is not used.
        differ: whether the two neighbours would give different results.
        instead: what the user can do instead.

    Raises:
        UnsupportedModelError: the distances are equal and the results differ for a row.
    """
    tied = np.count_nonzero((following - last <= _ROUNDING * following) & differ)
    if tied:
        raise UnsupportedModelError(
            f"for {tied:,} of {len(last):,} rows of training, {name} has more neighbours that are equally"
            " near than it takes, and the order of its search decides, which a graph has not",
            instead,
        )

"""Clusters around centers: the nearest center of a row, and its distance from each."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, KMeans, MeanShift, MiniBatchKMeans

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import clip
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
)
from scorewire_training.export.lowering.registry import lowers_model, lowers_step
from scorewire_training.export.lowering.rules.kernels import squared_distances
from scorewire_training.export.lowering.symbolic_columns import (
    SymbolicColumns,
    tensor_columns,
)


@lowers_model(AffinityPropagation, Birch, MeanShift)
def refuse_centers(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:  # noqa: ARG001 - a rule's signature
    """Refused: their distances include the square of each row, so far away all centers are equally near."""
    raise UnsupportedModelError(
        f"a graph would find other centers than {type(model).__name__} for rows far away", "use KMeans"
    )


@lowers_model(KMeans, MiniBatchKMeans)
def lower_k_means(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The nearest center, by squared distances without the square of the row."""
    graph, centers = builder.graph, np.asarray(model.cluster_centers_, dtype=np.float64)
    if model.cluster_centers_.dtype != np.float64:
        raise UnsupportedModelError(
            f"{type(model).__name__} was fitted on float32, in which its distances are rounded",
            "fit it on float64",
        )
    cross = builder.product(inputs, -2.0 * centers.T)
    distance = graph.node("Add", [cross, builder.constant((centers**2).sum(axis=1))])
    return PredictionTensors(
        family=type(model).__name__,
        class_labels=tuple(str(i) for i in range(len(centers))),
        label=graph.node("ArgMin", [distance], axis=1, keepdims=1),
    )


@lowers_step(KMeans, MiniBatchKMeans, BisectingKMeans, Birch)
def lower_center_distances(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The distance from each center."""
    centers = step.subcluster_centers_ if isinstance(step, Birch) else step.cluster_centers_
    centers = np.asarray(centers, np.float64)
    x = builder.tensor(inputs)
    square = squared_distances(
        builder, x, builder.graph.node("MatMul", [x, builder.constant(centers.T)]), centers
    )
    return SymbolicColumns(
        tensor_columns(builder.graph.node("Sqrt", [clip(builder, square, 0.0, np.inf)]), len(centers))
    )

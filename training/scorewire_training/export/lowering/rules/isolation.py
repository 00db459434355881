"""Isolation forests: how early random splits isolate a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.ensemble import IsolationForest

from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import PredictionTensors, outlier_prediction
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.rules.tree_ensembles import without_unread_words
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns
from scorewire_training.export.lowering.trees_on_counts import replace_by_counts
from scorewire_training.export.margins import margin_of
from scorewire_training.export.trees.sklearn_trees import read_isolation_forest


@lowers_model(IsolationForest)
def lower_isolation_forest(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """2 ** -(sum of depths / their expected sum), compared with the offset."""
    trees, usual_depth = read_isolation_forest(model)
    thresholds = trees.thresholds
    for i, column in enumerate(inputs.columns):
        builder.add_thresholds(column, thresholds.get(i, ()))
    trees, inputs = without_unread_words(trees, inputs)
    trees, inputs = replace_by_counts(builder, trees, inputs, zero_is_missing=False)
    graph = builder.graph
    (depth,) = trees.emit(graph, builder.tensor(inputs, TensorProto.FLOAT))
    exponent = graph.node("Div", [depth.tensor, builder.constant([-usual_depth / np.log(2.0)])])
    score = graph.curve("Exp", exponent, 1)
    decision = graph.node("Sub", [builder.constant([-float(model.offset_)]), score])
    outside = graph.node("Less", [decision, builder.constant([0.0])])
    prediction = outlier_prediction(builder, "IsolationForest", decision, graph.node("Not", [outside]))
    # The margin is the sum of depths in units in which the link has no number but the offset.
    margin = margin_of(depth.tensor, 1, scale=np.log(2.0) / usual_depth)
    offset = float(model.offset_)
    return replace(prediction, margin=margin.through("isolation", lambda depths: -offset - np.exp(-depths)))

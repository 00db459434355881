"""Isolation forests: how soon random splits tell a row from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.ensemble import IsolationForest

from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import Answer, answers, outlier_answer
from scorewire_training.export.lowering.symbolic_columns import Matrix
from scorewire_training.export.lowering.tree_models import over_asked_words
from scorewire_training.export.lowering.trees_on_counts import fold_functions
from scorewire_training.export.trees.sklearn_trees import read_isolation_forest


@answers(IsolationForest)
def lower_isolation_forest(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """2 to the minus (sum of depths / their mean in a random tree), against the offset."""
    trees, usual_depth = read_isolation_forest(model)
    thresholds = trees.thresholds
    for i, column in enumerate(matrix.columns):
        draft.add_thresholds(column, thresholds.get(i, ()))
    trees, matrix = over_asked_words(trees, matrix)
    trees, matrix = fold_functions(draft, trees, matrix, zero_is_missing=False)
    graph = draft.graph
    (depth,) = trees.emit(graph, draft.tensor(matrix, TensorProto.FLOAT))
    exponent = graph.node("Div", [depth.tensor, draft.constant([-usual_depth / np.log(2.0)])])
    score = graph.curve("Exp", exponent, 1)
    decision = graph.node("Sub", [draft.constant([-float(model.offset_)]), score])
    outside = graph.node("Less", [decision, draft.constant([0.0])])
    return outlier_answer(draft, "IsolationForest", decision, graph.node("Not", [outside]))

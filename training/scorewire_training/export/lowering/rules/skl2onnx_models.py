"""The models that skl2onnx converts faithfully, in float."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor
from sklearn.svm import SVC, NuSVC

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    class_labels,
)
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.skl2onnx_conversion import convert_classifier, convert_regressor
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns


@lowers_model(
    AdaBoostClassifier,
    NuSVC,
    SVC,
)
def lower_converted_classifier(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """Converted by skl2onnx, in float."""
    labels = class_labels(model)
    if getattr(model, "break_ties", False) and len(labels) > 2:
        raise UnsupportedModelError(
            f"{type(model).__name__} with break_ties=True breaks ties between classes"
            " by another rule than the ONNX graph",
            "fit it with break_ties=False",
        )
    label, probabilities = convert_classifier(builder, model, inputs)
    column = builder.graph.node("Reshape", [label, builder.graph.constant(np.array([-1, 1]))])
    return PredictionTensors(
        family=f"{type(model).__name__} (skl2onnx)",
        class_labels=labels,
        label=column,
        probabilities=probabilities if hasattr(model, "predict_proba") else None,
    )


@lowers_model(AdaBoostRegressor)
def lower_converted_regressor(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """Converted by skl2onnx, in float."""
    value = convert_regressor(builder, model, inputs)
    return PredictionTensors(family=f"{type(model).__name__} (skl2onnx)", value=value)

"""Multi-layer perceptrons, in double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.neural_network import MLPClassifier, MLPRegressor

from scorewire_training.export.lowering.arithmetic import arg_max, exceeds, take_column
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    INDICATOR,
    PredictionTensors,
    class_labels,
    multilabel_prediction,
    pair,
)
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns

_ACTIVATIONS: dict[str, Callable[[GraphBuilder, str], str]] = {
    "exp": lambda builder, x: builder.graph.node("Exp", [x]),
    "identity": lambda _builder, x: x,
    "logistic": lambda builder, x: builder.graph.node("Sigmoid", [x]),
    "relu": lambda builder, x: builder.graph.node("Relu", [x]),
    "softmax": lambda builder, x: builder.graph.node("Softmax", [x], axis=1),
    "tanh": lambda builder, x: builder.graph.node("Tanh", [x]),
}


@lowers_model(MLPRegressor)
def lower_mlp_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The layers, in double."""
    value = _layers(builder, model, inputs)
    return PredictionTensors(family="MLPRegressor", value=value, width=int(model.n_outputs_))


@lowers_model(MLPClassifier)
def lower_mlp_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The layers, in double; two classes share one output neuron."""
    last = _layers(builder, model, inputs)
    if model.out_activation_ == "logistic" and model.n_outputs_ > 1:
        shares = [take_column(builder, last, place) for place in range(model.n_outputs_)]
        several = [
            PredictionTensors(
                family="MLPClassifier",
                class_labels=INDICATOR,
                label=exceeds(builder, share, 0.5),
                probabilities=pair(builder, share),
            )
            for share in shares
        ]
        return multilabel_prediction(builder, "MLPClassifier", several)
    labels = class_labels(model)
    probabilities = pair(builder, last) if len(labels) == 2 else last
    label = exceeds(builder, last, 0.5) if len(labels) == 2 else arg_max(builder, last)
    return PredictionTensors(
        family="MLPClassifier", class_labels=labels, label=label, probabilities=probabilities
    )


def _layers(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> str:
    graph, x = builder.graph, ""
    last = len(model.coefs_) - 1
    for i, (weights, offsets) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = graph.node("MatMul", [x, builder.constant(weights)]) if i else builder.product(inputs, weights)
        x = graph.node("Add", [x, builder.constant(offsets)])
        name = model.out_activation_ if i == last else model.activation
        x = _ACTIVATIONS[name](builder, x)
    return x

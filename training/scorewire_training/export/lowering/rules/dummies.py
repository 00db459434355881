"""Dummy models, which answer the same for every row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import arg_max
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    class_labels,
    multilabel_prediction,
)
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.symbolic_columns import EncodedText, RawNumber, SymbolicColumns

# Why nothing is explained.
_CONSTANT = "it predicts the same for every row"


@lowers_model(DummyRegressor)
def lower_dummy_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The same numbers for every row."""
    value = np.asarray(model.constant_, dtype=np.float64).reshape(1, -1)
    return PredictionTensors(
        family="DummyRegressor",
        value=_constant(builder, value, inputs),
        width=value.shape[1],
        without_margin=_CONSTANT,
    )


@lowers_model(DummyClassifier)
def lower_dummy_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The same probabilities for every row."""
    if model.strategy not in ("prior", "most_frequent", "constant"):
        raise UnsupportedModelError(
            f"DummyClassifier with strategy={model.strategy!r} draws its predictions at random",
            "use strategy='prior'",
        )
    several = isinstance(model.classes_, list)
    told = (model.classes_, model.class_prior_) if several else ([model.classes_], [model.class_prior_])
    guesses = []
    for target, (classes, prior) in enumerate(zip(*told, strict=True)):
        labels = tuple(str(label) for label in classes) if several else class_labels(model)
        chosen = int(np.argmax(prior))
        if model.strategy == "constant":
            chosen = labels.index(str(np.ravel(model.constant)[target]))
        shares = np.asarray(prior, np.float64) if model.strategy == "prior" else np.eye(len(labels))[chosen]
        guesses.append(_guess(builder, inputs, labels, shares, chosen))
    return multilabel_prediction(builder, "DummyClassifier", guesses) if several else guesses[0]


def _guess(
    builder: GraphBuilder,
    inputs: SymbolicColumns,
    labels: tuple[str, ...],
    shares: NDArray[np.float64],
    chosen: int,
) -> PredictionTensors:
    label = _constant(builder, np.eye(len(labels))[[chosen]], inputs)
    return PredictionTensors(
        family="DummyClassifier",
        class_labels=labels,
        label=arg_max(builder, label),
        probabilities=_constant(builder, shares[np.newaxis, :], inputs),
        without_margin=_CONSTANT,
    )


def _constant(builder: GraphBuilder, row: NDArray[np.float64], inputs: SymbolicColumns) -> str:
    """The same row for every input row; one input column is read for the number of rows."""
    number = next(
        (i for i, column in enumerate(inputs.columns) if isinstance(column, RawNumber | EncodedText)), 0
    )
    x = builder.tensor(inputs.take([number]))
    value = builder.constant(row)
    return builder.graph.node("Where", [builder.graph.node("IsNaN", [x]), value, value])

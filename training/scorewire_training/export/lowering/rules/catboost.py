"""CatBoost's models, from the ONNX file that CatBoost itself writes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import arg_max
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import PredictionTensors, class_labels
from scorewire_training.export.lowering.registry import lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns
from scorewire_training.export.zipmaps import take_out_zipmaps

_CLASSIFYING = ("Logloss", "CrossEntropy", "MultiClass")
_WITHOUT_COVERS = "CatBoost's file does not tell how many training rows reached each leaf"
_LOGARITHMIC = ("Poisson", "Tweedie")


@lowers_model("catboost.core.CatBoostClassifier")
def lower_catboost_classifier(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """Probabilities in float, from CatBoost's own file; the label is the likeliest class."""
    loss = _loss(model)
    if loss.partition(":")[0] not in _CLASSIFYING:
        raise UnsupportedModelError(
            f"CatBoost writes other probabilities than its own where loss_function={loss!r}",
            f"use one of {', '.join(_CLASSIFYING)}",
        )
    shares = _add_catboost_file(builder, model, inputs, "probabilities")
    return PredictionTensors(
        family=f"CatBoostClassifier ({loss})",
        element_type=TensorProto.FLOAT,
        class_labels=class_labels(model),
        label=arg_max(builder, shares),
        probabilities=shares,
        without_margin=_WITHOUT_COVERS,
    )


@lowers_model("catboost.core.CatBoostRegressor", "catboost.core.CatBoostRanker")
def lower_catboost_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """Sums of leaves in float, from CatBoost's own file, and their exponential for losses of counts."""
    loss = _loss(model)
    value = _add_catboost_file(builder, model, inputs, "predictions")
    if loss.startswith(_LOGARITHMIC):
        value = builder.graph.node("Exp", [value])
    return PredictionTensors(
        family=f"{type(model).__name__} ({loss})",
        element_type=TensorProto.FLOAT,
        value=value,
        without_margin=_WITHOUT_COVERS,
    )


def _loss(model: Any) -> str:
    return str(model.get_all_params().get("loss_function", ""))


def _add_catboost_file(builder: GraphBuilder, model: Any, inputs: SymbolicColumns, output: str) -> str:
    """Add the nodes of the file that CatBoost writes; returns one of its outputs."""
    for column, borders in zip(inputs.columns, _borders(model, inputs.width), strict=True):
        builder.add_thresholds(column, borders)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            model.save_model(str(path), format="onnx")
        except Exception as error:  # CatBoost raises one class for all
            raise UnsupportedModelError(
                f"CatBoost does not write this {type(model).__name__} as ONNX: {error}",
                "fit it on numbers alone, with symmetric trees: encode categories and texts by steps of"
                " scikit-learn before it",
            ) from error
        graph = onnx.load(path).graph
    if output not in (value.name for value in graph.output):
        raise UnsupportedModelError(
            f"CatBoost writes this {type(model).__name__} of several numbers as a classifier",
            "fit a model for each number",
        )
    take_out_zipmaps(graph)
    x = builder.tensor(inputs, TensorProto.FLOAT)
    return builder.graph.extend(graph, {graph.input[0].name: x})[output]


def _borders(model: Any, width: int) -> list[list[float]]:
    """The thresholds of each column."""
    borders = model.get_borders()
    return [[float(border) for border in borders.get(place, ())] for place in range(width)]

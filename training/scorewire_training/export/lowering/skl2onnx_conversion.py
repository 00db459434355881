"""Conversion of single models by skl2onnx, for those that it converts exactly."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import OPSET
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns

_ML_OPSET = 3


def convert_classifier(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> tuple[str, str]:
    """Convert a classifier with skl2onnx, in float.

    Returns:
        The label as an index into `classes_`, int64 of shape [rows], and the
        probabilities, double of shape [rows, classes].
    """
    indexed = copy.copy(model)
    indexed.classes_ = np.arange(len(model.classes_))
    x = builder.tensor(inputs, TensorProto.FLOAT)
    outputs = _convert(builder, indexed, x, FloatTensorType([None, inputs.width]), {"zipmap": False})
    label, probabilities = outputs.values()
    return label, builder.cast(probabilities, TensorProto.DOUBLE)


def convert_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> str:
    """Convert a regressor with skl2onnx, in float; returns its value, double of shape [rows, targets]."""
    x = builder.tensor(inputs, TensorProto.FLOAT)
    outputs = _convert(builder, model, x, FloatTensorType([None, inputs.width]), {})
    return builder.cast(next(iter(outputs.values())), TensorProto.DOUBLE)


def _convert(builder: GraphBuilder, step: Any, x: str, kind: Any, options: dict[str, bool]) -> dict[str, str]:
    """Add the nodes of a converted model to the graph; returns its outputs by name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = convert_sklearn(
                step,
                initial_types=[("x", kind)],
                options={id(step): options} if options else None,
                target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
            )
    except Exception as error:  # skl2onnx raises whatever its converters meet
        raise UnsupportedModelError(
            f"skl2onnx does not convert this {type(step).__name__}: {_first_line(error)}",
            "change its settings, or do what it does before the model is fitted",
        ) from error
    _check_operators(step, converted)
    return builder.graph.extend(converted.graph, {"x": x})


def _check_operators(step: Any, model: onnx.ModelProto) -> None:
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx.ml"}
    if foreign:
        raise UnsupportedModelError(
            f"skl2onnx needs operators of {sorted(foreign)} for this {type(step).__name__},"
            " which are not standard ONNX",
            "change its settings, or do what it does before the model is fitted",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

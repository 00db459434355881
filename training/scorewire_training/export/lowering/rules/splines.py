"""SplineTransformer, as polynomials between its knots, in double."""

from __future__ import annotations

from dataclasses import replace
from math import factorial
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.preprocessing import SplineTransformer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import clip
from scorewire_training.export.lowering.columnwise import origin_of
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.symbolic_columns import (
    ColumnOrigin,
    SymbolicColumns,
    TensorColumn,
    tensor_columns,
)

_LEAST_DEGREE = 2


@lowers_step(SplineTransformer)
def lower_splines(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The splines of each column, side by side."""
    if step.extrapolation == "linear" and step.degree < _LEAST_DEGREE and inputs.width > 1:
        # From the second column on, scikit-learn uses wrong knots for the ends.
        raise UnsupportedModelError(
            f"scikit-learn draws lines from the wrong knots for a SplineTransformer of degree {step.degree}",
            "use degree=2 or more, another extrapolation, or a SplineTransformer for each column",
        )
    columns: list[TensorColumn] = []
    for place, (column, spline) in enumerate(zip(inputs.columns, step.bsplines_, strict=True)):
        first, last = step.degree, len(spline.t) - step.degree - 1
        if not step.degree:
            builder.add_thresholds(column, spline.t[first : last + 1])
        made = _splines(builder, step, spline, builder.tensor(SymbolicColumns((column,))))
        width, origin = spline.c.shape[1], origin_of(column)
        told = origin and ColumnOrigin(origin.feature, (*origin.steps, (step, place)), exact=False)
        own = [replace(cell, origin=told) for cell in tensor_columns(made, width)]
        columns.extend(own[: width if step.include_bias else -1])
    return SymbolicColumns(tuple(columns), sparse=step.sparse_output)


def _splines(builder: GraphBuilder, step: Any, spline: Any, x: str) -> str:
    """The splines of one column of shape [rows, 1]: double, [rows, splines]."""
    graph = builder.graph
    knots = spline.t[step.degree : len(spline.t) - step.degree]
    low, high = float(knots[0]), float(knots[-1])
    inside = x
    if step.extrapolation in ("constant", "linear"):
        inside = clip(builder, x, low, high)
    elif step.extrapolation == "periodic":
        inside = _wrap(builder, x, low, high)
    value = _polynomials(builder, spline, knots, step.degree, inside)
    if step.extrapolation == "linear":
        slopes = (builder.constant(spline(np.array([end]), nu=1)) for end in (low, high))
        slope = graph.node("Where", [graph.node("Less", [x, builder.constant([low])]), *slopes])
        value = graph.node("Add", [value, graph.node("Mul", [graph.node("Sub", [x, inside]), slope])])
    if getattr(step, "handle_missing", "error") == "zeros":
        value = graph.node("Where", [graph.node("IsNaN", [x]), builder.constant([0.0]), value])
    return value


def _wrap(builder: GraphBuilder, x: str, low: float, high: float) -> str:
    """Move a number by whole periods to the range between the ends."""
    graph, period = builder.graph, builder.constant([high - low])
    if high == low:
        return graph.node("Mul", [x, builder.constant([0.0])])
    begin, zero = builder.constant([low]), builder.constant([0.0])
    rest = graph.node("Mod", [graph.node("Sub", [x, begin]), period], fmod=1)
    rest = graph.node("Where", [graph.node("Less", [rest, zero]), graph.node("Add", [rest, period]), rest])
    return graph.node("Add", [begin, rest])


def _polynomials(builder: GraphBuilder, spline: Any, knots: Any, degree: int, x: str) -> str:
    """The polynomials of the splines from the last knot before x on; the outermost ones extend beyond."""
    graph = builder.graph
    begins = knots[:-1]
    beyond = graph.node("GreaterOrEqual", [x, builder.constant(np.append(begins[1:], np.inf)[np.newaxis, :])])
    axis = graph.constant(np.array([1]))
    place = graph.node("ReduceSum", [builder.cast(beyond, TensorProto.INT64), axis], keepdims=0)
    # Infinity is beyond the last knot, where no polynomial starts.
    place = graph.node("Min", [place, graph.constant(np.array([len(begins) - 1]))])
    distance = graph.node("Sub", [x, graph.node("Gather", [builder.constant(begins[:, np.newaxis]), place])])
    value = ""
    for power in range(degree, -1, -1):
        table = builder.constant(spline(begins, nu=power) / factorial(power))
        coefficients = graph.node("Gather", [table, place])
        value = (
            graph.node("Add", [graph.node("Mul", [value, distance]), coefficients]) if value else coefficients
        )
    return value

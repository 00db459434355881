"""The SplineTransformer, as the polynomials between its knots, in double."""

from __future__ import annotations

from dataclasses import replace
from math import factorial
from typing import Any

import numpy as np
from onnx import TensorProto
from sklearn.preprocessing import SplineTransformer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.columnwise import origin_of
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.rules.scaling import clip
from scorewire_training.export.lowering.symbolic_columns import Cell, Matrix, Origin, cells

_LEAST_DEGREE = 2


@lowers(SplineTransformer)
def lower_splines(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The splines of each column, side by side."""
    if step.extrapolation == "linear" and step.degree < _LEAST_DEGREE and matrix.width > 1:
        # For its second column on, scikit-learn takes other knots for the ends.
        raise UnsupportedModelError(
            f"scikit-learn draws lines from the wrong knots for a SplineTransformer of degree {step.degree}",
            "use degree=2 or more, another extrapolation, or a SplineTransformer for each column",
        )
    columns: list[Cell] = []
    for place, (column, spline) in enumerate(zip(matrix.columns, step.bsplines_, strict=True)):
        first, last = step.degree, len(spline.t) - step.degree - 1
        if not step.degree:
            draft.add_thresholds(column, spline.t[first : last + 1])
        made = _splines(draft, step, spline, draft.tensor(Matrix((column,))))
        width, origin = spline.c.shape[1], origin_of(column)
        told = origin and Origin(origin.feature, (*origin.steps, (step, place)), exact=False)
        own = [replace(cell, origin=told) for cell in cells(made, width)]
        columns.extend(own[: width if step.include_bias else -1])
    return Matrix(tuple(columns), sparse=step.sparse_output)


def _splines(draft: Draft, step: Any, spline: Any, x: str) -> str:
    """The splines of one column of shape [rows, 1]: double, [rows, splines]."""
    graph = draft.graph
    knots = spline.t[step.degree : len(spline.t) - step.degree]
    low, high = float(knots[0]), float(knots[-1])
    inside = x
    if step.extrapolation in ("constant", "linear"):
        inside = clip(draft, x, low, high)
    elif step.extrapolation == "periodic":
        inside = _wrap(draft, x, low, high)
    value = _polynomials(draft, spline, knots, step.degree, inside)
    if step.extrapolation == "linear":
        slopes = (draft.constant(spline(np.array([end]), nu=1)) for end in (low, high))
        slope = graph.node("Where", [graph.node("Less", [x, draft.constant([low])]), *slopes])
        value = graph.node("Add", [value, graph.node("Mul", [graph.node("Sub", [x, inside]), slope])])
    if getattr(step, "handle_missing", "error") == "zeros":
        value = graph.node("Where", [graph.node("IsNaN", [x]), draft.constant([0.0]), value])
    return value


def _wrap(draft: Draft, x: str, low: float, high: float) -> str:
    """The number a whole number of periods away that is between the ends."""
    graph, period = draft.graph, draft.constant([high - low])
    if high == low:
        return graph.node("Mul", [x, draft.constant([0.0])])
    begin, zero = draft.constant([low]), draft.constant([0.0])
    rest = graph.node("Mod", [graph.node("Sub", [x, begin]), period], fmod=1)
    rest = graph.node("Where", [graph.node("Less", [rest, zero]), graph.node("Add", [rest, period]), rest])
    return graph.node("Add", [begin, rest])


def _polynomials(draft: Draft, spline: Any, knots: Any, degree: int, x: str) -> str:
    """The polynomials that the splines are from the last knot on, the first and the last also beyond."""
    graph = draft.graph
    begins = knots[:-1]
    beyond = graph.node("GreaterOrEqual", [x, draft.constant(np.append(begins[1:], np.inf)[np.newaxis, :])])
    axis = graph.constant(np.array([1]))
    place = graph.node("ReduceSum", [draft.cast(beyond, TensorProto.INT64), axis], keepdims=0)
    # Infinity has passed the last knot, too, which begins nothing.
    place = graph.node("Min", [place, graph.constant(np.array([len(begins) - 1]))])
    distance = graph.node("Sub", [x, graph.node("Gather", [draft.constant(begins[:, np.newaxis]), place])])
    value = ""
    for power in range(degree, -1, -1):
        table = draft.constant(spline(begins, nu=power) / factorial(power))
        coefficients = graph.node("Gather", [table, place])
        value = (
            graph.node("Add", [graph.node("Mul", [value, distance]), coefficients]) if value else coefficients
        )
    return value

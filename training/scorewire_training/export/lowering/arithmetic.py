"""Arithmetic on tensors of the graph, in double and in the order of operations of numpy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.sparse_counts import count_columns, scale_counts
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, tensor_columns

# numpy adds fewer columns than this one after the other.
_PAIRWISE_COLUMNS = 8


def scale_columns(
    builder: GraphBuilder, inputs: SymbolicColumns, factors: NDArray[np.float64]
) -> SymbolicColumns:
    """Multiply each column by its factor, or all columns by one factor."""
    counts = builder.counts(inputs)
    if counts is not None:
        return replace(inputs, columns=count_columns(scale_counts(builder.graph, counts, factors)))
    x = builder.graph.node("Mul", [builder.tensor(inputs), builder.constant(factors)])
    return inputs.changed(tensor_columns(x, inputs.width))


def clip(builder: GraphBuilder, x: str, low: float, high: float) -> str:
    """Clip numbers to a range; NaN stays NaN."""
    graph = builder.graph
    bottom, top = builder.constant([low]), builder.constant([high])
    x = graph.node("Where", [graph.node("Less", [x, bottom]), bottom, x])
    return graph.node("Where", [graph.node("Greater", [x, top]), top, x])


def normalize(builder: GraphBuilder, x: str, width: int, kind: str, least: float = 0.0) -> str:
    """Divide rows by their "l1", "l2" or "max" norm, unless the norm is 0 or below `least`."""
    graph = builder.graph
    if kind == "l2":
        norm = graph.node("Sqrt", [row_sum(builder, graph.node("Mul", [x, x]), width)])
    elif kind == "l1":
        norm = row_sum(builder, graph.node("Abs", [x]), width)
    else:
        norm = largest(builder, graph.node("Abs", [x]))
    if least:
        stays = graph.node("Less", [norm, builder.constant([least])])
    else:
        stays = graph.node("Equal", [norm, builder.constant([0.0])])
    return graph.node("Div", [x, graph.node("Where", [stays, builder.constant([1.0]), norm])])


def largest(builder: GraphBuilder, x: str) -> str:
    """The largest number of each row, shape [rows, 1]."""
    # ReduceMax takes its axes differently in different operator sets.
    return builder.graph.nodes("TopK", [x, builder.graph.constant(np.array([1]))], 2, axis=1)[0]


def from_logs(builder: GraphBuilder, x: str, width: int) -> str:
    """Probabilities from log probabilities with a common offset, computed as scipy's logsumexp does.

    For very large logarithms the logarithm of the sum is rounded away, and the
    probabilities do not add up to one. For infinite ones they are NaN.
    """
    graph = builder.graph
    top = largest(builder, x)
    finite = graph.node("Less", [graph.node("Abs", [top]), builder.constant([np.inf])])
    top = graph.node("Where", [finite, top, builder.constant([0.0])])
    total = row_sum(builder, graph.node("Exp", [graph.node("Sub", [x, top])]), width)
    return graph.node("Exp", [graph.node("Sub", [x, graph.node("Add", [graph.node("Log", [total]), top])])])


def row_sum(builder: GraphBuilder, x: str, width: int) -> str:
    """The sums of rows of a given width, shape [rows, 1]."""
    graph = builder.graph
    if not 0 < width < _PAIRWISE_COLUMNS:
        return graph.node("ReduceSum", [x, graph.constant(np.array([1]))], keepdims=1)
    # From left to right, as numpy adds few columns. ReduceSum's order depends on the number of rows.
    columns = graph.nodes("Split", [x, graph.constant(np.ones(width, dtype=np.int64))], width, axis=1)
    return graph.node("Sum", columns)


def share_out(builder: GraphBuilder, x: str, width: int) -> str:
    """Divide rows by their sums; a row of zeros gets equal shares."""
    graph = builder.graph
    total = row_sum(builder, x, width)
    nothing = graph.node("Equal", [total, builder.constant([0.0])])
    return graph.node("Where", [nothing, builder.constant([1.0 / width]), graph.node("Div", [x, total])])


def log1p(builder: GraphBuilder, x: str) -> str:
    """log(1 + x) without the loss of small x (Kahan): log(u) * x / (u - 1) with u = 1 + x."""
    graph, one = builder.graph, builder.constant([1.0])
    u = graph.node("Add", [x, one])
    log = graph.node("Log", [u])
    ratio = graph.node("Div", [x, graph.node("Sub", [u, one])])
    near = graph.node("Mul", [log, ratio])
    # Far from 0 the plain logarithm is exact, and the quotient of infinities would be NaN.
    small = graph.node("Less", [graph.node("Abs", [x]), builder.constant([0.5])])
    result = graph.node("Where", [small, near, log])
    return graph.node("Where", [graph.node("Equal", [u, one]), x, result])


def expm1(builder: GraphBuilder, x: str) -> str:
    """exp(x) - 1 without the loss of small x (Kahan): (u - 1) * x / log(u) with u = exp(x)."""
    graph, one = builder.graph, builder.constant([1.0])
    u = graph.node("Exp", [x])
    plain = graph.node("Sub", [u, one])
    near = graph.node("Mul", [plain, graph.node("Div", [x, graph.node("Log", [u])])])
    small = graph.node("Less", [graph.node("Abs", [x]), builder.constant([0.5])])
    result = graph.node("Where", [small, near, plain])
    return graph.node("Where", [graph.node("Equal", [u, one]), x, result])


def _unary(op_type: str) -> Callable[[GraphBuilder, str], str]:
    return lambda builder, x: builder.graph.node(op_type, [x])


def _square(builder: GraphBuilder, x: str) -> str:
    return builder.graph.node("Mul", [x, x])


def _cbrt(builder: GraphBuilder, x: str) -> str:
    """The sign of x times exp(log(|x|) / 3)."""
    graph = builder.graph
    log = graph.node("Log", [graph.node("Abs", [x])])
    root = graph.node("Exp", [graph.node("Div", [log, builder.constant([3.0])])])
    return graph.node("Mul", [graph.node("Sign", [x]), root])


def _logarithm(base: float) -> Callable[[GraphBuilder, str], str]:
    def write(builder: GraphBuilder, x: str) -> str:
        return builder.graph.node("Div", [builder.graph.node("Log", [x]), builder.constant([np.log(base)])])

    return write


FUNCTIONS: dict[Any, Callable[[GraphBuilder, str], str]] = {
    np.log1p: log1p,
    np.expm1: expm1,
    np.log: _unary("Log"),
    np.log2: _logarithm(2.0),
    np.log10: _logarithm(10.0),
    np.cbrt: _cbrt,
    np.exp: _unary("Exp"),
    np.sqrt: _unary("Sqrt"),
    np.square: _square,
    np.abs: _unary("Abs"),
    np.negative: _unary("Neg"),
    np.floor: _unary("Floor"),
    np.ceil: _unary("Ceil"),
    np.sign: _unary("Sign"),
    np.tanh: _unary("Tanh"),
}


def arg_max(builder: GraphBuilder, x: str, *, last: bool = False) -> str:
    """The position of each row's largest number, the first or the last of several; int64, [rows, 1]."""
    return builder.graph.node("ArgMax", [x], axis=1, keepdims=1, select_last_index=int(last))


def exceeds(builder: GraphBuilder, x: str, bound: float) -> str:
    """1 where a column [rows, 1] is above a bound, else 0; int64."""
    return builder.cast(builder.graph.node("Greater", [x, builder.constant([bound])]), TensorProto.INT64)


def take_column(builder: GraphBuilder, x: str, index: int) -> str:
    """One column of a matrix, [rows, 1]."""
    return builder.graph.node("Gather", [x, builder.graph.constant(np.array([index]))], axis=1)


def weighted_mean(builder: GraphBuilder, parts: list[str], weights: Any) -> str:
    """The weighted mean of tensors, added in their order."""
    graph = builder.graph
    if weights is not None:
        parts = [
            graph.node("Mul", [part, builder.constant([float(weight)])])
            for part, weight in zip(parts, weights, strict=True)
        ]
    total = reduce(lambda a, b: graph.node("Add", [a, b]), parts)
    divisor = float(len(parts)) if weights is None else float(np.sum(weights))
    return graph.node("Div", [total, builder.constant([divisor])])


# Of FUNCTIONS, those that the graph computes to the last bit of numpy's.
EXACT_FUNCTIONS = (np.abs, np.ceil, np.floor, np.negative, np.sign, np.sqrt, np.square)

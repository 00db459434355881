"""Scalers, powers, bins and functions of numbers, in double and in scikit-learn's order of operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import Graph
from scorewire_training.export.lowering.arithmetic import (
    EXACT_FUNCTIONS,
    FUNCTIONS,
    clip,
    expm1,
    log1p,
    normalize,
    row_sum,
    scale_columns,
)
from scorewire_training.export.lowering.columnwise import Columnwise
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.sparse_counts import count_columns, counts_above, normalize_counts
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, TensorColumn, tensor_columns
from scorewire_training.export.lowering.threshold_counting import count_passed_inexact
from scorewire_training.export.lowering.thresholds import Thresholds

# Dense rows with a smaller norm are unchanged, like rows of zeros.
_LEAST_NORM = 10 * float(np.finfo(np.float64).eps)
# From this degree on, scikit-learn drops products of sparse columns that become 0.
_ELIMINATING_DEGREE = 4


@lowers_step(StandardScaler, columnwise=Columnwise(fitted=("mean_", "scale_")))
def lower_standard_scaler(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """(x - mean) / scale."""
    return _scale(builder, inputs.by_row(), step.mean_ if step.with_mean else None, step.scale_)


@lowers_step(RobustScaler, columnwise=Columnwise(fitted=("center_", "scale_")))
def lower_robust_scaler(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """(x - median) / range."""
    center = step.center_ if step.with_centering else None
    return _scale(builder, inputs, center, step.scale_ if step.with_scaling else None)


@lowers_step(MaxAbsScaler, columnwise=Columnwise(fitted=("scale_",)))
def lower_max_abs_scaler(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """X / largest magnitude."""
    scaled = _scale(builder, inputs, None, step.scale_)
    if not getattr(step, "clip", False):
        return scaled
    x = clip(builder, builder.tensor(scaled), -1.0, 1.0)
    return scaled.changed(tensor_columns(x, inputs.width))


@lowers_step(MinMaxScaler, columnwise=Columnwise(fitted=("min_", "scale_")))
def lower_min_max_scaler(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """X * scale + min, clipped if the step clips."""
    x = builder.graph.node("Mul", [builder.tensor(inputs), builder.constant(step.scale_)])
    x = builder.graph.node("Add", [x, builder.constant(step.min_)])
    if step.clip:
        x = clip(builder, x, *step.feature_range)
    return SymbolicColumns(tensor_columns(x, inputs.width))


@lowers_step(PowerTransformer, columnwise=Columnwise(fitted=("lambdas_",), is_exact=lambda _: False))
def lower_power(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Box-Cox or Yeo-Johnson with each column's exponent, then standard scaling if the step standardizes."""
    graph, x = builder.graph, builder.tensor(inputs)
    exponents = np.asarray(step.lambdas_, dtype=np.float64)
    if step.method == "box-cox":
        x = _power(builder, graph.node("Log", [x]), exponents)
    else:
        zero = builder.constant([0.0])
        negative = graph.node("Less", [x, zero])
        # Each branch gets only its own numbers, because those of the other branch would overflow.
        up = graph.node("Where", [negative, zero, x])
        down = graph.node("Where", [negative, graph.node("Neg", [x]), zero])
        up = _power(builder, log1p(builder, up), exponents)
        down = graph.node("Neg", [_power(builder, log1p(builder, down), 2.0 - exponents)])
        x = graph.node("Where", [negative, down, up])
    powered = SymbolicColumns(tensor_columns(x, inputs.width))
    return lower_standard_scaler(builder, step._scaler, powered) if step.standardize else powered


@lowers_step(Normalizer)
def lower_normalizer(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Divide each row by its norm."""
    counts = builder.counts(inputs) if step.norm in ("l1", "l2") else None
    if counts is not None:
        return replace(
            inputs.by_row(), columns=count_columns(normalize_counts(builder.graph, counts, step.norm))
        )
    least = 0.0 if inputs.sparse else _LEAST_NORM
    x = normalize(builder, builder.tensor(inputs), inputs.width, step.norm, least)
    return inputs.by_row().changed(tensor_columns(x, inputs.width))


@lowers_step(Binarizer)
def lower_binarizer(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """1 above the threshold, else 0."""
    return binarize(builder, inputs, float(step.threshold))


@lowers_step(
    KBinsDiscretizer,
    columnwise=Columnwise(
        fitted=("bin_edges_", "n_bins_"),
        sources=lambda step, width: range(width) if step.encode == "ordinal" else None,
    ),
)
def lower_bins(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The bin of each number, as a code or one-hot; NaN is in the last bin."""
    graph = builder.graph
    edges = [np.asarray(own[1:-1], dtype=np.float64) for own in step.bin_edges_]
    thresholds = [Thresholds.of(inner, np.ones(len(inner), dtype=np.bool_)) for inner in edges]
    columns = count_passed_inexact(builder, inputs.columns, thresholds)
    for i, (column, inner) in enumerate(zip(inputs.columns, edges, strict=True)):
        if i in columns:
            continue
        builder.add_thresholds(column, inner)
        x = builder.tensor(SymbolicColumns((column,)))
        # Not (x < edge), so that NaN is beyond all edges, as for np.searchsorted.
        beyond = graph.node("Not", [graph.node("Less", [x, builder.constant(inner[np.newaxis, :])])])
        columns[i] = TensorColumn(
            row_sum(builder, builder.cast(beyond, TensorProto.DOUBLE), len(inner)), 0, 1
        )
    binned = SymbolicColumns(tuple(columns[i] for i in range(inputs.width)))
    if step.encode == "ordinal":
        return binned
    codes = builder.tensor(binned)
    counts = [len(own) - 1 for own in step.bin_edges_]
    owners = graph.constant(np.repeat(np.arange(len(counts)), counts))
    places = builder.constant(np.concatenate([np.arange(float(count)) for count in counts]))
    hits = graph.node("Equal", [graph.node("Gather", [codes, owners], axis=1), places])
    spread = builder.cast(hits, TensorProto.DOUBLE)
    return SymbolicColumns(tensor_columns(spread, sum(counts)), sparse=step.encode == "onehot")


@lowers_step(PolynomialFeatures)
def lower_polynomial(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Products of columns, multiplied from the last factor on, as scikit-learn does."""
    products = _products(builder, builder.tensor(inputs), inputs.width, step.powers_)
    result = SymbolicColumns(
        tensor_columns(products, len(step.powers_)), sparse=inputs.sparse, by_column=inputs.by_column
    )
    if not inputs.sparse or step._max_degree >= _ELIMINATING_DEGREE:
        return result
    # A product is stored where its factors are stored, even if it became 0.
    x = builder.tensor(inputs.pattern or inputs)
    zero = builder.constant([0.0])
    there = builder.graph.node(
        "Where", [builder.graph.node("Equal", [x, zero]), zero, builder.constant([1.0])]
    )
    pattern = _products(builder, there, inputs.width, step.powers_)
    return replace(result, pattern=SymbolicColumns(tensor_columns(pattern, len(step.powers_))))


def _products(builder: GraphBuilder, x: str, width: int, powers: NDArray[np.int64]) -> str:
    graph = builder.graph
    # Multiplies one factor of each product at a time; a product without further
    # factors continues with the column of ones.
    one = builder.constant([1.0])
    column = graph.node("Gather", [x, graph.constant(np.array([0]))], axis=1)
    ones = graph.node("Where", [graph.node("IsNaN", [column]), one, one])
    padded = graph.node("Concat", [x, ones], axis=1)
    factors = [np.repeat(np.arange(len(row)), row)[::-1] for row in powers]
    depth = max((len(row) for row in factors), default=0)
    table = np.full((max(depth, 1), len(factors)), width, dtype=np.int64)
    for i, row in enumerate(factors):
        table[: len(row), i] = row
    product = graph.node("Gather", [padded, graph.constant(table[0])], axis=1)
    for row in table[1:]:
        product = graph.node("Mul", [product, graph.node("Gather", [padded, graph.constant(row)], axis=1)])
    return product


@lowers_step(
    FunctionTransformer,
    columnwise=Columnwise(fitted=(), is_exact=lambda step: step.func is None or step.func in EXACT_FUNCTIONS),
)
def lower_function(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The identity, or a function of numpy that the graph can compute."""
    if step.func is None:
        return inputs
    if step.func is np.ravel and inputs.width == 1:
        return replace(inputs, flat=True)
    write = FUNCTIONS.get(step.func) if callable(step.func) and not step.kw_args else None
    if write is None:
        name = getattr(step.func, "__name__", repr(step.func))
        known = ", ".join(sorted(f"numpy.{function.__name__}" for function in FUNCTIONS))
        raise UnsupportedModelError(
            f"the FunctionTransformer calls {name}, whose code cannot be translated",
            f"use one of {known}, a TextCleaner of scorewire_training.estimators,"
            " or do it before the model is fitted",
        )
    return inputs.changed(tensor_columns(write(builder, builder.tensor(inputs)), inputs.width))


def binarize(builder: GraphBuilder, inputs: SymbolicColumns, threshold: float) -> SymbolicColumns:
    """1 above the threshold, else 0."""
    counts = builder.counts(inputs) if threshold >= 0 else None
    if counts is not None:
        return replace(
            inputs, columns=count_columns(counts_above(builder.graph, counts, threshold)), pattern=None
        )
    at_most = Thresholds.of(np.array([threshold]), np.array([False]))
    columns = count_passed_inexact(builder, inputs.columns, [at_most] * inputs.width)
    others = [i for i in range(inputs.width) if i not in columns]
    if others:
        for i in others:
            builder.add_thresholds(inputs.columns[i], [threshold])
        over = builder.graph.node(
            "Greater", [builder.tensor(inputs.take(others)), builder.constant([threshold])]
        )
        columns.update(
            zip(others, tensor_columns(builder.cast(over, TensorProto.DOUBLE), len(others)), strict=True)
        )
    return SymbolicColumns(tuple(columns[i] for i in range(inputs.width)), sparse=inputs.sparse)


def _power(builder: GraphBuilder, log: str, exponents: NDArray[np.float64]) -> str:
    """(exp(exponent * log) - 1) / exponent, or the log itself where the exponent is 0."""
    graph = builder.graph
    flat = np.abs(exponents) < np.spacing(1.0)
    safe = builder.constant(np.where(flat, 1.0, exponents))
    raised = graph.node("Div", [expm1(builder, graph.node("Mul", [log, safe])), safe])
    return graph.node("Where", [graph.constant(flat), log, raised])


def _scale(
    builder: GraphBuilder,
    inputs: SymbolicColumns,
    center: NDArray[np.float64] | None,
    scale: NDArray[np.float64] | None,
) -> SymbolicColumns:
    graph: Graph = builder.graph
    if center is None and scale is None:
        return inputs
    if scale is not None and inputs.sparse:
        # Multiplied by the reciprocal, which rounds differently; a sparse matrix is never centered.
        return scale_columns(builder, inputs, 1.0 / scale)
    x = builder.tensor(inputs)
    if center is not None:
        x = graph.node("Sub", [x, builder.constant(center)])
    if scale is not None:
        x = graph.node("Div", [x, builder.constant(scale)])
    return inputs.changed(tensor_columns(x, inputs.width))

"""Rules for arithmetic on numbers, in double and in scikit-learn's order of operations."""

from __future__ import annotations

from collections.abc import Callable
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
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.sparse_counts import above, normalize_counts, scale_counts, terms
from scorewire_training.export.lowering.symbolic_columns import Cell, Matrix, cells
from scorewire_training.export.lowering.threshold_counting import fold_inexact
from scorewire_training.export.lowering.thresholds import Cuts

# numpy adds fewer than this many columns one after the other.
_PAIRWISE_COLUMNS = 8
# Dense rows with smaller norms stay as they are, as those of zeros do.
_LEAST_NORM = 10 * float(np.finfo(np.float64).eps)
# From this degree on, products of sparse columns that become 0 are left out.
_ELIMINATING_DEGREE = 4


@lowers(StandardScaler)
def lower_standard_scaler(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """(x - mean) / scale."""
    return _scale(draft, matrix.by_row(), step.mean_ if step.with_mean else None, step.scale_)


@lowers(RobustScaler)
def lower_robust_scaler(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """(x - median) / range."""
    center = step.center_ if step.with_centering else None
    return _scale(draft, matrix, center, step.scale_ if step.with_scaling else None)


@lowers(MaxAbsScaler)
def lower_max_abs_scaler(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """X / largest magnitude."""
    scaled = _scale(draft, matrix, None, step.scale_)
    if not getattr(step, "clip", False):
        return scaled
    x = clip(draft, draft.tensor(scaled), -1.0, 1.0)
    return scaled.changed(cells(x, matrix.width))


@lowers(MinMaxScaler)
def lower_min_max_scaler(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """X * scale + min, perhaps clipped."""
    x = draft.graph.node("Mul", [draft.tensor(matrix), draft.constant(step.scale_)])
    x = draft.graph.node("Add", [x, draft.constant(step.min_)])
    if step.clip:
        x = clip(draft, x, *step.feature_range)
    return Matrix(cells(x, matrix.width))


@lowers(PowerTransformer)
def lower_power(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Box-Cox or Yeo-Johnson with each column's exponent, then perhaps standard scaling."""
    graph, x = draft.graph, draft.tensor(matrix)
    exponents = np.asarray(step.lambdas_, dtype=np.float64)
    if step.method == "box-cox":
        x = _power(draft, graph.node("Log", [x]), exponents)
    else:
        zero = draft.constant([0.0])
        negative = graph.node("Less", [x, zero])
        # Each half sees only its own numbers, the other half's would overflow.
        up = graph.node("Where", [negative, zero, x])
        down = graph.node("Where", [negative, graph.node("Neg", [x]), zero])
        up = _power(draft, log1p(draft, up), exponents)
        down = graph.node("Neg", [_power(draft, log1p(draft, down), 2.0 - exponents)])
        x = graph.node("Where", [negative, down, up])
    powered = Matrix(cells(x, matrix.width))
    return lower_standard_scaler(draft, step._scaler, powered) if step.standardize else powered


@lowers(Normalizer)
def lower_normalizer(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Each row over its norm."""
    counts = draft.counts(matrix) if step.norm in ("l1", "l2") else None
    if counts is not None:
        return replace(matrix.by_row(), columns=terms(normalize_counts(draft.graph, counts, step.norm)))
    least = 0.0 if matrix.sparse else _LEAST_NORM
    x = normalize(draft, draft.tensor(matrix), matrix.width, step.norm, least)
    return matrix.by_row().changed(cells(x, matrix.width))


@lowers(Binarizer)
def lower_binarizer(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """1 above the threshold, else 0."""
    return binarize(draft, matrix, float(step.threshold))


@lowers(KBinsDiscretizer)
def lower_bins(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The bin that a number falls in, as a code or one-hot; NaN falls in the last."""
    graph = draft.graph
    edges = [np.asarray(own[1:-1], dtype=np.float64) for own in step.bin_edges_]
    cuts = [Cuts.of(inner, np.ones(len(inner), dtype=np.bool_)) for inner in edges]
    columns = fold_inexact(draft, matrix.columns, cuts)
    for i, (column, inner) in enumerate(zip(matrix.columns, edges, strict=True)):
        if i in columns:
            continue
        draft.add_thresholds(column, inner)
        x = draft.tensor(Matrix((column,)))
        # Not (x < edge), so that NaN counts as beyond all, as np.searchsorted has it.
        beyond = graph.node("Not", [graph.node("Less", [x, draft.constant(inner[np.newaxis, :])])])
        columns[i] = Cell(row_sum(draft, draft.cast(beyond, TensorProto.DOUBLE), len(inner)), 0, 1)
    binned = Matrix(tuple(columns[i] for i in range(matrix.width)))
    if step.encode == "ordinal":
        return binned
    codes = draft.tensor(binned)
    counts = [len(own) - 1 for own in step.bin_edges_]
    owners = graph.constant(np.repeat(np.arange(len(counts)), counts))
    places = draft.constant(np.concatenate([np.arange(float(count)) for count in counts]))
    hits = graph.node("Equal", [graph.node("Gather", [codes, owners], axis=1), places])
    spread = draft.cast(hits, TensorProto.DOUBLE)
    return Matrix(cells(spread, sum(counts)), sparse=step.encode == "onehot")


@lowers(PolynomialFeatures)
def lower_polynomial(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Products of columns, multiplied from the last factor on, as scikit-learn does."""
    products = _products(draft, draft.tensor(matrix), matrix.width, step.powers_)
    result = Matrix(cells(products, len(step.powers_)), sparse=matrix.sparse, by_column=matrix.by_column)
    if not matrix.sparse or step._max_degree >= _ELIMINATING_DEGREE:
        return result
    # A product is there where its factors are, and may have become 0.
    x = draft.tensor(matrix.pattern or matrix)
    zero = draft.constant([0.0])
    there = draft.graph.node("Where", [draft.graph.node("Equal", [x, zero]), zero, draft.constant([1.0])])
    pattern = _products(draft, there, matrix.width, step.powers_)
    return replace(result, pattern=Matrix(cells(pattern, len(step.powers_))))


def _products(draft: Draft, x: str, width: int, powers: NDArray[np.int64]) -> str:
    graph = draft.graph
    # One factor of each product at a time; a product that has run out of
    # factors goes on with the column of ones.
    one = draft.constant([1.0])
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


@lowers(FunctionTransformer)
def lower_function(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """No function at all, or one of numpy's that the graph has exactly."""
    if step.func is None:
        return matrix
    if step.func is np.ravel and matrix.width == 1:
        return replace(matrix, flat=True)
    write = FUNCTIONS.get(step.func) if callable(step.func) and not step.kw_args else None
    if write is None:
        name = getattr(step.func, "__name__", repr(step.func))
        known = ", ".join(sorted(f"numpy.{function.__name__}" for function in FUNCTIONS))
        raise UnsupportedModelError(
            f"the FunctionTransformer calls {name}, whose code cannot be translated",
            f"use one of {known}, a TextCleaner of scorewire_training.estimators,"
            " or do it before the model is fitted",
        )
    return matrix.changed(cells(write(draft, draft.tensor(matrix)), matrix.width))


def binarize(draft: Draft, matrix: Matrix, threshold: float) -> Matrix:
    """1 above the threshold, else 0."""
    counts = draft.counts(matrix) if threshold >= 0 else None
    if counts is not None:
        return replace(matrix, columns=terms(above(draft.graph, counts, threshold)), pattern=None)
    cut = Cuts.of(np.array([threshold]), np.array([False]))
    columns = fold_inexact(draft, matrix.columns, [cut] * matrix.width)
    others = [i for i in range(matrix.width) if i not in columns]
    if others:
        for i in others:
            draft.add_thresholds(matrix.columns[i], [threshold])
        over = draft.graph.node("Greater", [draft.tensor(matrix.take(others)), draft.constant([threshold])])
        columns.update(zip(others, cells(draft.cast(over, TensorProto.DOUBLE), len(others)), strict=True))
    return Matrix(tuple(columns[i] for i in range(matrix.width)), sparse=matrix.sparse)


def times(draft: Draft, matrix: Matrix, factors: NDArray[np.float64]) -> Matrix:
    """Columns times a factor each, or all times one."""
    counts = draft.counts(matrix)
    if counts is not None:
        return replace(matrix, columns=terms(scale_counts(draft.graph, counts, factors)))
    x = draft.graph.node("Mul", [draft.tensor(matrix), draft.constant(factors)])
    return matrix.changed(cells(x, matrix.width))


def clip(draft: Draft, x: str, low: float, high: float) -> str:
    """Numbers cut to a range; NaN stays NaN."""
    graph = draft.graph
    bottom, top = draft.constant([low]), draft.constant([high])
    x = graph.node("Where", [graph.node("Less", [x, bottom]), bottom, x])
    return graph.node("Where", [graph.node("Greater", [x, top]), top, x])


def normalize(draft: Draft, x: str, width: int, kind: str, least: float = 0.0) -> str:
    """Rows over their "l1", "l2" or "max" norm; rows of zeros, or with a smaller norm than `least`, stay."""
    graph = draft.graph
    if kind == "l2":
        norm = graph.node("Sqrt", [row_sum(draft, graph.node("Mul", [x, x]), width)])
    elif kind == "l1":
        norm = row_sum(draft, graph.node("Abs", [x]), width)
    else:
        norm = largest(draft, graph.node("Abs", [x]))
    if least:
        stays = graph.node("Less", [norm, draft.constant([least])])
    else:
        stays = graph.node("Equal", [norm, draft.constant([0.0])])
    return graph.node("Div", [x, graph.node("Where", [stays, draft.constant([1.0]), norm])])


def largest(draft: Draft, x: str) -> str:
    """The largest number of each row, shape [rows, 1]."""
    # ReduceMax would take its axes in one way or another, by the operator set.
    return draft.graph.nodes("TopK", [x, draft.graph.constant(np.array([1]))], 2, axis=1)[0]


def from_logs(draft: Draft, x: str, width: int) -> str:
    """Shares from their logarithms but for a common part, the way of scipy's logsumexp.

    Where the logarithms are so large that the sum's is lost in them, the shares
    do not add up to one, and where some are infinite, theirs are no numbers.
    """
    graph = draft.graph
    top = largest(draft, x)
    finite = graph.node("Less", [graph.node("Abs", [top]), draft.constant([np.inf])])
    top = graph.node("Where", [finite, top, draft.constant([0.0])])
    total = row_sum(draft, graph.node("Exp", [graph.node("Sub", [x, top])]), width)
    return graph.node("Exp", [graph.node("Sub", [x, graph.node("Add", [graph.node("Log", [total]), top])])])


def row_sum(draft: Draft, x: str, width: int) -> str:
    """Sums of rows of that width, shape [rows, 1]."""
    graph = draft.graph
    if not 0 < width < _PAIRWISE_COLUMNS:
        return graph.node("ReduceSum", [x, graph.constant(np.array([1]))], keepdims=1)
    # From the left, as numpy adds few columns. ReduceSum's order depends on how many rows there are.
    columns = graph.nodes("Split", [x, graph.constant(np.ones(width, dtype=np.int64))], width, axis=1)
    return graph.node("Sum", columns)


def share_out(draft: Draft, x: str, width: int) -> str:
    """Rows over their sums; a row of zeros is shared out evenly."""
    graph = draft.graph
    total = row_sum(draft, x, width)
    nothing = graph.node("Equal", [total, draft.constant([0.0])])
    return graph.node("Where", [nothing, draft.constant([1.0 / width]), graph.node("Div", [x, total])])


def log1p(draft: Draft, x: str) -> str:
    """log(1 + x) without the loss of small x (Kahan): log(u) * x / (u - 1) with u = 1 + x."""
    graph, one = draft.graph, draft.constant([1.0])
    u = graph.node("Add", [x, one])
    log = graph.node("Log", [u])
    ratio = graph.node("Div", [x, graph.node("Sub", [u, one])])
    near = graph.node("Mul", [log, ratio])
    # Far from 0 the plain logarithm is exact, and infinity no quotient.
    small = graph.node("Less", [graph.node("Abs", [x]), draft.constant([0.5])])
    result = graph.node("Where", [small, near, log])
    return graph.node("Where", [graph.node("Equal", [u, one]), x, result])


def expm1(draft: Draft, x: str) -> str:
    """exp(x) - 1 without the loss of small x (Kahan): (u - 1) * x / log(u) with u = exp(x)."""
    graph, one = draft.graph, draft.constant([1.0])
    u = graph.node("Exp", [x])
    plain = graph.node("Sub", [u, one])
    near = graph.node("Mul", [plain, graph.node("Div", [x, graph.node("Log", [u])])])
    small = graph.node("Less", [graph.node("Abs", [x]), draft.constant([0.5])])
    result = graph.node("Where", [small, near, plain])
    return graph.node("Where", [graph.node("Equal", [u, one]), x, result])


def _unary(op_type: str) -> Callable[[Draft, str], str]:
    return lambda draft, x: draft.graph.node(op_type, [x])


def _square(draft: Draft, x: str) -> str:
    return draft.graph.node("Mul", [x, x])


def _cbrt(draft: Draft, x: str) -> str:
    """The sign of x times exp(log(|x|) / 3)."""
    graph = draft.graph
    log = graph.node("Log", [graph.node("Abs", [x])])
    root = graph.node("Exp", [graph.node("Div", [log, draft.constant([3.0])])])
    return graph.node("Mul", [graph.node("Sign", [x]), root])


def _logarithm(base: float) -> Callable[[Draft, str], str]:
    def write(draft: Draft, x: str) -> str:
        return draft.graph.node("Div", [draft.graph.node("Log", [x]), draft.constant([np.log(base)])])

    return write


FUNCTIONS: dict[Any, Callable[[Draft, str], str]] = {
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


def _power(draft: Draft, log: str, exponents: NDArray[np.float64]) -> str:
    """(exp(exponent x log) - 1) / exponent, which is the log itself where the exponent is 0."""
    graph = draft.graph
    flat = np.abs(exponents) < np.spacing(1.0)
    safe = draft.constant(np.where(flat, 1.0, exponents))
    raised = graph.node("Div", [expm1(draft, graph.node("Mul", [log, safe])), safe])
    return graph.node("Where", [graph.constant(flat), log, raised])


def _scale(
    draft: Draft, matrix: Matrix, center: NDArray[np.float64] | None, scale: NDArray[np.float64] | None
) -> Matrix:
    graph: Graph = draft.graph
    if center is None and scale is None:
        return matrix
    if scale is not None and matrix.sparse:
        # By the reciprocal, which rounds otherwise; a sparse matrix has no center.
        return times(draft, matrix, 1.0 / scale)
    x = draft.tensor(matrix)
    if center is not None:
        x = graph.node("Sub", [x, draft.constant(center)])
    if scale is not None:
        x = graph.node("Div", [x, draft.constant(scale)])
    return matrix.changed(cells(x, matrix.width))

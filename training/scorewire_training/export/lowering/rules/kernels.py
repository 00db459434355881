"""Kernel methods, in double: sums over support vectors or over training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import KernelPCA
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVR, NuSVR, OneClassSVM

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import row_sum
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import PredictionTensors, outlier_prediction
from scorewire_training.export.lowering.registry import lowers_model, lowers_step
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, tensor_columns

_KERNELS = ("linear", "poly", "rbf", "sigmoid")


@lowers_model(SVR, NuSVR)
def lower_support_vector_regressor(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """The weighted sum of kernels over the support vectors."""
    return PredictionTensors(family=type(model).__name__, value=_sum(builder, model, inputs))


@lowers_model(OneClassSVM)
def lower_one_class(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The weighted sum of kernels over the support vectors; rows above 0 are like the training rows."""
    decision = _sum(builder, model, inputs)
    inside = builder.graph.node("Greater", [decision, builder.constant([0.0])])
    return outlier_prediction(builder, "OneClassSVM", decision, inside)


@lowers_model(KernelRidge)
def lower_kernel_ridge(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The kernels of the row and each training row, times the coefficients."""
    kernel = _Kernel(_kind(model), model.gamma, float(model.coef0), float(model.degree))
    values = _kernels(builder, model, kernel, inputs, model.X_fit_)
    weights = np.asarray(model.dual_coef_, np.float64).reshape(len(model.X_fit_), -1)
    value = builder.graph.node("MatMul", [values, builder.constant(weights)])
    return PredictionTensors(family=f"KernelRidge ({kernel.kind})", value=value, width=weights.shape[1])


@lowers_step(Nystroem)
def lower_nystroem(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The kernels of the row and some training rows, rotated."""
    if step.kernel_params:
        raise UnsupportedModelError("Nystroem has kernel_params", "give gamma, coef0 and degree themselves")
    coef0, degree = 1 if step.coef0 is None else step.coef0, 3 if step.degree is None else step.degree
    kernel = _Kernel(_kind(step), step.gamma, float(coef0), float(degree))
    values = _kernels(builder, step, kernel, inputs, step.components_)
    x = builder.graph.node("MatMul", [values, builder.constant(step.normalization_.T)])
    return SymbolicColumns(tensor_columns(x, len(step.normalization_)))


@lowers_step(KernelPCA)
def lower_kernel_pca(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The centered kernels of the row and each training row, rotated."""
    graph, centers = builder.graph, step._centerer
    kernel = _Kernel(_kind(step), step.gamma_, float(step.coef0), float(step.degree))
    values = _kernels(builder, step, kernel, inputs, step.X_fit_)
    count = len(step.X_fit_)
    mean = graph.node("Div", [row_sum(builder, values, count), builder.constant([float(count)])])
    centered = graph.node("Sub", [values, builder.constant(centers.K_fit_rows_)])
    centered = graph.node("Sub", [centered, mean])
    centered = graph.node("Add", [centered, builder.constant([float(centers.K_fit_all_)])])
    used = step.eigenvalues_ != 0
    rotation = np.zeros_like(step.eigenvectors_)
    rotation[:, used] = step.eigenvectors_[:, used] / np.sqrt(step.eigenvalues_[used])
    return SymbolicColumns(
        tensor_columns(graph.node("MatMul", [centered, builder.constant(rotation)]), rotation.shape[1])
    )


@dataclass(frozen=True, slots=True)
class _Kernel:
    """A kernel of scikit-learn's pairwise metrics; without gamma, gamma is 1 / number of columns."""

    kind: str
    gamma: float | None
    coef0: float
    degree: float


def _kind(model: Any) -> str:
    kernel = model.kernel
    if kernel in _KERNELS:
        return str(kernel)
    name = kernel if isinstance(kernel, str) else getattr(kernel, "__name__", "a function")
    raise UnsupportedModelError(
        f"{type(model).__name__}'s kernel {name!r} cannot be translated",
        f"use one of {', '.join(map(repr, _KERNELS))}",
    )


def _kernels(
    builder: GraphBuilder,
    model: Any,
    kernel: _Kernel,
    inputs: SymbolicColumns,
    vectors: Any,
    *,
    lost_is_far: bool = False,
) -> str:
    """The kernels of each row and each vector, [rows, vectors].

    Where both parts of a distance overflow, their difference is NaN. libsvm treats
    such a row as infinitely far away (`lost_is_far`).
    """
    vectors = vectors.toarray() if hasattr(vectors, "toarray") else vectors
    if vectors.dtype != np.float64:
        raise UnsupportedModelError(
            f"{type(model).__name__} was fitted on {vectors.dtype}, in which its kernels are rounded",
            "fit it on float64",
        )
    graph, x = builder.graph, builder.tensor(inputs)
    gamma = builder.constant([1.0 / inputs.width if kernel.gamma is None else float(kernel.gamma)])
    cross = graph.node("MatMul", [x, builder.constant(vectors.T)])
    if kernel.kind == "linear":
        return cross
    if kernel.kind == "rbf":
        distance = squared_distances(builder, x, cross, vectors)
        if lost_is_far:
            far = builder.constant([np.inf])
            distance = graph.node("Where", [graph.node("IsNaN", [distance]), far, distance])
        return graph.node("Exp", [graph.node("Neg", [graph.node("Mul", [gamma, distance])])])
    line = graph.node("Add", [graph.node("Mul", [gamma, cross]), builder.constant([kernel.coef0])])
    if kernel.kind == "poly":
        return graph.node("Pow", [line, builder.constant([kernel.degree])])
    return graph.node("Tanh", [line])


def squared_distances(builder: GraphBuilder, x: str, cross: str, vectors: NDArray[np.float64]) -> str:
    """The squared distances of each row and each vector; NaN where both parts overflow."""
    square = row_sum(builder, builder.graph.node("Mul", [x, x]), vectors.shape[1])
    both = builder.graph.node("Add", [square, builder.constant((vectors**2).sum(axis=1))])
    return builder.graph.node("Sub", [both, builder.graph.node("Mul", [cross, builder.constant([2.0])])])


def _sum(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> str:
    """The weighted sum of kernels over the support vectors, plus the intercept; [rows, 1]."""
    kernel = _Kernel(_kind(model), float(model._gamma), float(model.coef0), float(model.degree))
    values = _kernels(builder, model, kernel, inputs, model.support_vectors_, lost_is_far=True)
    weights = model.dual_coef_
    weights = weights.toarray() if hasattr(weights, "toarray") else weights
    total = builder.graph.node("MatMul", [values, builder.constant(np.asarray(weights).T)])
    return builder.graph.node("Add", [total, builder.constant(model.intercept_)])

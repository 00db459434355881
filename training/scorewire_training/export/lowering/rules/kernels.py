"""Kernels, in double: what libsvm sums up over support vectors, and scikit-learn over rows of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import Birch, BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.decomposition import KernelPCA
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVR, NuSVR, OneClassSVM

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.prediction_tensors import Answer, answers, outlier_answer
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.rules.scaling import clip, row_sum
from scorewire_training.export.lowering.symbolic_columns import Matrix, cells

_KERNELS = ("linear", "poly", "rbf", "sigmoid")


@answers(SVR, NuSVR)
def lower_support_vector_regressor(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The sum over the support vectors."""
    return Answer(family=type(model).__name__, value=_sum(draft, model, matrix))


@answers(OneClassSVM)
def lower_one_class(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """The sum over the support vectors; rows above 0 are like those of training."""
    decision = _sum(draft, model, matrix)
    inside = draft.graph.node("Greater", [decision, draft.constant([0.0])])
    return outlier_answer(draft, "OneClassSVM", decision, inside)


@answers(KernelRidge)
def lower_kernel_ridge(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """Kernels of the row and each row of training, times their coefficients."""
    kernel = _Kernel(_kind(model), model.gamma, float(model.coef0), float(model.degree))
    values = _kernels(draft, model, kernel, matrix, model.X_fit_)
    weights = np.asarray(model.dual_coef_, np.float64).reshape(len(model.X_fit_), -1)
    value = draft.graph.node("MatMul", [values, draft.constant(weights)])
    return Answer(family=f"KernelRidge ({kernel.kind})", value=value, width=weights.shape[1])


@lowers(Nystroem)
def lower_nystroem(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Kernels of the row and some rows of training, rotated."""
    if step.kernel_params:
        raise UnsupportedModelError("Nystroem has kernel_params", "give gamma, coef0 and degree themselves")
    coef0, degree = 1 if step.coef0 is None else step.coef0, 3 if step.degree is None else step.degree
    kernel = _Kernel(_kind(step), step.gamma, float(coef0), float(degree))
    values = _kernels(draft, step, kernel, matrix, step.components_)
    x = draft.graph.node("MatMul", [values, draft.constant(step.normalization_.T)])
    return Matrix(cells(x, len(step.normalization_)))


@lowers(KernelPCA)
def lower_kernel_pca(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """Centered kernels of the row and each row of training, rotated."""
    graph, centers = draft.graph, step._centerer
    kernel = _Kernel(_kind(step), step.gamma_, float(step.coef0), float(step.degree))
    values = _kernels(draft, step, kernel, matrix, step.X_fit_)
    count = len(step.X_fit_)
    mean = graph.node("Div", [row_sum(draft, values, count), draft.constant([float(count)])])
    centered = graph.node("Sub", [values, draft.constant(centers.K_fit_rows_)])
    centered = graph.node("Sub", [centered, mean])
    centered = graph.node("Add", [centered, draft.constant([float(centers.K_fit_all_)])])
    used = step.eigenvalues_ != 0
    rotation = np.zeros_like(step.eigenvectors_)
    rotation[:, used] = step.eigenvectors_[:, used] / np.sqrt(step.eigenvalues_[used])
    return Matrix(cells(graph.node("MatMul", [centered, draft.constant(rotation)]), rotation.shape[1]))


@lowers(KMeans, MiniBatchKMeans, BisectingKMeans, Birch)
def lower_center_distances(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The distance from each center."""
    centers = step.subcluster_centers_ if isinstance(step, Birch) else step.cluster_centers_
    centers = np.asarray(centers, np.float64)
    x = draft.tensor(matrix)
    square = _distances(draft, x, draft.graph.node("MatMul", [x, draft.constant(centers.T)]), centers)
    return Matrix(cells(draft.graph.node("Sqrt", [clip(draft, square, 0.0, np.inf)]), len(centers)))


@dataclass(frozen=True, slots=True)
class _Kernel:
    """A kernel of scikit-learn's pairwise metrics; no gamma is one over the columns."""

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
    draft: Draft, model: Any, kernel: _Kernel, matrix: Matrix, vectors: Any, *, lost_is_far: bool = False
) -> str:
    """Kernels of each row and each vector, [rows, vectors].

    Where both parts of a distance overflow, their difference is no number; to
    libsvm (`lost_is_far`) such a row is infinitely far away.
    """
    vectors = vectors.toarray() if hasattr(vectors, "toarray") else vectors
    if vectors.dtype != np.float64:
        raise UnsupportedModelError(
            f"{type(model).__name__} was fitted on {vectors.dtype}, in which its kernels are rounded",
            "fit it on float64",
        )
    graph, x = draft.graph, draft.tensor(matrix)
    gamma = draft.constant([1.0 / matrix.width if kernel.gamma is None else float(kernel.gamma)])
    cross = graph.node("MatMul", [x, draft.constant(vectors.T)])
    if kernel.kind == "linear":
        return cross
    if kernel.kind == "rbf":
        distance = _distances(draft, x, cross, vectors)
        if lost_is_far:
            far = draft.constant([np.inf])
            distance = graph.node("Where", [graph.node("IsNaN", [distance]), far, distance])
        return graph.node("Exp", [graph.node("Neg", [graph.node("Mul", [gamma, distance])])])
    line = graph.node("Add", [graph.node("Mul", [gamma, cross]), draft.constant([kernel.coef0])])
    if kernel.kind == "poly":
        return graph.node("Pow", [line, draft.constant([kernel.degree])])
    return graph.node("Tanh", [line])


def _distances(draft: Draft, x: str, cross: str, vectors: NDArray[np.float64]) -> str:
    """Squared distances of each row and each vector; NaN where both their parts overflow."""
    square = row_sum(draft, draft.graph.node("Mul", [x, x]), vectors.shape[1])
    both = draft.graph.node("Add", [square, draft.constant((vectors**2).sum(axis=1))])
    return draft.graph.node("Sub", [both, draft.graph.node("Mul", [cross, draft.constant([2.0])])])


def _sum(draft: Draft, model: Any, matrix: Matrix) -> str:
    """Weighted kernels of the row and each support vector, plus the intercept; [rows, 1]."""
    kernel = _Kernel(_kind(model), float(model._gamma), float(model.coef0), float(model.degree))
    values = _kernels(draft, model, kernel, matrix, model.support_vectors_, lost_is_far=True)
    weights = model.dual_coef_
    weights = weights.toarray() if hasattr(weights, "toarray") else weights
    total = draft.graph.node("MatMul", [values, draft.constant(np.asarray(weights).T)])
    return draft.graph.node("Add", [total, draft.constant(model.intercept_)])

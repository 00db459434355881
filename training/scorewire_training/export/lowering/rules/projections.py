"""Rules for steps that make columns out of all columns: rotations, means of groups, distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from sklearn.cluster import FeatureAgglomeration
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.decomposition import (
    PCA,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    MiniBatchSparsePCA,
    SparsePCA,
    TruncatedSVD,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.registry import lowers
from scorewire_training.export.lowering.symbolic_columns import Matrix, cells


@lowers(PCA, IncrementalPCA)
def lower_pca(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """X times the components, minus the mean's."""
    graph = draft.graph
    x = draft.product(matrix, step.components_.T)
    x = graph.node("Sub", [x, draft.constant(step.mean_.reshape(1, -1) @ step.components_.T)])
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        smallest = np.finfo(scale.dtype).eps
        scale[scale < smallest] = smallest
        x = graph.node("Div", [x, draft.constant(scale)])
    return Matrix(cells(x, len(step.components_)))


@lowers(TruncatedSVD, NeighborhoodComponentsAnalysis, GaussianRandomProjection, SparseRandomProjection)
def lower_components(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """X times the components."""
    components = step.components_
    dense = components.toarray() if hasattr(components, "toarray") else components
    return _project(draft, matrix, None, dense.T)


@lowers(FactorAnalysis)
def lower_factors(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The expected factors of each row."""
    weighted = step.components_ / step.noise_variance_
    covariance = linalg.inv(np.eye(len(step.components_)) + weighted @ step.components_.T)
    return _project(draft, matrix, step.mean_, weighted.T @ covariance)


@lowers(FastICA)
def lower_independent(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The unmixed sources of each row."""
    return _project(draft, matrix, step.mean_ if step.whiten else None, step.components_.T)


@lowers(SparsePCA, MiniBatchSparsePCA)
def lower_sparse_pca(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The ridge regression of each row on the components."""
    components = step.components_
    gram = components @ components.T
    gram.flat[:: len(gram) + 1] += step.ridge_alpha
    return _project(draft, matrix, step.mean_, linalg.solve(gram, components, assume_a="pos").T)


@lowers(LinearDiscriminantAnalysis)
def lower_discriminants(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """What tells the classes apart best, from the first on."""
    center = step.xbar_ if step.solver == "svd" else None
    return _project(draft, matrix, center, step.scalings_[:, : step._max_components])


@lowers(PLSRegression, PLSCanonical, CCA, PLSSVD)
def lower_latent(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The latent variables of each row."""
    rotation = step.x_weights_ if isinstance(step, PLSSVD) else step.x_rotations_
    x = draft.graph.node("Sub", [draft.tensor(matrix), draft.constant(step._x_mean)])
    x = draft.graph.node("Div", [x, draft.constant(step._x_std)])
    return _project(draft, Matrix(cells(x, matrix.width)), None, rotation)


@lowers(FeatureAgglomeration)
def lower_agglomeration(draft: Draft, step: Any, matrix: Matrix) -> Matrix:
    """The mean of each group of columns."""
    if step.pooling_func is not np.mean:
        raise UnsupportedModelError(
            "FeatureAgglomeration pools columns by a function that cannot be translated",
            "leave pooling_func at numpy.mean",
        )
    groups = np.eye(step.labels_.max() + 1)[step.labels_]
    total = draft.product(matrix, groups)
    return Matrix(
        cells(draft.graph.node("Div", [total, draft.constant(groups.sum(axis=0))]), groups.shape[1])
    )


def _project(
    draft: Draft, matrix: Matrix, center: NDArray[np.float64] | None, rotation: NDArray[np.float64]
) -> Matrix:
    if center is None:
        return Matrix(cells(draft.product(matrix, rotation), rotation.shape[1]))
    x = draft.graph.node("Sub", [draft.tensor(matrix), draft.constant(center)])
    x = draft.graph.node("MatMul", [x, draft.constant(rotation)])
    return Matrix(cells(x, rotation.shape[1]))

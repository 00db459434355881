"""Steps whose output columns each depend on all input columns: projections and means of groups."""

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
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, tensor_columns


@lowers_step(PCA, IncrementalPCA)
def lower_pca(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """X @ components - mean @ components."""
    graph = builder.graph
    x = builder.product(inputs, step.components_.T)
    x = graph.node("Sub", [x, builder.constant(step.mean_.reshape(1, -1) @ step.components_.T)])
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        smallest = np.finfo(scale.dtype).eps
        scale[scale < smallest] = smallest
        x = graph.node("Div", [x, builder.constant(scale)])
    return SymbolicColumns(tensor_columns(x, len(step.components_)))


@lowers_step(TruncatedSVD, NeighborhoodComponentsAnalysis, GaussianRandomProjection, SparseRandomProjection)
def lower_components(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """X @ components."""
    components = step.components_
    dense = components.toarray() if hasattr(components, "toarray") else components
    return _project(builder, inputs, None, dense.T)


@lowers_step(FactorAnalysis)
def lower_factors(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The expected factors of each row."""
    weighted = step.components_ / step.noise_variance_
    covariance = linalg.inv(np.eye(len(step.components_)) + weighted @ step.components_.T)
    return _project(builder, inputs, step.mean_, weighted.T @ covariance)


@lowers_step(FastICA)
def lower_independent(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The unmixed sources of each row."""
    return _project(builder, inputs, step.mean_ if step.whiten else None, step.components_.T)


@lowers_step(SparsePCA, MiniBatchSparsePCA)
def lower_sparse_pca(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The ridge regression of each row on the components."""
    components = step.components_
    gram = components @ components.T
    gram.flat[:: len(gram) + 1] += step.ridge_alpha
    return _project(builder, inputs, step.mean_, linalg.solve(gram, components, assume_a="pos").T)


@lowers_step(LinearDiscriminantAnalysis)
def lower_discriminants(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The discriminant components, from the best on."""
    center = step.xbar_ if step.solver == "svd" else None
    return _project(builder, inputs, center, step.scalings_[:, : step._max_components])


@lowers_step(PLSRegression, PLSCanonical, CCA, PLSSVD)
def lower_latent(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The latent variables of each row."""
    rotation = step.x_weights_ if isinstance(step, PLSSVD) else step.x_rotations_
    x = builder.graph.node("Sub", [builder.tensor(inputs), builder.constant(step._x_mean)])
    x = builder.graph.node("Div", [x, builder.constant(step._x_std)])
    return _project(builder, SymbolicColumns(tensor_columns(x, inputs.width)), None, rotation)


@lowers_step(FeatureAgglomeration)
def lower_agglomeration(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The mean of each group of columns."""
    if step.pooling_func is not np.mean:
        raise UnsupportedModelError(
            "FeatureAgglomeration pools columns by a function that cannot be translated",
            "leave pooling_func at numpy.mean",
        )
    groups = np.eye(step.labels_.max() + 1)[step.labels_]
    total = builder.product(inputs, groups)
    return SymbolicColumns(
        tensor_columns(
            builder.graph.node("Div", [total, builder.constant(groups.sum(axis=0))]), groups.shape[1]
        )
    )


def _project(
    builder: GraphBuilder,
    inputs: SymbolicColumns,
    center: NDArray[np.float64] | None,
    rotation: NDArray[np.float64],
) -> SymbolicColumns:
    if center is None:
        return SymbolicColumns(tensor_columns(builder.product(inputs, rotation), rotation.shape[1]))
    x = builder.graph.node("Sub", [builder.tensor(inputs), builder.constant(center)])
    x = builder.graph.node("MatMul", [x, builder.constant(rotation)])
    return SymbolicColumns(tensor_columns(x, rotation.shape[1]))

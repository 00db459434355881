from __future__ import annotations

from typing import Any

import numpy as np
import pytest
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
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    step_name,
    target,
)

FRAME = build_frame()[NUMBERS]


@pytest.mark.parametrize(
    "step",
    [
        PCA(2),
        PCA(3, whiten=True),
        IncrementalPCA(2),
        TruncatedSVD(2),
        FactorAnalysis(2),
        FastICA(2, random_state=0, max_iter=2_000, tol=0.01),
        SparsePCA(2, random_state=0),
        MiniBatchSparsePCA(2, random_state=0, max_iter=20),
        GaussianRandomProjection(3, random_state=0),
        SparseRandomProjection(3, random_state=0),
        FeatureAgglomeration(2),
    ],
    ids=step_name,
)
def test_columns_made_of_all_columns(step: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), step, Ridge()).fit(FRAME, target(build_frame()))
    check_same(pipeline, hard_rows(FRAME, holes=False), sample=FRAME)


@pytest.mark.parametrize(
    "step",
    [
        LinearDiscriminantAnalysis(),
        LinearDiscriminantAnalysis(solver="eigen", n_components=1),
        NeighborhoodComponentsAnalysis(2, random_state=0, max_iter=20),
    ],
    ids=step_name,
)
def test_columns_that_tell_classes_apart(step: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), step, LogisticRegression()).fit(
        FRAME, classes(build_frame(), 3)
    )
    check_same(pipeline, hard_rows(FRAME, holes=False), sample=FRAME)


@pytest.mark.parametrize("model", [PLSRegression(2), PLSCanonical(2), CCA(2), PLSSVD(2)], ids=step_name)
def test_latent_variables(model: Any) -> None:
    numbers = target(build_frame())
    pair = np.column_stack([numbers, np.sqrt(np.abs(numbers))])
    check_same(model.fit(FRAME, pair), FRAME)
    if isinstance(model, PLSRegression):
        check_same(make_pipeline(StandardScaler(), model).fit(FRAME, numbers), FRAME)
        # Wrapped so that it only transforms: its own fit_transform returns a pair.
        last = Ridge().fit(model.fit(FRAME, numbers).transform(FRAME), numbers)
        check_same(make_pipeline(model, last), FRAME)


def test_other_means_of_groups_are_refused() -> None:
    pipeline = make_pipeline(FeatureAgglomeration(2, pooling_func=np.median), Ridge())
    with pytest.raises(UnsupportedModelError, match="pooling_func"):
        lower(pipeline.fit(FRAME, target(build_frame())), FRAME)

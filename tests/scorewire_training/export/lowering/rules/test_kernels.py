from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import Birch, BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import KernelPCA
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    score,
    target,
)

FRAME = build_frame()[NUMBERS]
pytestmark = pytest.mark.filterwarnings("ignore:Singular matrix in solving dual problem")


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_kernels_of_rows_of_training(kernel: str) -> None:
    numbers = target(build_frame())
    ridge = make_pipeline(StandardScaler(), KernelRidge(kernel=kernel, alpha=1.0, gamma=0.3, degree=2))
    check_same(ridge.fit(FRAME, numbers), FRAME)
    check_same(ridge.fit(FRAME, np.column_stack([numbers, -numbers])), FRAME)
    some = make_pipeline(StandardScaler(), Nystroem(kernel=kernel, n_components=20, random_state=0), Ridge())
    check_same(some.fit(FRAME, numbers), FRAME)
    rotated = make_pipeline(StandardScaler(), KernelPCA(3, kernel=kernel), Ridge())
    check_same(rotated.fit(FRAME, numbers), FRAME)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (KernelRidge(kernel="laplacian"), "kernel 'laplacian'"),
        (KernelRidge(kernel=lambda a, b: float(a @ b)), "kernel '<lambda>'"),
        (make_pipeline(Nystroem(n_components=5, kernel_params={"gamma": 0.1}), Ridge()), "kernel_params"),
        (GaussianMixture(2, covariance_type="diag", random_state=0), "covariance_type='full'"),
    ],
)
def test_kernels_and_mixtures_that_cannot_be_translated_are_refused(model: Any, reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        lower(model.fit(FRAME, target(build_frame())), FRAME)


def test_kernels_in_single_precision_are_refused() -> None:
    model = KernelRidge().fit(FRAME.astype(np.float32), target(build_frame()))
    with pytest.raises(UnsupportedModelError, match="fitted on float32"):
        lower(model, FRAME)


@pytest.mark.parametrize(
    "step",
    [
        KMeans(4, n_init=1, random_state=0),
        MiniBatchKMeans(4, n_init=1, random_state=0),
        BisectingKMeans(4, random_state=0),
        Birch(threshold=0.8, n_clusters=None),
    ],
    ids=lambda step: type(step).__name__,
)
def test_distances_from_centers(step: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), step, Ridge()).fit(FRAME, target(build_frame()))
    check_same(pipeline, hard_rows(FRAME, holes=False), sample=FRAME)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_mixtures(kind: Any, covariance: str) -> None:
    rows = FRAME.assign(amount=FRAME["amount"] * 1e6)
    model = kind(n_components=3, covariance_type=covariance, random_state=0)
    scaled = make_pipeline(StandardScaler(), clone(model))
    for fitted, frame in ((model.fit(FRAME), FRAME), (scaled.fit(rows), rows)):
        lowered = lower(fitted, frame)
        far = hard_rows(frame, holes=False)
        found = score(lowered, far)
        np.testing.assert_allclose(found["probabilities"], fitted.predict_proba(far), rtol=5e-6, atol=1e-9)
        assert (found["label"].ravel() == fitted.predict(far)).all()


def test_shares_of_rows_so_far_away_that_all_classes_are_alike() -> None:
    frame = FRAME[["ratio"]]
    model = GaussianNB(var_smoothing=0.0).fit(frame, classes(build_frame()))
    model.var_[:] = model.var_[0]
    far = frame.head(2).assign(ratio=[1e30, -1e30])
    assert model.predict_proba(far) == pytest.approx(1.0)
    check_same(model, far, sample=frame)


@pytest.mark.filterwarnings("ignore:Determinant has increased")
def test_an_envelope_around_all_rows() -> None:
    model = EllipticEnvelope(random_state=0, contamination=0.1).fit(FRAME)
    check_same(model, hard_rows(FRAME, holes=False), sample=FRAME)

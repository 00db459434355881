from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVR, NuSVR, OneClassSVM

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    TEXTS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    target,
)

FRAME = build_frame()[NUMBERS]


@pytest.mark.parametrize(
    "model",
    [
        DummyClassifier(),
        DummyClassifier(strategy="most_frequent"),
        DummyClassifier(strategy="constant", constant=2),
        make_pipeline(StandardScaler(), DummyClassifier()),
    ],
    ids=str,
)
def test_dummies_of_classes(model: Any) -> None:
    check_same(model.fit(FRAME, classes(build_frame(), 3)), hard_rows(FRAME, holes=False), sample=FRAME)


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_dummies_of_numbers(strategy: str) -> None:
    model = DummyRegressor(strategy=strategy)
    check_same(model.fit(FRAME, target(build_frame())), hard_rows(FRAME, holes=False), sample=FRAME)
    check_same(model.fit(FRAME, FRAME[["amount", "ratio"]]), FRAME)


def test_dummies_that_draw_lots_are_refused() -> None:
    model = DummyClassifier(strategy="stratified").fit(FRAME, classes(build_frame()))
    with pytest.raises(UnsupportedModelError, match="at random"):
        lower(model, FRAME)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_clusters(kind: Any) -> None:
    model = make_pipeline(StandardScaler(), kind(n_clusters=5, n_init=1, random_state=0))
    check_same(model.fit(FRAME), hard_rows(FRAME, holes=False), sample=FRAME)


def test_clusters_in_single_precision_are_refused() -> None:
    model = KMeans(n_clusters=3, n_init=1).fit(FRAME.astype(np.float32))
    with pytest.raises(UnsupportedModelError, match="fitted on float32"):
        lower(model, FRAME)


def test_pipelines_that_end_in_a_transformer() -> None:
    check_same(make_pipeline(StandardScaler(), PCA(2)).fit(FRAME), FRAME)
    texts = build_frame()[TEXTS]
    check_same(OneHotEncoder(handle_unknown="ignore").fit(texts), texts)


@pytest.mark.parametrize("options", [{}, {"max_features": 0.5}, {"contamination": 0.1, "bootstrap": True}])
def test_isolation_forests(options: dict[str, Any]) -> None:
    model = IsolationForest(n_estimators=20, random_state=0, **options).fit(FRAME)
    check_same(model, hard_rows(FRAME, holes=False), sample=FRAME)
    check_same(make_pipeline(StandardScaler(), model).fit(FRAME), FRAME)


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
@pytest.mark.parametrize("kind", [SVR, NuSVR, OneClassSVM])
def test_support_vectors(kind: Any, kernel: str) -> None:
    model = make_pipeline(StandardScaler(), kind(kernel=kernel, coef0=0.5, degree=2))
    check_same(model.fit(FRAME, target(build_frame())), FRAME)


def test_rows_beyond_all_support_vectors_have_no_kernel() -> None:
    frame = FRAME[["amount", "ratio"]]
    model = SVR().fit(frame, target(build_frame()))
    far = frame.head(3).assign(amount=[1.7e308, -1.7e308, 1e200], ratio=[0.5, 1e300, -1e160])
    check_same(model, far, sample=frame)
    assert model.predict(far) == pytest.approx(model.intercept_.repeat(3))


def test_kernels_that_are_functions_are_refused() -> None:
    model = SVR(kernel=lambda a, b: a @ b.T).fit(FRAME[["ratio"]], FRAME["ratio"])
    with pytest.raises(UnsupportedModelError, match="kernel '<lambda>'"):
        lower(model, FRAME[["ratio"]])

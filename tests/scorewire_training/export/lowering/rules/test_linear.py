from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeCV,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from scorewire_training.releases import SKLEARN_RELEASE
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    target,
)


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(),
        LinearRegression(fit_intercept=False),
        Ridge(),
        RidgeCV(),
        Lasso(),
        ElasticNet(),
        BayesianRidge(),
        HuberRegressor(max_iter=500),
        SGDRegressor(random_state=0),
        LinearSVR(random_state=0, max_iter=20_000),
        QuantileRegressor(solver="highs", alpha=0.01),
        TweedieRegressor(power=0, link="identity", max_iter=500),
    ],
    ids=str,
)
def test_linear_regressor(model: Any) -> None:
    frame = build_frame()[NUMBERS]
    pipeline = make_pipeline(StandardScaler(), model).fit(frame, target(build_frame()))
    check_same(pipeline, hard_rows(frame, holes=False), sample=frame)


@pytest.mark.parametrize(
    "model",
    [PoissonRegressor(max_iter=500), GammaRegressor(max_iter=500), TweedieRegressor(power=1.5, max_iter=500)],
    ids=str,
)
def test_regressor_with_a_log_link(model: Any) -> None:
    frame = build_frame()[NUMBERS]
    y = np.exp(target(build_frame()) / 10.0)
    check_same(make_pipeline(StandardScaler(), model).fit(frame, y), frame)


def test_regressor_of_several_targets() -> None:
    frame = build_frame()[NUMBERS]
    y = np.column_stack([frame["amount"], frame["ratio"] * 3])
    for model in (LinearRegression(), MultiTaskLasso()):
        lowered = check_same(model.fit(frame, y), frame)
        assert lowered.outputs[0].width == 2


# Newer releases warn without these settings.
NEW_ATTRIBUTES = {"l1_ratios": (0.0,), "use_legacy_attributes": False} if SKLEARN_RELEASE >= (1, 8) else {}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        LogisticRegressionCV(Cs=3, cv=3, scoring="accuracy", **NEW_ATTRIBUTES),
        LinearDiscriminantAnalysis(),
        SGDClassifier(loss="log_loss", random_state=0),
        SGDClassifier(loss="modified_huber", random_state=0),
        SGDClassifier(random_state=0),
        LinearSVC(random_state=0),
        RidgeClassifier(),
        Perceptron(random_state=0),
    ],
    ids=str,
)
def test_linear_classifier(model: Any, count: int) -> None:
    frame = build_frame()[NUMBERS]
    names = np.array(["no", "perhaps", "yes"])[classes(build_frame(), count)]
    pipeline = make_pipeline(StandardScaler(), model).fit(frame, names)
    lowered = check_same(pipeline, hard_rows(frame, holes=False), sample=frame)
    assert lowered.outputs[-1].name == "label"
    assert lowered.outputs[-1].class_labels == ("no", "perhaps", "yes")[:count]


def test_classifier_of_one_class_is_refused() -> None:
    frame = build_frame()[NUMBERS]
    model = LinearDiscriminantAnalysis().fit(frame, classes(build_frame()))
    model.classes_ = model.classes_[:1]
    with pytest.raises(UnsupportedModelError, match="single class"):
        lower(model, frame)


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
def test_passive_aggressive_models() -> None:
    frame = build_frame()
    numbers = make_pipeline(StandardScaler(), PassiveAggressiveRegressor(random_state=0))
    check_same(numbers.fit(frame[NUMBERS], target(frame)), frame[NUMBERS])
    for count in (2, 3):
        named = make_pipeline(StandardScaler(), PassiveAggressiveClassifier(random_state=0))
        check_same(named.fit(frame[NUMBERS], classes(frame, count)), frame[NUMBERS])


def test_a_line_around_one_class() -> None:
    frame = build_frame()[NUMBERS]
    model = make_pipeline(StandardScaler(), SGDOneClassSVM(nu=0.2, random_state=0)).fit(frame)
    check_same(model, hard_rows(frame, holes=False), sample=frame)

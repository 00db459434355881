from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, NuSVR

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    classes,
    fitted_answers,
    hard_rows,
    score,
    target,
)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("activation", ["identity", "logistic", "relu", "tanh"])
def test_neural_network_is_exact(activation: str) -> None:
    frame = build_frame()[NUMBERS]
    options: dict[str, Any] = {"hidden_layer_sizes": (8, 4), "activation": activation, "max_iter": 20}
    scaled = make_pipeline(StandardScaler(), MLPRegressor(random_state=0, **options))
    check_same(scaled.fit(frame, target(build_frame())), hard_rows(frame, holes=False), sample=frame)
    for count in (2, 3):
        classifier = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, **options))
        check_same(classifier.fit(frame, classes(build_frame(), count)), frame)


@pytest.mark.parametrize("count", [2, 3])
def test_bayes_is_exact(count: int) -> None:
    frame = build_frame()[NUMBERS]
    for model in (GaussianNB(), QuadraticDiscriminantAnalysis()):
        pipeline = make_pipeline(StandardScaler(), model).fit(frame, classes(build_frame(), count))
        check_same(pipeline, frame)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        SVC(),
        AdaBoostClassifier(n_estimators=10, random_state=0),
    ],
    ids=str,
)
def test_converted_classifier_agrees_in_float(model: Any, count: int) -> None:
    frame = build_frame()[NUMBERS]
    pipeline = make_pipeline(StandardScaler(), model).fit(frame, classes(build_frame(), count))
    lowered = lower(pipeline, frame)
    expected, found = fitted_answers(pipeline, frame), score(lowered, frame)
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["label"], expected["label"])
    if "probabilities" in expected:
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-4)


def test_breaking_ties_between_votes_is_refused_where_there_can_be_some() -> None:
    frame = build_frame()[NUMBERS]
    three = make_pipeline(StandardScaler(), SVC(break_ties=True)).fit(frame, classes(build_frame(), 3))
    with pytest.raises(UnsupportedModelError, match="break_ties=False"):
        lower(three, frame)
    two = make_pipeline(StandardScaler(), SVC(break_ties=True)).fit(frame, classes(build_frame(), 2))
    assert score(lower(two, frame), frame)["label"].shape == (len(frame), 1)


@pytest.mark.parametrize("model", [SVR(), NuSVR()], ids=str)
def test_converted_regressor_agrees_in_float(model: Any) -> None:
    frame = build_frame()[NUMBERS]
    pipeline = make_pipeline(StandardScaler(), model).fit(frame, target(build_frame()))
    found = score(lower(pipeline, frame), frame)["value"][:, 0]
    np.testing.assert_allclose(found, pipeline.predict(frame), rtol=1e-4)


def test_model_without_a_rule_is_refused() -> None:
    frame = build_frame()[NUMBERS]
    model = make_pipeline(StandardScaler(), GaussianProcessRegressor(optimizer=None)).fit(
        frame, target(build_frame())
    )
    with pytest.raises(UnsupportedModelError, match="GaussianProcessRegressor"):
        lower(model, frame)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    classes,
    hard_rows,
    target,
)

FRAME = build_frame()[NUMBERS]
SMALL = FRAME[["amount", "ratio", "level"]]


def labels() -> NDArray[np.int64]:
    """Three labels of two classes, each with another share of the second class."""
    numbers = target(build_frame())
    return np.column_stack([numbers > np.quantile(numbers, share) for share in (0.3, 0.5, 0.8)]).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        MultiOutputClassifier(LogisticRegression()),
        MultiOutputClassifier(XGBClassifier(n_estimators=4, n_jobs=1)),
        MultiOutputClassifier(RidgeClassifier()),
        ClassifierChain(LogisticRegression()),
        ClassifierChain(LogisticRegression(), order=[2, 0, 1], chain_method="predict_proba"),
        ClassifierChain(LinearSVC(), order=[1, 2, 0], chain_method="decision_function"),
        ClassifierChain(DecisionTreeClassifier(max_depth=3, random_state=0), order=[2, 0, 1]),
        OneVsRestClassifier(LogisticRegression()),
        OneVsRestClassifier(RidgeClassifier()),
        RidgeClassifier(),
        MLPClassifier((5,), max_iter=40, random_state=0),
        DecisionTreeClassifier(max_depth=4, random_state=0),
        RandomForestClassifier(4, max_depth=4, random_state=0),
        XGBClassifier(n_estimators=4, n_jobs=1),
        XGBClassifier(n_estimators=4, n_jobs=1, multi_strategy="multi_output_tree"),
    ],
    ids=lambda model: f"{type(model).__name__}-{getattr(model, 'chain_method', '')}",
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_labels_of_two_classes(model: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), model).fit(SMALL, labels())
    lowered = check_same(pipeline, SMALL)
    named = [output.name for output in lowered.outputs if output.name.startswith("label")]
    assert named == ["label_0", "label_1", "label_2"]
    check_same(model.fit(SMALL, labels()), hard_rows(SMALL, holes=False), sample=SMALL)


@pytest.mark.parametrize(
    "model",
    [
        MultiOutputClassifier(LogisticRegression(max_iter=1000)),
        ExtraTreesClassifier(4, max_depth=4, random_state=0),
        DummyClassifier(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_labels_of_several_classes_each(model: Any) -> None:
    frame = build_frame()
    wanted = np.column_stack([classes(frame, 3), classes(frame), classes(frame, 4)])
    lowered = check_same(model.fit(SMALL, wanted), SMALL)
    assert [output.class_labels for output in lowered.outputs if output.name.startswith("label")] == [
        ("0", "1", "2"),
        ("0", "1"),
        ("0", "1", "2", "3"),
    ]


def test_labels_with_names() -> None:
    frame = build_frame()
    wanted = np.array(["no", "some", "yes"])[np.column_stack([classes(frame, 3), classes(frame)])]
    model = make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression()))
    check_same(model.fit(FRAME, wanted), FRAME)


@pytest.mark.parametrize(
    "model",
    [
        MultiOutputRegressor(GradientBoostingRegressor(n_estimators=4, random_state=0)),
        RegressorChain(Ridge()),
        RegressorChain(XGBRegressor(n_estimators=4, n_jobs=1), order=[1, 0]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_several_numbers(model: Any) -> None:
    numbers = target(build_frame())
    model.fit(SMALL, np.column_stack([numbers, -(numbers**2)]))
    check_same(model, SMALL)


def test_chains_that_cannot_be_translated_are_refused() -> None:
    frame = build_frame()
    three = ClassifierChain(LogisticRegression(max_iter=2000)).fit(
        SMALL, np.column_stack([classes(frame, 3), classes(frame)])
    )
    with pytest.raises(UnsupportedModelError, match="other than two classes"):
        lower(three, SMALL)
    logs = ClassifierChain(LogisticRegression(), chain_method="predict_log_proba").fit(SMALL, labels())
    with pytest.raises(UnsupportedModelError, match="predict_log_proba"):
        lower(logs, SMALL)

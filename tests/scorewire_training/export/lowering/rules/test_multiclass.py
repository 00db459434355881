from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier

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
MEMBERS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "trees": RandomForestClassifier(n_estimators=4, max_depth=4, random_state=0),
    "boosted": XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1),
    "support vectors": make_pipeline(StandardScaler(), LinearSVC(dual=False)),
    "naive": GaussianNB(),
}


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS.keys())
@pytest.mark.parametrize("kind", [OneVsRestClassifier, OneVsOneClassifier])
def test_classes_against_each_other(kind: Any, member: Any, count: int) -> None:
    model = kind(member).fit(FRAME, classes(build_frame(), count))
    check_same(model, hard_rows(FRAME, holes=False), sample=FRAME)


BAGGED = {
    "trees": DecisionTreeClassifier(max_depth=4, random_state=0),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "support vectors": make_pipeline(StandardScaler(), LinearSVC(dual=False)),
}


@pytest.mark.parametrize("member", BAGGED.values(), ids=BAGGED.keys())
@pytest.mark.parametrize("options", [{}, {"max_features": 0.5}, {"bootstrap_features": True}])
def test_bags_of_classifiers(member: Any, options: dict[str, Any]) -> None:
    model = BaggingClassifier(member, n_estimators=5, random_state=0, **options)
    check_same(model.fit(FRAME, classes(build_frame(), 3)), hard_rows(FRAME, holes=False), sample=FRAME)


def test_a_bag_whose_members_have_not_seen_every_class() -> None:
    names = np.array(["common", "rare", "usual"], dtype=object)[np.arange(len(FRAME)) % 2 * 2]
    names[:3] = "rare"
    model = BaggingClassifier(BAGGED["logistic"], n_estimators=6, max_samples=30, random_state=0)
    model.fit(FRAME, names)
    assert {len(member.classes_) for member in model.estimators_} == {2, 3}
    check_same(model, hard_rows(FRAME, holes=False), sample=FRAME)


@pytest.mark.parametrize("member", [DecisionTreeRegressor(max_depth=5, random_state=0), Ridge()])
def test_bags_of_regressors(member: Any) -> None:
    model = BaggingRegressor(member, n_estimators=5, max_features=3, random_state=0)
    check_same(model.fit(FRAME, target(build_frame())), hard_rows(FRAME, holes=False), sample=FRAME)


def test_a_class_that_no_member_has_seen_is_refused() -> None:
    model = OneVsRestClassifier(MEMBERS["logistic"]).fit(FRAME, classes(build_frame(), 3))
    model.estimators_[0] = Ridge().fit(FRAME, target(build_frame()))
    with pytest.raises(UnsupportedModelError, match="knows no two classes"):
        lower(model, FRAME)

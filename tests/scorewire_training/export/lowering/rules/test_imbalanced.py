"""imbalanced-learn: its samplers act in training only and do not change predicted rows."""

from __future__ import annotations

from typing import Any

import pytest
from imblearn.ensemble import (
    BalancedBaggingClassifier,
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
)
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline, make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.ensemble import AdaBoostClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    classes,
    hard_rows,
)

FRAME = build_frame()[NUMBERS]
RARE = (classes(build_frame(), 5) == 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), SMOTE(random_state=0), LogisticRegression()),
        make_pipeline(RandomOverSampler(random_state=0), XGBClassifier(n_estimators=5, n_jobs=1)),
        make_pipeline(
            FeatureUnion([("scaled", StandardScaler())]),
            RandomUnderSampler(random_state=0),
            LogisticRegression(),
        ),
        make_pipeline(
            "passthrough", SMOTE(random_state=0), make_pipeline(StandardScaler(), LogisticRegression())
        ),
    ],
)
def test_samplers_do_nothing_to_rows_that_are_predicted(model: Any) -> None:
    check_same(model.fit(FRAME, RARE), hard_rows(FRAME, holes=False), sample=FRAME)


@pytest.mark.parametrize(
    "model",
    [
        BalancedRandomForestClassifier(5, max_depth=5, random_state=0),
        BalancedBaggingClassifier(DecisionTreeClassifier(max_depth=4), n_estimators=4, random_state=0),
        EasyEnsembleClassifier(3, estimator=AdaBoostClassifier(n_estimators=3), random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_balanced_ensembles(model: Any) -> None:
    check_same(model.fit(FRAME, RARE), hard_rows(FRAME, holes=False), sample=FRAME)


def test_a_pipeline_of_samplers_alone_is_refused() -> None:
    pipeline = Pipeline([("over", RandomOverSampler())])
    pipeline.fit_resample(FRAME, RARE)
    with pytest.raises(UnsupportedModelError, match="end the pipeline in a fitted model"):
        lower(pipeline, FRAME)

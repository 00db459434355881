"""Models that contain one model, fitted on a part of the rows or columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - which importing it allows
from sklearn.feature_selection import RFE, RFECV
from sklearn.linear_model import LogisticRegression, RANSACRegressor, Ridge
from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV
from sklearn.semi_supervised import SelfTrainingClassifier

from tests.scorewire_training.export.lowering.scored import NUMBERS, build_frame, check_same, classes, target

FRAME = build_frame()[NUMBERS] / [50, 1, 2**25, 1]


@pytest.mark.parametrize(
    "model",
    [RANSACRegressor(random_state=0), RFE(Ridge(), n_features_to_select=2), RFECV(Ridge(), cv=2)],
    ids=lambda model: type(model).__name__,
)
def test_models_that_are_fitted_on_part_of_the_rows_or_columns(model: Any) -> None:
    check_same(model.fit(FRAME, target(build_frame())), FRAME)


def test_classifiers_that_are_fitted_on_part_of_the_columns() -> None:
    classifier = RFE(LogisticRegression(), n_features_to_select=2)
    check_same(classifier.fit(FRAME, classes(build_frame())), FRAME)


def test_models_that_label_rows_for_themselves() -> None:
    labels = np.where(np.arange(len(FRAME)) % 3 == 0, -1, classes(build_frame()))
    check_same(SelfTrainingClassifier(LogisticRegression()).fit(FRAME, labels), FRAME)


@pytest.mark.filterwarnings("ignore:The total space of parameters")
@pytest.mark.parametrize("search", [HalvingGridSearchCV, HalvingRandomSearchCV])
def test_searches_by_halves(search: Any) -> None:
    model = search(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, cv=2, random_state=0).fit(
        FRAME, target(build_frame())
    )
    check_same(model, FRAME)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - which importing it allows
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering import lower
from tests.scorewire_training.export.lowering.scored import (
    NUMBERS,
    build_frame,
    check_same,
    target,
    with_holes,
)

FULL = build_frame()[NUMBERS].assign(big=lambda frame: frame["big"] / 2**20)
FRAME = with_holes(FULL)
TARGET = target(build_frame())
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    "imputer",
    [
        IterativeImputer(),
        IterativeImputer(max_iter=3, imputation_order="roman", add_indicator=True),
        IterativeImputer(max_iter=2, n_nearest_features=2, random_state=0, min_value=0.5, max_value=60.0),
        IterativeImputer(LinearRegression(), max_iter=2, initial_strategy="median"),
        IterativeImputer(RandomForestRegressor(3, max_depth=4, random_state=0), max_iter=2),
    ],
    ids=lambda imputer: type(imputer.estimator).__name__,
)
def test_missing_values_are_what_models_of_other_columns_say(imputer: Any) -> None:
    model = make_pipeline(imputer, Ridge()).fit(FRAME, TARGET)
    check_same(model, FRAME)
    # scikit-learn keeps the initial values of a row without any value only if the row comes alone.
    emptied = FRAME.copy()
    emptied.iloc[3] = np.nan
    check_same(model, emptied, sample=FRAME)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("keep", [False, True])
def test_columns_that_were_empty_in_training(keep: bool) -> None:
    frame = FRAME.assign(level=np.nan)
    imputer = IterativeImputer(max_iter=2, keep_empty_features=keep)
    check_same(make_pipeline(imputer, Ridge()).fit(frame, TARGET), frame)


def test_columns_that_were_full_in_training_keep_the_first_filler() -> None:
    frame = FRAME.assign(level=FULL["level"])
    imputer = IterativeImputer(max_iter=2, skip_complete=True)
    check_same(make_pipeline(imputer, Ridge()).fit(frame, TARGET), FRAME, sample=frame)


def test_imputers_that_draw_lots_are_refused() -> None:
    imputer = IterativeImputer(sample_posterior=True, random_state=0)
    with pytest.raises(UnsupportedModelError, match="at random"):
        lower(make_pipeline(imputer, Ridge()).fit(FRAME, TARGET), FRAME)

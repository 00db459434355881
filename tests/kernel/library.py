"""What a library itself says: the margins of a fitted model, before the link function."""

from __future__ import annotations

import warnings
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn import ensemble

from scorewire_training.export.parity.fitted_model import to_dmatrix

_BOOSTING = (
    ensemble.GradientBoostingClassifier,
    ensemble.HistGradientBoostingClassifier,
    ensemble.HistGradientBoostingRegressor,
)


def margins(model: Any, frame: pd.DataFrame) -> NDArray[np.float64] | None:
    """The margins, [rows, targets]; None for a model that has no margins, such as a forest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(model, xgboost.Booster):
            found = model.predict(to_dmatrix(model, frame), output_margin=True)
        elif isinstance(model, xgboost.XGBModel):
            found = model.predict(frame, output_margin=True)
        elif isinstance(model, lightgbm.Booster | lightgbm.LGBMModel):
            found = model.predict(frame, raw_score=True)
        elif isinstance(model, ensemble.GradientBoostingClassifier):
            found = model.decision_function(frame)
        elif isinstance(model, _BOOSTING):
            found = model._raw_predict(frame)
        else:
            return None
    return np.asarray(found, dtype=np.float64).reshape(len(frame), -1)

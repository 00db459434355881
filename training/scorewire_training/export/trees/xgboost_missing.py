"""The number that means missing in XGBoost's data, which XGBoost stores in no file."""

from __future__ import annotations

import math
from typing import Any

import xgboost

from scorewire_training.export.errors import ExportError


class BoosterWithMissing(xgboost.Booster):
    """A booster that takes data made with `xgboost.DMatrix(data, missing=missing)`."""

    missing: float = math.nan


def missing_of(model: xgboost.Booster | xgboost.XGBModel) -> float:
    """The number that the model takes as missing in addition to NaN; NaN if there is none."""
    value = getattr(model, "missing", None)
    return math.nan if value is None else float(value)


def with_missing(model: object, missing: float) -> Any:
    """The model, with a number that it is to take as missing.

    Raises:
        ExportError: the model is an estimator set to another number, or no model of XGBoost.
    """
    if isinstance(model, xgboost.XGBModel):
        own = missing_of(model)
        if own != missing and not (math.isnan(own) and math.isnan(missing)):
            raise ExportError(
                f"missing={missing:g} is given for a {type(model).__name__} of missing={own:g}: leave it out"
            )
        return model
    if not isinstance(model, xgboost.Booster):
        raise ExportError(
            f"missing={missing:g} is given for a {type(model).__name__}; only XGBoost takes it: leave it out"
        )
    wrapped = BoosterWithMissing(model_file=model.save_raw("ubj"))
    wrapped.missing = missing
    return wrapped

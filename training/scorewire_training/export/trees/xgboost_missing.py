"""The number that stands for missing in XGBoost's data, which no model of XGBoost's has in its file."""

from __future__ import annotations

import math
from typing import Any

import xgboost

from scorewire_training.export.errors import ExportError


class BoosterWithMissing(xgboost.Booster):
    """A booster whose data is made as `xgboost.DMatrix(data, missing=missing)`."""

    missing: float = math.nan


def missing_of(model: xgboost.Booster | xgboost.XGBModel) -> float:
    """What the model takes for missing beside NaN; NaN where nothing else."""
    value = getattr(model, "missing", None)
    return math.nan if value is None else float(value)


def with_missing(model: object, missing: float) -> Any:
    """The model, taking a number for missing.

    Raises:
        ExportError: the model says another by itself, or is no model of XGBoost's.
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

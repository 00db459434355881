"""The steps of a pipeline that are applied when it predicts."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline

IMBALANCED = "imblearn.pipeline.Pipeline"


def class_name(thing: object) -> str:
    """The full name of an object's class, which is known even if the class's library is not installed."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def steps_at_predict(model: Any) -> list[Any] | None:
    """The steps of a pipeline without imbalanced-learn's samplers, which act in training only.

    None if the model is not a pipeline.
    """
    if type(model) is not Pipeline and class_name(model) != IMBALANCED:
        return None
    return [step for _, step in model.steps if not hasattr(step, "fit_resample")]

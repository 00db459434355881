"""Which steps of a pipeline see the rows that are predicted."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline

IMBALANCED = "imblearn.pipeline.Pipeline"


def class_name(thing: object) -> str:
    """The full name of a thing's class, by which classes of libraries are known that may not be there."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def steps_at_predict(model: Any) -> list[Any] | None:
    """The steps of a pipeline but for the samplers of imbalanced-learn, which work in training only.

    None where the model is no pipeline.
    """
    if type(model) is not Pipeline and class_name(model) != IMBALANCED:
        return None
    return [step for _, step in model.steps if not hasattr(step, "fit_resample")]

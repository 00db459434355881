"""Classifiers that answer several labels for a row: which classes each of them has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.multioutput import ClassifierChain

from scorewire_training.export.lowering.pipelines import steps_at_predict


def classes_by_label(model: Any, count: int) -> list[NDArray[Any] | None]:
    """The classes of each of the labels that a model answers, in its order; None where it knows none."""
    classes = getattr(model, "classes_", None)
    last = _last(model)
    if isinstance(classes, list) and isinstance(last, ClassifierChain):
        # Its members are in the order of the chain, its answers in that of training.
        return [np.asarray(classes[place]) for place in np.argsort(last.order_)]
    if isinstance(classes, list):
        return [np.asarray(each) for each in classes]
    # One that was fitted on a table of zeros and ones keeps no classes of theirs.
    return [np.arange(2)] * count if count > 1 else [None if classes is None else np.asarray(classes)]


def _last(model: Any) -> Any:
    """What answers in the end: a pipeline's last step, what a search has found."""
    while True:
        if steps := steps_at_predict(model):
            model = steps[-1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model

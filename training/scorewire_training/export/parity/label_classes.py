"""The classes of each label of multilabel classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.multioutput import ClassifierChain

from scorewire_training.export.lowering.pipelines import steps_at_predict


def classes_by_label(model: Any, count: int) -> list[NDArray[Any] | None]:
    """The classes of each label of a model, in the model's order; None where the model stores no classes."""
    classes = getattr(model, "classes_", None)
    last = _last(model)
    if isinstance(classes, list) and isinstance(last, ClassifierChain):
        # The classes are in the order of the chain, the outputs in that of the training labels.
        return [np.asarray(classes[place]) for place in np.argsort(last.order_)]
    if isinstance(classes, list):
        return [np.asarray(each) for each in classes]
    # A model that was fitted on a table of zeros and ones stores no classes for each label.
    return [np.arange(2)] * count if count > 1 else [None if classes is None else np.asarray(classes)]


def _last(model: Any) -> Any:
    """The innermost model that predicts: a pipeline's last step, the best model of a search."""
    while True:
        if steps := steps_at_predict(model):
            model = steps[-1]
        elif hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        else:
            return model

"""Tree ensembles of all libraries, read from their dumps and written as ONNX."""

from __future__ import annotations

from scorewire_training.export.trees.hist_gradient_boosting import read_hist_gradient_boosting
from scorewire_training.export.trees.lightgbm import read_lightgbm
from scorewire_training.export.trees.model import TreeModel
from scorewire_training.export.trees.sklearn_trees import read_sklearn_trees
from scorewire_training.export.trees.xgboost import read_xgboost

__all__ = ["TreeModel", "read_trees"]

_READERS = (read_xgboost, read_hist_gradient_boosting, read_sklearn_trees)


def read_trees(estimator: object, *, by_row: bool = False) -> TreeModel | None:
    """Read a fitted tree ensemble of XGBoost, LightGBM or scikit-learn.

    Args:
        estimator: any object.
        by_row: whether the estimator gets sparse matrices stored by row.

    Returns:
        The tree model; None if the estimator is not a tree ensemble of a known family.

    Raises:
        UnsupportedModelError: the ensemble has no exact translation.
        sklearn.exceptions.NotFittedError: the estimator is not fitted.
    """
    models = (read(estimator) for read in _READERS)
    return read_lightgbm(estimator, by_row=by_row) or next((model for model in models if model), None)

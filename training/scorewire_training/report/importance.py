"""Importance of features: permutation on the test rows, and SHAP values if exact values are cheap."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import float64
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn import ensemble
from sklearn.calibration import CalibratedClassifierCV
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from scorewire_training.estimators import HurdleRegressor, LogOddsCalibrator, LogRegressor, RateRegressor
from scorewire_training.releases import FrozenEstimator
from scorewire_training.training_result import PredictionKind, TrainingResult

_PERMUTED_ROWS = 1_500
_REPEATS = 4
_EXPLAINED_ROWS = 400
_SCIKIT_TREES = (
    ensemble.ExtraTreesClassifier,
    ensemble.ExtraTreesRegressor,
    ensemble.GradientBoostingClassifier,
    ensemble.GradientBoostingRegressor,
    ensemble.HistGradientBoostingClassifier,
    ensemble.HistGradientBoostingRegressor,
    ensemble.RandomForestClassifier,
    ensemble.RandomForestRegressor,
)
_MAX_NODES = 400_000


@dataclass(frozen=True, slots=True)
class Importance:
    """The loss of the metric when a feature is shuffled: mean and standard deviation over the shuffles."""

    feature: str
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """SHAP values of some test rows.

    Attributes:
        contributions: the SHAP values of each feature, shape [rows] each; the values of
            a feature's columns are added up.
        ranks: the rank of the feature's value among the rows, 0 to 1, shape [rows] each.
        order: the features by descending mean absolute SHAP value.
        rows: the number of explained rows.
        note: what the values add up to, for people.
    """

    contributions: dict[str, NDArray[float64]]
    ranks: dict[str, NDArray[float64]]
    order: list[str]
    rows: int
    note: str


@dataclass(frozen=True, slots=True)
class _Inner:
    model: Any
    matrix: NDArray[float64]
    columns: list[str]
    note: str


class NotExplainedError(Exception):
    """SHAP values cannot be computed; the message gives the reason, for people."""


def permutation_importances(result: TrainingResult, *, seed: int) -> tuple[list[Importance], str]:
    """The features by descending permutation importance, and the name of the metric."""
    probability = result.kind is PredictionKind.PROBABILITY
    rows = _draw(len(result.test), _PERMUTED_ROWS, seed)
    target = result.target[rows]
    if probability and len(np.unique(target)) < 2:
        rows = np.arange(len(result.test))
        target = result.target

    def score(pipeline: Pipeline, frame: pd.DataFrame, truth: NDArray[float64]) -> float:
        if probability:
            return float(roc_auc_score(truth, pipeline.predict_proba(frame)[:, 1]))
        predictions = pipeline.predict(frame)
        return float(spearmanr(truth, predictions).statistic) if np.ptp(predictions) else 0.0

    permuted = permutation_importance(
        result.pipeline, result.test.iloc[rows], target, scoring=score, n_repeats=_REPEATS, random_state=seed
    )
    found = [
        Importance(str(feature), float(mean), float(deviation))
        for feature, mean, deviation in zip(
            result.test.columns, permuted.importances_mean, permuted.importances_std, strict=True
        )
    ]
    found.sort(key=lambda item: (-item.mean, item.feature))
    return found, "AUC" if probability else "the correlation of ranks (Spearman)"


def explain(result: TrainingResult, *, seed: int) -> Explanation:
    """SHAP values of the pipeline's last step.

    Raises:
        NotExplainedError: exact SHAP values of the model are unknown or too slow.
    """
    rows = result.test.iloc[_draw(len(result.test), _EXPLAINED_ROWS, seed)]
    encoder = result.pipeline[:-1]
    matrix = _encode(encoder, rows)
    columns = _name_columns(encoder, matrix, rows)
    inner = _unwrap(result.pipeline[-1], matrix, columns)
    matrix, columns = inner.matrix, inner.columns
    values = _explainer(inner.model)(matrix)
    if values.ndim == 3:
        # One matrix for each class; the last one is for label 1.
        values = values[:, :, -1]
    contributions: dict[str, NDArray[float64]] = {}
    weights: dict[str, NDArray[float64]] = {}
    for place, feature in enumerate(columns):
        column = np.asarray(values[:, place], dtype=float64)
        contributions[feature] = contributions.get(feature, np.zeros(len(column))) + column
        # If a feature has several columns, the first one gives its rank.
        weights.setdefault(feature, matrix[:, place])
    ranks = {
        feature: np.asarray(pd.Series(column).rank(pct=True).fillna(0.0), dtype=float64)
        for feature, column in weights.items()
    }
    order = sorted(
        contributions, key=lambda feature: (-float(np.abs(contributions[feature]).mean()), feature)
    )
    note = f"the values add up to the model's margin{', ' if inner.note else ''}{inner.note}."
    return Explanation(contributions=contributions, ranks=ranks, order=order, rows=len(rows), note=note)


def _unwrap(step: Any, matrix: NDArray[float64], columns: list[str]) -> _Inner:
    """The innermost model of a step, its inputs, and notes on what its SHAP values explain."""
    notes = []
    while True:
        if isinstance(step, CalibratedClassifierCV):
            notes.append("before the calibration")
            step = step.calibrated_classifiers_[0].estimator
        elif isinstance(step, LogOddsCalibrator):
            notes.append("before the calibration")
            step = step.estimator
        elif isinstance(step, FrozenEstimator):
            step = step.estimator
        elif isinstance(step, HurdleRegressor):
            notes.append("of the amount if there is one")
            step = step.regressor_
        elif isinstance(step, RateRegressor):
            notes.append("of the rate (amount divided by exposure)")
            # The first column is the exposure, which multiplies the rate.
            matrix, columns, step = matrix[:, 1:], columns[1:], step.regressor_
        elif isinstance(step, LogRegressor):
            step = step.regressor_
        elif isinstance(step, Pipeline):
            kept = _select(step[:-1], matrix.shape[1])
            matrix, columns = _encode(step[:-1], matrix), [columns[place] for place in kept]
            step = step[-1]
        else:
            if getattr(step, "n_features_in_", matrix.shape[1]) != matrix.shape[1]:
                raise NotExplainedError("the model takes other columns than the encoder gives")
            return _Inner(step, matrix, columns, ", ".join(notes))


def _select(steps: Pipeline, width: int) -> NDArray[np.intp]:
    """The columns that steps keep; the steps may also fill missing values.

    Raises:
        NotExplainedError: the steps change values in another way.
    """
    places = np.arange(width, dtype=float64)
    try:
        kept = np.asarray(steps.transform(np.stack([places, places + 0.25])), dtype=float64)
    except (TypeError, ValueError):
        kept = np.zeros((2, 0))
    if not kept.size or not np.array_equal(kept[1], kept[0] + 0.25) or not np.isin(kept[0], places).all():
        raise NotExplainedError("the model is in a pipeline of its own that changes its columns")
    return np.asarray(kept[0], dtype=np.intp)


def _explainer(model: Any) -> Callable[[NDArray[float64]], NDArray[float64]]:
    # Imported here, because they are slow to import and only needed to explain a model.
    import lightgbm  # noqa: PLC0415
    import xgboost  # noqa: PLC0415

    boosted = isinstance(model, (xgboost.XGBModel, lightgbm.LGBMModel))
    name = type(model).__name__
    if not boosted and not isinstance(model, _SCIKIT_TREES) and not hasattr(model, "coef_"):
        raise NotExplainedError(f"{name} is neither a tree model nor a linear one")
    nodes = (
        sum(tree.tree_.node_count for tree in np.ravel(getattr(model, "estimators_", [])))
        if not boosted
        else 0
    )
    if nodes > _MAX_NODES:
        raise NotExplainedError(f"{name} has {nodes:,} nodes, and exact values of so many take too long")
    if hasattr(model, "coef_") and not boosted:
        coefficients = np.ravel(model.coef_)

        def explain_linear(matrix: NDArray[float64]) -> NDArray[float64]:
            # Exact for a linear model with independent features (Lundberg and Lee 2017, 4.1).
            return np.asarray(coefficients * (matrix - matrix.mean(axis=0)), dtype=float64)

        return explain_linear

    with warnings.catch_warnings():
        # Warnings of shap's own imports.
        warnings.simplefilter("ignore")
        import shap  # noqa: PLC0415

    def explain_trees(matrix: NDArray[float64]) -> NDArray[float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer = shap.TreeExplainer(model)
            return np.asarray(explainer.shap_values(matrix, check_additivity=False), dtype=float64)

    return explain_trees


def _name_columns(encoder: Pipeline, encoded: NDArray[float64], rows: pd.DataFrame) -> list[str]:
    """For each encoded column, the features that it depends on, found by shuffling one feature at a time."""
    order = np.random.default_rng(0).permutation(len(rows))
    sources: list[list[str]] = [[] for _ in range(encoded.shape[1])]
    for feature in rows.columns:
        shuffled = rows.copy()
        shuffled[feature] = rows[feature].to_numpy()[order]
        moved = _encode(encoder, shuffled)
        for place in np.flatnonzero(~np.isclose(moved, encoded, equal_nan=True).all(axis=0)):
            sources[place].append(str(feature))
    return [" × ".join(names) or f"column {place + 1}" for place, names in enumerate(sources)]


def _encode(encoder: Pipeline, rows: pd.DataFrame | NDArray[float64]) -> NDArray[float64]:
    encoded: Any = encoder.transform(rows) if len(encoder) else rows
    return np.asarray(encoded.toarray() if hasattr(encoded, "toarray") else encoded, dtype=float64)


def _draw(count: int, limit: int, seed: int) -> NDArray[np.intp]:
    if count <= limit:
        return np.arange(count)
    drawn = np.random.default_rng(seed).choice(count, limit, replace=False)
    return np.sort(drawn).astype(np.intp)

"""Importance of features: permutation on the test rows, and SHAP values of the whole pipeline.

Both take the pipeline as it serves, with the caller's columns, so that they can be
compared (`importance_orders`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy import float64
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from scorewire_training.evaluation.formats import LEAST_AMOUNT
from scorewire_training.training_result import PredictionKind, TrainingResult

_PERMUTED_ROWS = 1_500
_REPEATS = 4
_EXPLAINED_ROWS = 300
# Orders of the features, each of which is walked in both directions.
_ORDERS = 8
# Training rows that the walks of each order begin with, where a single row is explained.
_BEGINNINGS = 100
# Of the table that one walk makes.
_MAX_CELLS = 20_000_000


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
        contributions: the SHAP values of each feature, shape [rows] each: shares of a
            probability, or logarithms to base 10 of the factors of an amount.
        ranks: the rank of the feature's value among the rows, 0 to 1, shape [rows] each;
            a missing value counts as low. None for texts, which have no order.
        order: the features by descending mean absolute SHAP value.
        rows: the number of explained rows.
    """

    contributions: dict[str, NDArray[float64]]
    ranks: dict[str, NDArray[float64] | None]
    order: list[str]
    rows: int


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
    """SHAP values of the pipeline's predictions, by sampling.

    A row begins as a training row, and its features become those of the explained row
    one after the other; the SHAP value of a feature is the mean change of the
    prediction, over random orders and training rows (Strumbelj and Kononenko 2014,
    "Explaining prediction models and individual predictions with feature
    contributions"). Each order is also walked backwards, which is exact where no more
    than two features act together (Mitchell et al. 2022, "Sampling Permutations for
    Shapley Value Estimation"). Amounts are compared by their logarithms, because the
    largest ones would hide all others; below a cent they count as a cent.
    """
    rng = np.random.default_rng(seed)
    names = [str(name) for name in result.test.columns]
    most = max(1, _MAX_CELLS // (len(names) * (len(names) + 1)))
    rows = result.test.iloc[_draw(len(result.test), min(_EXPLAINED_ROWS, most), seed)]
    values = np.zeros((len(names), len(rows)))
    for _ in range(_ORDERS):
        begin = result.sample.iloc[rng.integers(len(result.sample), size=len(rows))]
        order = rng.permutation(len(names))
        for way in (order, order[::-1]):
            values[way] += np.diff(_walk(result, begin, rows, way), axis=0)
    values /= 2 * _ORDERS
    contributions = dict(zip(names, values, strict=True))
    return Explanation(
        contributions=contributions,
        ranks={name: _rank(rows[column]) for name, column in zip(names, rows.columns, strict=True)},
        order=sorted(names, key=lambda name: (-float(np.abs(contributions[name]).mean()), name)),
        rows=len(rows),
    )


def explain_row(result: TrainingResult, row: pd.DataFrame, *, seed: int) -> tuple[float, dict[str, float]]:
    """SHAP values of one row, sampled as those of `explain`, and in the same numbers.

    Args:
        result: the result of the training run.
        row: a frame of one row with the columns of `result.test`.
        seed: the seed of the orders and of the training rows.

    Returns:
        The mean over the training rows that walks began with, and the contribution of each
        feature; they add up to the row's own number.
    """
    rng = np.random.default_rng(seed)
    names = [str(name) for name in row.columns]
    end = row.loc[row.index.repeat(_BEGINNINGS)]
    values = np.zeros(len(names))
    bases = []
    for _ in range(_ORDERS):
        begin = result.sample.iloc[rng.integers(len(result.sample), size=_BEGINNINGS)]
        order = rng.permutation(len(names))
        for way in (order, order[::-1]):
            walk = _walk(result, begin, end, way)
            values[way] += np.diff(walk, axis=0).mean(axis=1)
            bases.append(walk[0].mean())
    return float(np.mean(bases)), dict(zip(names, (values / len(bases)).tolist(), strict=True))


def _walk(
    result: TrainingResult, begin: pd.DataFrame, end: pd.DataFrame, order: NDArray[np.intp]
) -> NDArray[float64]:
    """The predictions, shape [features + 1, rows], while the features change one after the other."""
    both = pd.concat([begin, end], ignore_index=True)
    count, steps = len(begin), np.arange(len(order) + 1)[:, None]
    places = np.argsort(order)
    frame = pd.DataFrame(
        {
            name: both[name].array.take((np.where(steps > place, count, 0) + np.arange(count)).ravel())
            for name, place in zip(both.columns, places, strict=True)
        }
    )
    if result.kind is PredictionKind.PROBABILITY:
        predictions = result.pipeline.predict_proba(frame)[:, 1]
    else:
        predictions = np.log10(np.maximum(result.pipeline.predict(frame), LEAST_AMOUNT))
    return np.asarray(predictions, dtype=float64).reshape(len(steps), count)


def _rank(column: pd.Series) -> NDArray[float64] | None:
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return None
    return np.asarray(column.rank(pct=True).fillna(0.0), dtype=float64)


def _draw(count: int, limit: int, seed: int) -> NDArray[np.intp]:
    if count <= limit:
        return np.arange(count)
    drawn = np.random.default_rng(seed).choice(count, limit, replace=False)
    return np.sort(drawn).astype(np.intp)

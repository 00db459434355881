"""Metrics of predicted amounts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from scorewire_training.evaluation.groups import group_by_prediction

_RESAMPLES = 500


def evaluate_amounts(
    truth: ArrayLike,
    predictions: ArrayLike,
    *,
    baselines: Mapping[str, float],
    ordinary_limit: float,
    seed: int,
) -> dict[str, float]:
    """Measure predicted amounts over all rows and over the ordinary rows.

    Args:
        truth: the true amounts, not negative, shape [rows].
        predictions: the predicted amounts, shape [rows].
        baselines: by name, a constant prediction for all rows, such as the median
            of the training amounts.
        ordinary_limit: rows up to this amount are ordinary.
        seed: the seed of the bootstrap.

    Returns:
        `mae`, `median_ae`, `rmse`, `r2`, `spearman`, `gini` (see `normalized_gini`)
        and `decile_error` over all rows, and the same names with the ending
        `_ordinary` over the ordinary rows. Each has its 95 % bootstrap interval,
        with the further endings `_low` and `_high`. The first four also have the
        values of the baselines, with the further ending `_<name>_baseline`.
        `mae_lead` and `mae_ordinary_lead` are the model's error less that of the
        best baseline, with the interval of that difference on the same rows.
        Undefined metrics, such as a correlation with a constant, are left out.
    """
    amounts = np.asarray(truth, dtype=np.float64)
    forecast = np.asarray(predictions, dtype=np.float64)
    ordinary = amounts <= ordinary_limit
    metrics: dict[str, float] = {}
    for ending, rows in (("", np.ones(len(amounts), dtype=np.bool_)), ("_ordinary", ordinary)):
        if not rows.any():
            continue
        model = _measure(amounts[rows], forecast[rows])
        low, high = _bootstrap(amounts[rows], forecast[rows], seed)
        baseline_errors = {
            name: _measure_errors(amounts[rows], np.full(int(rows.sum()), constant))
            for name, constant in baselines.items()
        }
        for metric, value in model.items():
            metrics[metric + ending] = value
            metrics[f"{metric}{ending}_low"] = low[metric]
            metrics[f"{metric}{ending}_high"] = high[metric]
            for name, errors in baseline_errors.items():
                metrics[f"{metric}{ending}_{name}_baseline"] = errors.get(metric, np.nan)
        if baseline_errors:
            best = baselines[min(baseline_errors, key=lambda name: baseline_errors[name]["mae"])]
            metrics |= _lead(f"mae{ending}_lead", amounts[rows], forecast[rows], best, seed)
    return {metric: value for metric, value in metrics.items() if np.isfinite(value)}


def normalized_gini(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """The normalized Gini coefficient: 1 for the true order, 0 for a random one; NaN for a constant truth.

    It is the area between the diagonal and the cumulative truth by descending
    prediction, divided by the same area by descending truth (Wang et al. 2019, "A
    Deep Probabilistic Model for Customer Lifetime Value Prediction"). Rows with
    equal predictions share their truth evenly.
    """
    return _gini(truth, rankdata(truth), rankdata(predictions))


def decile_error(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    """The absolute errors of the sums of ten groups by ascending prediction, as a share of the total truth.

    NaN where the total is zero. Wang et al. 2019 (above) take the mean of the
    groups' relative errors, which are undefined for a group whose truth is zero.
    """
    total = float(truth.sum())
    if total <= 0:
        return float("nan")
    groups = group_by_prediction(predictions)
    return sum(abs(float(predictions[rows].sum() - truth[rows].sum())) for rows in groups) / total


def tabulate_deciles(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> pd.DataFrame:
    """Rows, mean prediction and mean truth of ten groups of equal size by ascending prediction."""
    groups = group_by_prediction(predictions)
    return pd.DataFrame(
        {
            "rows": [len(rows) for rows in groups],
            "predicted": [float(predictions[rows].mean()) for rows in groups],
            "actual": [float(truth[rows].mean()) for rows in groups],
        },
        index=pd.RangeIndex(1, len(groups) + 1, name="group"),
    )


def _gini(truth: NDArray[np.float64], ideal: NDArray[np.float64], order: NDArray[np.float64]) -> float:
    """The normalized Gini coefficient from the ranks by truth and by prediction.

    The area is linear in the ranks, and mean ranks share the truth of ties evenly.
    """
    excess = truth - truth.mean()
    area = float(excess @ ideal)
    return float(excess @ order) / area if area > 0 else float("nan")


def _bootstrap(
    truth: NDArray[np.float64], predictions: NDArray[np.float64], seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The 95 % bootstrap interval of every metric; NaN where a metric is undefined."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_RESAMPLES):
        rows = rng.integers(len(truth), size=len(truth))
        draws.append(_measure(truth[rows], predictions[rows]))
    frame = pd.DataFrame(draws)
    low, high = ({str(name): float(frame[name].quantile(q)) for name in frame} for q in (0.025, 0.975))
    return low, high


def _lead(
    name: str, truth: NDArray[np.float64], predictions: NDArray[np.float64], constant: float, seed: int
) -> dict[str, float]:
    """The mean absolute error less that of a constant, with its bootstrap interval."""
    differences = np.abs(predictions - truth) - np.abs(constant - truth)
    rng = np.random.default_rng(seed)
    count = len(differences)
    means = [float(differences[rng.integers(count, size=count)].mean()) for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return {name: float(differences.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def _measure(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> dict[str, float]:
    order = (rankdata(truth), rankdata(predictions))
    varied = bool(np.ptp(truth)) and bool(np.ptp(predictions))
    return {
        **_measure_errors(truth, predictions),
        # Spearman's correlation is the correlation of the ranks.
        "spearman": float(np.corrcoef(*order)[0, 1]) if varied else np.nan,
        "gini": _gini(truth, *order) if varied else np.nan,
        "decile_error": decile_error(truth, predictions),
    }


def _measure_errors(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> dict[str, float]:
    errors = np.abs(predictions - truth)
    return {
        "mae": float(errors.mean()),
        "median_ae": float(np.median(errors)),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "r2": 1.0 - float(np.mean(errors**2)) / spread if (spread := float(truth.var())) else np.nan,
    }

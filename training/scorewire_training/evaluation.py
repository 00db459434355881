"""Metrics on held-out rows, each beside what a rule without a model reaches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, log_loss, r2_score, roc_auc_score

_RESAMPLES = 500
_CALIBRATION_BINS = 10


def evaluate_probabilities(
    labels: ArrayLike, probabilities: ArrayLike, *, baselines: Mapping[str, ArrayLike], seed: int
) -> dict[str, float]:
    """How well probabilities foretell labels.

    Args:
        labels: 0 or 1, both there, shape [rows].
        probabilities: of label 1, shape [rows].
        baselines: rival scores by name, shape [rows]; larger means likelier.
        seed: of the bootstrap.

    Returns:
        `auc` with its 95 % bootstrap interval `auc_low` and `auc_high`, `log_loss`,
        `brier`, `calibration_error`, `positive_share`, the `auc_<name>_baseline`
        of each rival, and `log_loss_constant_baseline` and
        `brier_constant_baseline` of the share of positives itself.
    """
    truth = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    share = float(truth.mean())
    low, high = _bootstrap_auc(truth, scores, seed)
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "auc_low": low,
        "auc_high": high,
        **{
            f"auc_{name}_baseline": float(roc_auc_score(truth, np.asarray(rival)))
            for name, rival in baselines.items()
        },
        "log_loss": float(log_loss(truth, scores)),
        "log_loss_constant_baseline": float(log_loss(truth, np.full(len(truth), share))),
        "brier": float(brier_score_loss(truth, scores)),
        "brier_constant_baseline": share * (1 - share),
        "calibration_error": calibration_error(truth, scores),
        "positive_share": share,
    }


def calibration_error(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Mean distance of forecast and truth over ten groups of equal size, by rising probability.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", with groups of equal size instead of equal width.
    """
    order = np.argsort(probabilities, kind="stable")
    error = 0.0
    for group in np.array_split(order, min(_CALIBRATION_BINS, len(order))):
        error += abs(probabilities[group].mean() - labels[group].mean()) * len(group)
    return float(error / len(order))


def evaluate_amounts(
    truth: ArrayLike, predictions: ArrayLike, *, constant: float, ordinary_limit: float
) -> dict[str, float]:
    """How well predictions foretell amounts, over all rows and over the ordinary ones.

    Args:
        truth: amounts, shape [rows].
        predictions: shape [rows].
        constant: the rival: one prediction for all, say the median of training.
        ordinary_limit: rows up to this amount are ordinary.

    Returns:
        `mae`, `median_ae`, `rmse`, `r2` and `spearman` over all rows, the same
        with the ending `_ordinary` over ordinary ones, and for the first four
        the rival's with the further ending `_constant_baseline`. A metric that is
        not defined, such as a correlation with a constant, is left out.

    Raises:
        ValueError: no row is ordinary.
    """
    amounts = np.asarray(truth, dtype=np.float64)
    forecast = np.asarray(predictions, dtype=np.float64)
    ordinary = amounts <= ordinary_limit
    if not ordinary.any():
        raise ValueError(f"no amount is up to {ordinary_limit}")
    metrics: dict[str, float] = {}
    for ending, rows in (("", np.ones(len(amounts), dtype=np.bool_)), ("_ordinary", ordinary)):
        model = _measure(amounts[rows], forecast[rows])
        rival = _measure(amounts[rows], np.full(int(rows.sum()), constant))
        for metric, value in model.items():
            metrics[metric + ending] = value
            metrics[f"{metric}{ending}_constant_baseline"] = rival[metric]
    return {metric: value for metric, value in metrics.items() if np.isfinite(value)}


def _measure(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> dict[str, float]:
    errors = np.abs(predictions - truth)
    varied = len(truth) > 1 and bool(np.ptp(truth)) and bool(np.ptp(predictions))
    return {
        "mae": float(errors.mean()),
        "median_ae": float(np.median(errors)),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "r2": float(r2_score(truth, predictions)) if len(truth) > 1 and np.ptp(truth) else np.nan,
        "spearman": float(spearmanr(truth, predictions).statistic) if varied else np.nan,
    }


def _bootstrap_auc(labels: NDArray[np.int64], scores: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The middle 95 % of the AUC over resamples of each class, rows drawn with replacement."""
    rng = np.random.default_rng(seed)
    positive, negative = scores[labels == 1], scores[labels == 0]
    areas = []
    for _ in range(_RESAMPLES):
        above = rng.choice(positive, len(positive))
        below = np.sort(rng.choice(negative, len(negative)))
        # The share of pairs in the right order, a tie counting as half one.
        wins = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
        areas.append(wins.mean() / 2 / len(below))
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)

"""Metrics of predicted probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from scorewire_training.evaluation.groups import group_by_prediction

_RESAMPLES = 500
_MIDDLE = (0.025, 0.975)
_SMALLEST = 1e-6
_MAX_OFFSET = 50.0

_Floats: TypeAlias = NDArray[np.float64]
_Labels: TypeAlias = NDArray[np.int64]


def evaluate_probabilities(
    labels: ArrayLike, probabilities: ArrayLike, *, baselines: Mapping[str, ArrayLike], seed: int
) -> dict[str, float]:
    """Measure predicted probabilities.

    Args:
        labels: the true labels, 0 and 1, both present, shape [rows].
        probabilities: the predicted probabilities of label 1, shape [rows].
        baselines: scores by name, shape [rows]; a larger score means likelier.
        seed: the seed of the bootstrap.

    Returns:
        `auc`, `average_precision` and `top_decile_lift`, each with a
        `<metric>_<name>_baseline` for each baseline; `log_loss` and `brier`, with
        the `_constant_baseline` that predicts the share of positives; `auc_lead`
        over the best baseline; `calibration_error`; `calibration_error_by_chance`,
        the error if every probability were exact; `calibration_error_level_known`,
        the error if the share of positives were known in advance;
        `mean_probability` and `positive_share`. `auc`, `auc_lead` and
        `calibration_error` have 95 % bootstrap intervals, `_low` and `_high`.
    """
    truth = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    baseline_scores = {name: np.asarray(baseline, dtype=np.float64) for name, baseline in baselines.items()}
    share = float(truth.mean())
    return {
        **_measure_auc(truth, scores, baseline_scores, seed),
        "average_precision": float(average_precision_score(truth, scores)),
        **{
            f"average_precision_{name}_baseline": float(average_precision_score(truth, baseline))
            for name, baseline in baseline_scores.items()
        },
        "top_decile_lift": top_decile_lift(truth, scores),
        **{
            f"top_decile_lift_{name}_baseline": top_decile_lift(truth, baseline)
            for name, baseline in baseline_scores.items()
        },
        "log_loss": float(log_loss(truth, scores)),
        "log_loss_constant_baseline": float(log_loss(truth, np.full(len(truth), share))),
        "brier": float(brier_score_loss(truth, scores)),
        "brier_constant_baseline": share * (1 - share),
        **_measure_calibration(truth, scores, seed),
        "mean_probability": float(scores.mean()),
        "positive_share": share,
    }


def calibration_error(labels: _Labels, probabilities: _Floats) -> float:
    """Expected calibration error over ten groups of equal size, by ascending probability.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", with groups of equal size instead of equal width.
    """
    groups = group_by_prediction(probabilities)
    distances = [abs(probabilities[group].mean() - labels[group].mean()) * len(group) for group in groups]
    return float(sum(distances) / len(labels))


def tabulate_reliability(labels: ArrayLike, probabilities: ArrayLike) -> pd.DataFrame:
    """Mean probability and share of positives in ten groups of equal size, by ascending probability.

    Returns:
        Index group, from 1; columns rows, mean_probability and positive_share.
    """
    truth = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    groups = group_by_prediction(scores)
    return pd.DataFrame(
        {
            "rows": [len(group) for group in groups],
            "mean_probability": [scores[group].mean() for group in groups],
            "positive_share": [truth[group].mean() for group in groups],
        },
        index=pd.RangeIndex(1, len(groups) + 1, name="group"),
    )


def top_decile_lift(labels: _Labels, scores: _Floats) -> float:
    """The share of positives in the tenth of rows with the highest scores, divided by that in all rows.

    Rows that tie at the border of the tenth count in part.
    """
    wanted = max(1, len(scores) // 10)
    border = np.partition(scores, -wanted)[-wanted]
    above, tied = scores > border, scores == border
    positives = labels[above].sum() + (wanted - above.sum()) * labels[tied].mean()
    return float(positives / wanted / labels.mean())


def _measure_auc(
    truth: _Labels, scores: _Floats, baseline_scores: Mapping[str, _Floats], seed: int
) -> dict[str, float]:
    """`auc` of the model and of each baseline, and the lead over the best baseline on these rows."""
    areas = {name: float(roc_auc_score(truth, baseline)) for name, baseline in baseline_scores.items()}
    area = float(roc_auc_score(truth, scores))
    compared = [scores]
    if areas:
        compared.append(baseline_scores[max(areas, key=lambda name: areas[name])])
    resampled = _resample_auc(truth, compared, seed)
    metrics = {"auc": area, **_interval("auc", resampled[0])}
    metrics |= {f"auc_{name}_baseline": value for name, value in areas.items()}
    if areas:
        metrics["auc_lead"] = area - max(areas.values())
        # A paired bootstrap: the same rows are drawn for both.
        metrics |= _interval("auc_lead", resampled[0] - resampled[1])
    return metrics


def _measure_calibration(truth: _Labels, scores: _Floats, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, len(truth), len(truth)) for _ in range(_RESAMPLES)]
    errors = np.array([calibration_error(truth[rows], scores[rows]) for rows in drawn])
    exact = [calibration_error((rng.random(len(scores)) < scores).astype(np.int64), scores) for _ in drawn]
    return {
        "calibration_error": calibration_error(truth, scores),
        **_interval("calibration_error", errors),
        "calibration_error_by_chance": float(np.mean(exact)),
        "calibration_error_level_known": calibration_error(truth, _shift(scores, float(truth.mean()))),
    }


def _shift(probabilities: _Floats, share: float) -> _Floats:
    """Multiply the odds of all probabilities by the one factor that makes their mean `share`."""
    clipped = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    odds = np.log(clipped / (1 - clipped))
    offset = brentq(lambda step: float(expit(odds + step).mean()) - share, -_MAX_OFFSET, _MAX_OFFSET)
    return np.asarray(expit(odds + offset), dtype=np.float64)


def _resample_auc(labels: _Labels, baseline_scores: Sequence[_Floats], seed: int) -> _Floats:
    """The AUC of each score on the same stratified resamples; shape [scores, resamples]."""
    rng = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    levels = [np.unique(scores, return_inverse=True)[1] for scores in baseline_scores]
    areas = np.empty((len(baseline_scores), _RESAMPLES))
    for number in range(_RESAMPLES):
        above, below = rng.choice(positive, len(positive)), rng.choice(negative, len(negative))
        for place, level in enumerate(levels):
            width = int(level.max()) + 1
            losers = np.bincount(level[below], minlength=width)
            # The share of pairs in the right order; a tie counts as half.
            wins = np.cumsum(losers) - losers / 2
            areas[place, number] = wins[level[above]].mean() / len(below)
    return areas


def _interval(name: str, values: _Floats) -> dict[str, float]:
    low, high = np.quantile(values, _MIDDLE)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}

"""How well probabilities foretell what happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

_RESAMPLES = 500
_CALIBRATION_BINS = 10
_MIDDLE = (0.025, 0.975)
_SMALLEST = 1e-6
_MAX_OFFSET = 50.0

_Floats: TypeAlias = NDArray[np.float64]
_Labels: TypeAlias = NDArray[np.int64]


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
        `auc`, `average_precision` and `top_decile_lift`, each with the
        `<metric>_<name>_baseline` of each rival, `log_loss` and `brier` with the
        `_constant_baseline` of the share of positives itself, `auc_lead` over the
        best of the rivals, `calibration_error`, the `calibration_error_by_chance`
        that the rows would show were each probability exact, the
        `calibration_error_level_known` that is left where the share of positives is
        known beforehand, `mean_probability` and `positive_share`. `auc`, `auc_lead`
        and `calibration_error` have 95 % bootstrap intervals, `_low` and `_high`.
    """
    truth = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    rivals = {name: np.asarray(rival, dtype=np.float64) for name, rival in baselines.items()}
    share = float(truth.mean())
    return {
        **_measure_auc(truth, scores, rivals, seed),
        "average_precision": float(average_precision_score(truth, scores)),
        **{
            f"average_precision_{name}_baseline": float(average_precision_score(truth, rival))
            for name, rival in rivals.items()
        },
        "top_decile_lift": top_decile_lift(truth, scores),
        **{
            f"top_decile_lift_{name}_baseline": top_decile_lift(truth, rival)
            for name, rival in rivals.items()
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
    """Mean distance of forecast and truth over ten groups of equal size, by rising probability.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", with groups of equal size instead of equal width.
    """
    groups = _divide(probabilities)
    distances = [abs(probabilities[group].mean() - labels[group].mean()) * len(group) for group in groups]
    return float(sum(distances) / len(labels))


def tabulate_reliability(labels: ArrayLike, probabilities: ArrayLike) -> pd.DataFrame:
    """Forecast and truth in ten groups of equal size, by rising probability.

    Returns:
        Index group, from 1; columns rows, mean_probability and positive_share.
    """
    truth = np.asarray(labels, dtype=np.int64)
    scores = np.asarray(probabilities, dtype=np.float64)
    groups = _divide(scores)
    return pd.DataFrame(
        {
            "rows": [len(group) for group in groups],
            "mean_probability": [scores[group].mean() for group in groups],
            "positive_share": [truth[group].mean() for group in groups],
        },
        index=pd.RangeIndex(1, len(groups) + 1, name="group"),
    )


def top_decile_lift(labels: _Labels, scores: _Floats) -> float:
    """Positives among the tenth of the rows with the highest scores, as a multiple of those among all.

    Of rows that tie at the border of the tenth each counts in part.
    """
    wanted = max(1, len(scores) // 10)
    border = np.partition(scores, -wanted)[-wanted]
    above, tied = scores > border, scores == border
    positives = labels[above].sum() + (wanted - above.sum()) * labels[tied].mean()
    return float(positives / wanted / labels.mean())


def _measure_auc(
    truth: _Labels, scores: _Floats, rivals: Mapping[str, _Floats], seed: int
) -> dict[str, float]:
    """`auc`, that of each rival, and the lead over the best, which is best on these very rows."""
    areas = {name: float(roc_auc_score(truth, rival)) for name, rival in rivals.items()}
    area = float(roc_auc_score(truth, scores))
    compared = [scores]
    if areas:
        compared.append(rivals[max(areas, key=lambda name: areas[name])])
    resampled = _resample_auc(truth, compared, seed)
    metrics = {"auc": area, **_interval("auc", resampled[0])}
    metrics |= {f"auc_{name}_baseline": value for name, value in areas.items()}
    if areas:
        metrics["auc_lead"] = area - max(areas.values())
        # Paired: the same rows are drawn for both.
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
    """The probabilities at other odds, all by one factor, so that their mean is `share`."""
    cut = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    odds = np.log(cut / (1 - cut))
    offset = brentq(lambda step: float(expit(odds + step).mean()) - share, -_MAX_OFFSET, _MAX_OFFSET)
    return np.asarray(expit(odds + offset), dtype=np.float64)


def _divide(probabilities: _Floats) -> list[NDArray[np.intp]]:
    """Rows in groups of equal size, by rising probability."""
    order = np.argsort(probabilities, kind="stable")
    return np.array_split(order, min(_CALIBRATION_BINS, len(order)))


def _resample_auc(labels: _Labels, rivals: Sequence[_Floats], seed: int) -> _Floats:
    """The AUC of each score over the same resamples of each class; shape [scores, resamples]."""
    rng = np.random.default_rng(seed)
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    levels = [np.unique(scores, return_inverse=True)[1] for scores in rivals]
    areas = np.empty((len(rivals), _RESAMPLES))
    for number in range(_RESAMPLES):
        above, below = rng.choice(positive, len(positive)), rng.choice(negative, len(negative))
        for place, level in enumerate(levels):
            width = int(level.max()) + 1
            losers = np.bincount(level[below], minlength=width)
            # The share of pairs in the right order, a tie counting as half one.
            wins = np.cumsum(losers) - losers / 2
            areas[place, number] = wins[level[above]].mean() / len(below)
    return areas


def _interval(name: str, values: _Floats) -> dict[str, float]:
    low, high = np.quantile(values, _MIDDLE)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}

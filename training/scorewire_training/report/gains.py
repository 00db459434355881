"""Cumulative gains: the share of buyers or of money found among the highest predictions."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy import float64
from numpy.typing import NDArray

from scorewire_training.report.style import GRID, MODEL, MUTED, Chart, as_shares, draw, quiet_axes

_POINTS = 201


def draw_gains(truth: NDArray[float64], predictions: NDArray[float64], *, what: str, everyone: str) -> Chart:
    """The share of `what` found among the rows with the highest predictions.

    Args:
        truth: the true values, not negative, shape [rows].
        predictions: the predictions, shape [rows].
        what: the name of the true values, such as "revenue".
        everyone: the name of the rows, such as "all users".
    """
    found = _accumulate(truth, predictions)
    best = _accumulate(truth, truth)
    shares = np.linspace(0, 1, _POINTS)
    tenth = float(np.interp(0.1, shares, found))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="by chance")
        axes.plot(shares, best, color=MUTED, linewidth=1, label="knowing the truth")
        axes.plot(shares, found, color=MODEL, label="the model")
        axes.vlines(0.1, 0, tenth, color=GRID, linewidth=1)
        axes.plot([0.1], [tenth], color=MODEL, marker="o", markersize=5)
        axes.annotate(f"{tenth:.0%}", (0.1, tenth), (6, -10), textcoords="offset points")
        axes.set_xlabel(f"share of {everyone}, highest predictions first")
        axes.set_ylabel(f"share of {what}")
        as_shares(axes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.legend(loc="lower right")
        quiet_axes(axes)

    caption = f"The tenth of {everyone} with the highest predictions holds {tenth:.0%} of {what}."
    return draw(paint, name="gains", title="Cumulative gains", caption=caption)


def _accumulate(truth: NDArray[float64], scores: NDArray[float64]) -> NDArray[float64]:
    """The share of the truth among the highest scores, at equal steps from 0 to 1; ties share evenly."""
    total = float(truth.sum())
    if not total:
        return np.linspace(0, 1, _POINTS)
    _, group, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    rows = np.concatenate([[0], np.cumsum(counts)]) / len(truth)
    held = np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=truth))]) / total
    return np.asarray(np.interp(np.linspace(0, 1, _POINTS), rows, held), dtype=float64)

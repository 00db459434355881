"""Charts of predicted probabilities."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy import float64
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from scorewire_training.evaluation.groups import group_by_prediction
from scorewire_training.report.gains import draw_gains
from scorewire_training.report.style import MODEL, MUTED, SECOND, Chart, as_shares, draw, quiet_axes
from scorewire_training.training_result import TrainingResult

_MAX_POINTS = 300
_Z = 1.96


def draw_probabilities(result: TrainingResult) -> list[Chart]:
    """Calibration, predictions by label, ROC, precision and recall, gains."""
    labels = result.target.astype(np.int64)
    return [
        _draw_reliability(labels, result.predictions),
        _draw_scores(labels, result.predictions),
        _draw_roc(labels, result.predictions),
        _draw_precision(labels, result.predictions),
        draw_gains(result.target, result.predictions, what="rows with label 1", everyone="all rows"),
    ]


def wilson_interval(positive: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (Wilson 1927)."""
    share = positive / count
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return float(centre - half), float(centre + half)


def _draw_reliability(labels: NDArray[np.int64], scores: NDArray[float64]) -> Chart:
    groups = group_by_prediction(scores)
    forecast = np.array([scores[group].mean() for group in groups])
    happened = np.array([labels[group].mean() for group in groups])
    bounds = np.array([wilson_interval(int(labels[group].sum()), len(group)) for group in groups]).T

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfectly calibrated")
        axes.vlines(forecast, bounds[0], bounds[1], color=MODEL, linewidth=1.2, alpha=0.7)
        axes.plot(
            forecast, happened, color=MODEL, marker="o", markersize=5, label="the model, with 95 % intervals"
        )
        axes.set_xlabel("mean probability of a tenth of the rows")
        axes.set_ylabel("share with label 1")
        as_shares(axes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.legend(loc="upper left")
        quiet_axes(axes)

    caption = "Of test rows with a probability of 30 %, do 30 % have label 1? Ten groups of equal size."
    return draw(paint, name="reliability", title="Calibration", caption=caption)


def _draw_scores(labels: NDArray[np.int64], scores: NDArray[float64]) -> Chart:
    edges = np.linspace(0, 1, 41)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for label, colour in ((0, SECOND), (1, MODEL)):
            counts, _ = np.histogram(scores[labels == label], edges)
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.5, label=f"label {label}")
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("test rows")
        as_shares(axes, "x")
        axes.legend()
        quiet_axes(axes)

    return draw(
        paint,
        name="scores",
        title="Probabilities by true label",
        caption="Test rows by their probability: the further apart the two labels, the better.",
    )


def _draw_roc(labels: NDArray[np.int64], scores: NDArray[float64]) -> Chart:
    false, true, _ = roc_curve(labels, scores)
    area = float(roc_auc_score(labels, scores))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="by chance")
        axes.plot(*_thin(false, true), color=MODEL, label=f"the model, area {area:.3f}")
        as_shares(axes)
        axes.set_xlabel("false positive rate: share of label 0 found")
        axes.set_ylabel("true positive rate: share of label 1 found")
        axes.legend(loc="lower right")
        quiet_axes(axes)

    caption = (
        f"What a longer list finds, against its false alarms. Area {area:.3f}; 0.5 is chance, 1 is perfect."
    )
    return draw(paint, name="roc", title="ROC curve", caption=caption)


def _draw_precision(labels: NDArray[np.int64], scores: NDArray[float64]) -> Chart:
    precision, recall, _ = precision_recall_curve(labels, scores)
    area, share = float(average_precision_score(labels, scores)), float(labels.mean())

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(share, color=MUTED, linewidth=1, linestyle="--", label=f"by chance, {share:.1%}")
        axes.plot(*_thin(recall[::-1], precision[::-1]), color=MODEL, label=f"the model, average {area:.3f}")
        axes.set_xlabel("recall: share of label 1 found")
        axes.set_ylabel("precision: label 1 in the list")
        axes.set_ylim(0, 1.02)
        as_shares(axes)
        axes.legend(loc="lower left")
        quiet_axes(axes)

    caption = f"How much of a list is right, by how much of label 1 it finds. Average precision {area:.3f}."
    return draw(paint, name="precision", title="Precision and recall", caption=caption)


def _thin(x: NDArray[float64], y: NDArray[float64]) -> tuple[NDArray[float64], NDArray[float64]]:
    kept = np.unique(np.linspace(0, len(x) - 1, _MAX_POINTS).round().astype(int))
    return x[kept], y[kept]

"""Charts of predicted amounts."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy import float64
from numpy.typing import NDArray

from scorewire_training.evaluation.formats import format_value
from scorewire_training.evaluation.groups import group_by_prediction
from scorewire_training.report.gains import draw_gains
from scorewire_training.report.scales import choose_scale
from scorewire_training.report.style import MODEL, MUTED, SECOND, Chart, as_shares, draw, quiet_axes
from scorewire_training.training_result import TrainingResult

_RESAMPLES = 400
_CELLS = 44
# A logarithmic axis is chosen at a smaller skew than for features.
_SKEWED = 5.0


def draw_amounts(result: TrainingResult) -> list[Chart]:
    """Predicted against true amounts, calibration by deciles, residuals, gains."""
    truth, predictions, unit = result.target, result.predictions, result.unit
    charts = [
        _draw_against_truth(truth, predictions, unit),
        _draw_deciles(truth, predictions, unit),
        _draw_residuals(truth, predictions, unit),
    ]
    if truth.min() >= 0:
        charts.append(draw_gains(truth, predictions, what="the amount", everyone="all rows"))
    return charts


def _draw_against_truth(truth: NDArray[float64], predictions: NDArray[float64], unit: str) -> Chart:
    both = np.concatenate([truth, predictions])
    scale = choose_scale(both, skewed=_SKEWED, unit=unit)
    placed = scale.place(both)
    edges = np.linspace(placed.min(), placed.max() + 1e-9, _CELLS + 1)
    counts, _, _ = np.histogram2d(scale.place(truth), scale.place(predictions), (edges, edges))
    strength = np.log1p(counts) / np.log1p(counts.max())

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        left, low = np.nonzero(counts)
        step = edges[1] - edges[0]
        axes.bar(
            edges[left],
            step,
            step,
            edges[low],
            align="edge",
            color=[to_rgba(MODEL, 0.12 + 0.85 * value) for value in strength[left, low]],
            linewidth=0,
        )
        axes.plot(edges[[0, -1]], edges[[0, -1]], color=MUTED, linewidth=1, linestyle="--")
        scale.label(axes, both, unit=unit, title="true amount")
        scale.label(axes, both, axis="y", unit=unit, title="predicted amount")
        axes.set_aspect("equal")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(edges[0], edges[-1])
        quiet_axes(axes, grid="")

    caption = (
        "Each test row by its true and its predicted amount; the stronger the colour, the more rows. "
        "On the dashed line both are the same."
    )
    return draw(
        paint,
        name="against-truth",
        title="Predicted against true amounts",
        caption=caption,
        width=5.0,
        height=4.6,
    )


def _draw_deciles(truth: NDArray[float64], predictions: NDArray[float64], unit: str) -> Chart:
    groups = group_by_prediction(predictions)
    forecast = np.array([predictions[group].mean() for group in groups])
    happened = np.array([truth[group].mean() for group in groups])
    rng = np.random.default_rng(0)
    bounds = np.array(
        [
            np.quantile(rng.choice(truth[group], (_RESAMPLES, len(group))).mean(axis=1), [0.025, 0.975])
            for group in groups
        ]
    ).T
    values = np.concatenate([forecast, happened, bounds.ravel()])
    scale = choose_scale(values, skewed=_SKEWED, unit=unit)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(1, len(groups) + 1)
        axes.vlines(places, *scale.place(bounds), color=SECOND, linewidth=1.4)
        axes.scatter(
            places, scale.place(happened), color=SECOND, s=30, zorder=3, label="truth, with 95 % intervals"
        )
        axes.plot(places, scale.place(forecast), color=MODEL, marker="D", markersize=4, label="prediction")
        axes.set_xticks(places)
        axes.set_xlabel("tenths of the rows, by rising prediction")
        scale.label(axes, values, axis="y", unit=unit, title="mean amount")
        axes.legend(loc="upper left")
        quiet_axes(axes)

    return draw(
        paint,
        name="deciles",
        title="Calibration by tenths",
        caption="Test rows in ten groups by rising prediction: does the mean prediction equal the true mean?",
    )


def _draw_residuals(truth: NDArray[float64], predictions: NDArray[float64], unit: str) -> Chart:
    errors = predictions - truth
    scale = choose_scale(truth, skewed=_SKEWED, unit=unit)
    placed = scale.place(errors)
    edges = np.linspace(placed.min() - 1e-9, placed.max() + 1e-9, 60)
    half = float(np.median(np.abs(errors)))
    over = float((errors > 0).mean())

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        counts, _ = np.histogram(placed, edges)
        axes.stairs(counts / len(errors), edges, fill=True, color=MODEL, alpha=0.6)
        axes.axvline(0, color=MUTED, linewidth=1, linestyle="--")
        scale.label(axes, errors, unit=unit, title="predicted less true amount")
        axes.set_ylabel("share of test rows")
        as_shares(axes, "y")
        quiet_axes(axes)

    caption = (
        f"Half of the test rows are off by {_at_most(format_value(half, unit))}; "
        f"{over:.0%} are predicted too high."
    )
    return draw(paint, name="residuals", title="Errors (residuals)", caption=caption)


def _at_most(amount: str) -> str:
    """The words before an amount as text, which may be "< $0.01"."""
    return f"less than {amount.removeprefix('< ')}" if amount.startswith("<") else f"at most {amount}"

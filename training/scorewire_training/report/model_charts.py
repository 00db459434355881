"""Charts of the search for the model and of the importance of features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scorewire_training.report.importance import Explanation, Importance
from scorewire_training.report.scales import choose_scale, format_short
from scorewire_training.report.style import (
    HIGH,
    INK,
    LOW,
    MODEL,
    MUTED,
    SECOND,
    Chart,
    draw,
    label_bar,
    quiet_axes,
    shorten,
)
from scorewire_training.study.candidates import TunedCandidate
from scorewire_training.study.learning_curve import LearningCurve
from scorewire_training.training_result import ReportSection

_MAX_BARS = 20


def draw_candidates(candidates: tuple[TunedCandidate, ...], chosen: str, loss_name: str) -> Chart:
    """Each candidate's loss on every fold (hollow) and its mean loss (filled)."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(candidates))[::-1]
        for place, candidate in zip(places, candidates, strict=True):
            colour = MODEL if candidate.name == chosen else MUTED
            low, high = fold_interval(candidate)
            losses = candidate.fold_losses
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.scatter(
                losses,
                [place + 0.22] * len(losses),
                facecolors="none",
                edgecolors=colour,
                s=14,
                linewidths=0.8,
            )
            axes.scatter([candidate.loss], [place], color=colour, s=42, zorder=3)
        axes.set_yticks(places, [shorten(candidate.name) for candidate in candidates], color=INK)
        axes.set_ylim(-0.6, len(candidates) - 0.4)
        axes.set_xlabel("loss, less is better")
        quiet_axes(axes, grid="x")

    caption = (
        f"Each candidate's {loss_name}: mean (dot), one standard error about it (line), "
        f"folds (circles). Chosen: {chosen}."
    )
    return draw(paint, name="candidates", caption=caption, height=0.9 + 0.38 * len(candidates))


def fold_interval(candidate: TunedCandidate) -> tuple[float, float]:
    """The mean loss minus and plus one standard error over the folds."""
    losses = np.array(candidate.fold_losses)
    error = float(losses.std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else 0.0
    return candidate.loss - error, candidate.loss + error


def draw_learning_curve(curve: LearningCurve) -> Chart:
    """The training and validation loss by the number of rows."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(
            curve.rows, curve.training, color=SECOND, marker="o", markersize=4, label="on the rows fitted on"
        )
        axes.plot(curve.rows, curve.validation, color=MODEL, marker="D", markersize=4, label="on other rows")
        axes.set_xlabel("rows fitted on")
        axes.set_ylabel("loss")
        axes.set_xlim(0, None)
        axes.xaxis.set_major_formatter(lambda value, _: format_short(value))
        axes.legend()
        quiet_axes(axes)

    caption = f"Learning curve, loss: {curve.loss_name}. If the lines still converge, more data would help."
    return draw(paint, name="learning-curve", caption=caption)


def draw_permutation(importances: list[Importance], measure: str) -> Chart:
    """The loss of the metric for each shuffled feature."""
    shown = importances[:_MAX_BARS]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(shown))[::-1]
        axes.barh(places, [item.mean for item in shown], color=MODEL, height=0.64)
        axes.errorbar(
            [item.mean for item in shown],
            places,
            xerr=[item.deviation for item in shown],
            fmt="none",
            ecolor=INK,
            elinewidth=1,
        )
        axes.set_yticks(places, [shorten(item.feature) for item in shown], color=INK)
        axes.set_xlabel(f"loss of {measure} when the feature is shuffled")
        quiet_axes(axes, grid="x")

    caption = (
        f"Permutation: the loss of {measure} on test rows when the feature is shuffled, ± one deviation."
    )
    return draw(paint, name="permutation", caption=caption, height=0.8 + 0.24 * len(shown))


def draw_shap(explanation: Explanation) -> Chart:
    """Each explained row as a dot: the SHAP value of a feature, coloured by whether its value is high."""
    order = explanation.order[:_MAX_BARS]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        rng = np.random.default_rng(0)
        for place, feature in enumerate(reversed(order)):
            values = explanation.contributions[feature]
            ranks = explanation.ranks[feature]
            jitter = rng.uniform(-0.3, 0.3, len(values))
            for high, colour in ((False, LOW), (True, HIGH)):
                # A missing value counts as low.
                part = (ranks >= 0.5) == high
                axes.scatter(
                    values[part],
                    place + jitter[part],
                    s=5,
                    color=colour,
                    alpha=0.45,
                    linewidths=0,
                    rasterized=True,
                )
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(np.arange(len(order)), [shorten(feature) for feature in reversed(order)], color=INK)
        axes.set_xlabel("SHAP value: moves the model's margin up (right) or down (left)")
        axes.scatter([], [], s=16, color=HIGH, label="high value")
        axes.scatter([], [], s=16, color=LOW, label="low value")
        figure.legend(loc="outside upper right", ncols=2)
        quiet_axes(axes, grid="x")

    caption = f"SHAP: each dot is one of {explanation.rows:,} test rows; {explanation.note}"
    return draw(paint, name="shap", caption=caption, height=1.1 + 0.28 * len(order))


def draw_section(section: ReportSection, number: int) -> list[Chart]:
    """A bar chart for each of the section's charted columns."""
    table = section.table.iloc[:_MAX_BARS]
    names = [shorten(name, 24) for name in table.index]
    charts = []
    for place, column in enumerate(section.chart):
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        title = column.replace("_", " ")

        def paint(figure: Figure, values: NDArray[np.float64] = values, title: str = title) -> None:
            axes = figure.subplots()
            scale = choose_scale(values)
            places = np.arange(len(values))[::-1]
            known = np.nan_to_num(values)
            axes.barh(places, scale.place(known), color=MODEL, height=0.64)
            for at, value in zip(places, known, strict=True):
                label_bar(axes, format_short(value), float(scale.place(np.array([value]))[0]), at)
            axes.set_yticks(places, names, color=INK)
            axes.margins(x=0.16)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.set_title(shorten(title, 40))
            quiet_axes(axes, grid="")

        caption = f"{section.title}: {title}."
        height = 0.6 + 0.24 * len(values)
        charts.append(
            draw(paint, name=f"section-{number}-{place}", caption=caption, width=3.9, height=height)
        )
    return charts

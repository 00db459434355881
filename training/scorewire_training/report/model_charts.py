"""Charts of the search for the model and of the importance of features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scorewire_training.evaluation.formats import format_value
from scorewire_training.report.importance import Explanation, Importance
from scorewire_training.report.scales import LOG_SCALE, choose_scale, format_tick
from scorewire_training.report.style import (
    HIGH,
    INK,
    LOW,
    MODEL,
    MUTED,
    SECOND,
    TEXT,
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
_HIGH_RANK = 0.5


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
    return draw(
        paint, name="candidates", title="Candidates", caption=caption, height=0.9 + 0.38 * len(candidates)
    )


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
        axes.xaxis.set_major_formatter(lambda value, _: format_tick(value))
        axes.legend()
        quiet_axes(axes)

    caption = f"Loss: {curve.loss_name}. If the lines still converge, more data would help."
    return draw(paint, name="learning-curve", title="Learning curve", caption=caption)


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
        axes.set_yticks(places, [shorten(item.feature, 24) for item in shown], color=INK)
        axes.set_xlabel(f"loss of {measure}")
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(lambda value, _: format_tick(value))
        quiet_axes(axes, grid="x")

    caption = f"The loss of {measure} on test rows when the feature is shuffled, ± one standard deviation."
    height = 0.9 + 0.28 * len(shown)
    return draw(paint, name="permutation", title="Permutation importance", caption=caption, height=height)


def draw_shap(explanation: Explanation, *, amount: bool) -> Chart:
    """Each explained row as a dot: the SHAP value of a feature, coloured by whether its value is high."""
    order = explanation.order[:_MAX_BARS]
    colours = {"high value": HIGH, "low value": LOW, "text": TEXT}

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        rng = np.random.default_rng(0)
        for place, feature in enumerate(reversed(order)):
            values, ranks = explanation.contributions[feature], explanation.ranks[feature]
            jitter = place + rng.uniform(-0.3, 0.3, len(values))
            parts = {"text": np.ones(len(values), dtype=np.bool_)}
            if ranks is not None:
                parts = {"high value": ranks >= _HIGH_RANK, "low value": ranks < _HIGH_RANK}
            for name, part in parts.items():
                axes.scatter(
                    values[part],
                    jitter[part],
                    s=6,
                    color=colours[name],
                    alpha=0.5,
                    linewidths=0,
                    rasterized=True,
                )
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(
            np.arange(len(order)), [shorten(feature, 24) for feature in reversed(order)], color=INK
        )
        axes.locator_params(axis="x", nbins=6, integer=amount)
        if amount:
            axes.set_xlabel(f"factor of the predicted amount, {LOG_SCALE}")
            axes.xaxis.set_major_formatter(lambda value, _: _factor(value))
        else:
            axes.set_xlabel("change of the probability in % points")
            axes.xaxis.set_major_formatter(lambda value, _: format_tick(100 * value))
        for name, colour in colours.items():
            if name != "text" or any(explanation.ranks[feature] is None for feature in order):
                axes.scatter([], [], s=22, color=colour, label=name)
        figure.legend(loc="outside upper right", ncols=3)
        quiet_axes(axes, grid="x")

    caption = (
        f"Each dot is one of {explanation.rows:,} test rows: how its value of the feature changes the "
        "prediction, compared with training rows."
    )
    height = 1.3 + 0.3 * len(order)
    return draw(paint, name="shap", title="SHAP values", caption=caption, height=height)


def _factor(logarithm: float) -> str:
    """The factor of a logarithm to base 10: ×10 or ÷10."""
    return f"{'÷' if logarithm < 0 else '×'}{format_tick(float(10 ** abs(logarithm)))}"


def draw_section(section: ReportSection, number: int) -> list[Chart]:
    """A bar chart for each of the section's charted columns."""
    table = section.table.iloc[:_MAX_BARS]
    names = [shorten(name, 24) for name in table.index]
    charts = []
    by = f" by {section.table.index.name}" if section.table.index.name else ""
    for place, column in enumerate(section.chart):
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        title, unit = column.replace("_", " "), section.units.get(column, "")

        def paint(figure: Figure, values: NDArray[np.float64] = values, unit: str = unit) -> None:
            axes = figure.subplots()
            scale = choose_scale(values, unit=unit)
            places = np.arange(len(values))[::-1]
            known = np.nan_to_num(values)
            axes.barh(places, scale.place(known), color=MODEL, height=0.64)
            for at, value in zip(places, known, strict=True):
                label_bar(
                    axes, format_value(float(value), unit), float(scale.place(np.array([value]))[0]), at
                )
            axes.set_yticks(places, names, color=INK)
            axes.margins(x=0.2)
            if scale.step:
                axes.set_xlabel(LOG_SCALE)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            quiet_axes(axes, grid="")

        charts.append(
            draw(
                paint,
                name=f"section-{number}-{place}",
                title=f"{title[:1].upper()}{title[1:]}{by}",
                caption=f"bars of {section.title}",
                width=3.9,
                height=0.7 + 0.26 * len(values),
            )
        )
    return charts

"""Charts of the data: cleaning, distributions, correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy import float64
from numpy.typing import NDArray

from scorewire_training.report.scales import choose_scale, format_tick
from scorewire_training.report.style import (
    GRID,
    INK,
    MODEL,
    MUTED,
    SECOND,
    Chart,
    as_shares,
    draw,
    label_bar,
    quiet_axes,
    shorten,
)
from scorewire_training.training_result import CleaningStep, PredictionKind, TrainingResult

_BINS = 28
_MAX_CORRELATED = 16
_MAX_CORRELATED_ROWS = 20_000
_MAX_VALUES = 7


def draw_cleaning(steps: tuple[CleaningStep, ...]) -> Chart:
    """The rows that are left after each cleaning step, from the top down."""
    labels = ["as read", *(step.name for step in steps)]
    left = np.array([steps[0].rows_left + steps[0].rows_taken, *(step.rows_left for step in steps)])
    taken = [0, *(step.rows_taken for step in steps)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(labels))[::-1]
        axes.barh(places, left, color=MODEL, height=0.62)
        axes.barh(places, taken, left=left, color=SECOND, height=0.62)
        for place, rows, gone in zip(places, left, taken, strict=True):
            text = f"{rows:,}" + (f" (−{gone:,})" if gone else "")
            label_bar(axes, text, float(rows + gone), float(place))
        axes.set_yticks(places, [shorten(label, 34) for label in labels], color=INK)
        axes.set_xlim(0, float(left[0]) * 1.45)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        quiet_axes(axes, grid="")

    caption = "Rows left after each cleaning step; the rows that the step dropped are orange."
    return draw(
        paint, name="cleaning", title="Cleaning", caption=caption, width=5.8, height=0.5 + 0.3 * len(labels)
    )


def draw_target(result: TrainingResult) -> Chart:
    """The distribution of the true values, in training and in the test."""
    if result.kind is PredictionKind.PROBABILITY:
        return _draw_labels(result)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _histogram(axes, result.sample_target, result.target, unit=result.unit, title="true amount")
        axes.set_ylabel("share of rows")
        as_shares(axes, "y")
        axes.legend(loc="upper right")

    zeros = float((result.target == 0).mean())
    caption = f"The truth in training and in the test; {zeros:.1%} of the test rows are zero."
    return draw(paint, name="target", title="True amounts", caption=caption)


def _draw_labels(result: TrainingResult) -> Chart:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        shares = [float(result.sample_target.mean()), float(result.target.mean())]
        rows = [len(result.sample_target), len(result.target)]
        places = np.arange(2)[::-1]
        axes.barh(places, shares, color=MODEL, height=0.5)
        axes.barh(places, [1 - share for share in shares], left=shares, color=GRID, height=0.5)
        for place, share in zip(places, shares, strict=True):
            label_bar(axes, f"{share:.1%} label 1", share, float(place))
        names = ("training", "test")
        axes.set_yticks(places, [f"{name}\n{n:,} rows" for name, n in zip(names, rows, strict=True)])
        axes.set_xlim(0, 1)
        as_shares(axes, "x")
        quiet_axes(axes, grid="")

    return draw(paint, name="target", title="Labels", caption="Share of rows with label 1.", height=2.0)


def draw_feature(result: TrainingResult, feature: str, *, number: int) -> Chart:
    """The distribution of one feature in training (filled) and in the test (line)."""
    training, test = result.sample[feature], result.test[feature]
    kind = "numbers" if pd.api.types.is_numeric_dtype(training.dtype) else "texts"

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        if kind == "numbers":
            _histogram(
                axes, training.to_numpy(float64, na_value=np.nan), test.to_numpy(float64, na_value=np.nan)
            )
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        else:
            _bars(axes, training, test)
        axes.set_title(shorten(feature, 32))

    caption = f"{kind} in training (filled) and in the test (orange)"
    return draw(paint, name=f"feature-{number}", title=feature, caption=caption, width=3.3, height=2.0)


def _histogram(
    axes: Axes, training: NDArray[float64], test: NDArray[float64], *, unit: str = "", title: str = ""
) -> None:
    everything = np.concatenate([training, test])
    everything = everything[np.isfinite(everything)]
    if not len(everything):
        axes.text(0.5, 0.5, "all missing", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
        return
    scale = choose_scale(everything, unit=unit)
    # A few outliers would squeeze all other values into one bar, so they are put into the outermost bars.
    low, high = (
        (everything.min(), everything.max()) if scale.step else np.quantile(everything, [0.002, 0.998])
    )
    if low == high:
        low, high = everything.min(), everything.max()
    ends = scale.place(np.array([low, high], dtype=float64))
    if ends[0] == ends[1]:
        ends = ends + np.array([-0.5, 0.5])
    edges = np.linspace(ends[0], ends[1], _BINS + 1)
    for values, name in ((training, "training"), (test, "test")):
        known = values[np.isfinite(values)]
        counts, _ = np.histogram(np.clip(scale.place(known), edges[0], edges[-1]), edges)
        shares = counts / max(1, len(known))
        if name == "training":
            axes.stairs(shares, edges, fill=True, color=MODEL, alpha=0.55, label=name)
        else:
            axes.stairs(shares, edges, color=SECOND, linewidth=1.4, label=name)
    scale.label(axes, np.array([low, high], dtype=float64), unit=unit, title=title)
    quiet_axes(axes)


def _bars(axes: Axes, training: pd.Series[Any], test: pd.Series[Any]) -> None:
    """The most frequent texts, and all other texts as one bar."""
    known, tried = (column.astype(object).where(column.notna(), "(missing)") for column in (training, test))
    shares = known.value_counts(normalize=True).rename_axis("text").reset_index(name="share")
    # Ties are sorted by text, whatever the order of the rows.
    shares = shares.sort_values(["share", "text"], ascending=[False, True], key=_as_order)
    texts = [str(text) for text in shares["text"][:_MAX_VALUES]]
    in_test = tried.map(str).value_counts(normalize=True)
    rows = [
        (shorten(text, 18), float(share), float(in_test.get(text, 0.0)))
        for text, share in zip(texts, shares["share"], strict=False)
    ]
    others = len(shares) - len(texts)
    if others:
        rows.append((f"{others:,} others", 1 - sum(row[1] for row in rows), 1 - sum(row[2] for row in rows)))
    places = np.arange(len(rows))[::-1]
    axes.barh(places, [row[1] for row in rows], color=MODEL, alpha=0.55, height=0.7)
    axes.scatter([row[2] for row in rows], places, color=SECOND, marker="|", s=40, zorder=3)
    axes.set_yticks(places, [row[0] for row in rows], fontsize=8)
    as_shares(axes, "x")
    axes.locator_params(axis="x", nbins=4)
    quiet_axes(axes, grid="x")


def _as_order(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map(str) if column.name == "text" else column


def draw_correlations(result: TrainingResult) -> Chart | None:
    """Rank correlations of number features with the truth and each other; None for fewer than two."""
    numbers = result.sample.select_dtypes("number").iloc[:_MAX_CORRELATED_ROWS]
    numbers = numbers.loc[:, numbers.nunique() > 1]
    if numbers.shape[1] < 2:
        return None
    target = pd.Series(result.sample_target[: len(numbers)], index=numbers.index)
    with_target = numbers.rank().corrwith(target.rank()).fillna(0.0)
    strongest = with_target.abs().sort_values(ascending=False, kind="stable").index[:_MAX_CORRELATED]
    table = pd.concat([target.rename("(truth)"), numbers[strongest]], axis=1)
    matrix = table.rank().corr().fillna(0.0).to_numpy()
    names = [shorten(name, 24) for name in table.columns]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        count = len(names)
        # The strength is the opacity, so that no correlation is invisible on any background.
        colours = [
            to_rgba(MODEL if value > 0 else SECOND, min(1.0, abs(value)) * 0.6) for value in matrix.ravel()
        ]
        mesh = axes.pcolormesh(np.zeros((count, count)))
        mesh.set_array(None)
        mesh.set_facecolor(colours)
        for (row, column), value in np.ndenumerate(matrix):
            if row != column and abs(value) >= 0.1:
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    f"{value:.1f}".replace("-", "−"),
                    ha="center",
                    va="center",
                    fontsize=8,
                )
        places = np.arange(count) + 0.5
        axes.set_xticks(places, names, rotation=45, ha="left", color=INK)
        axes.set_yticks(places, names, color=INK)
        axes.xaxis.tick_top()
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        quiet_axes(axes, grid="")

    side = 2.0 + 0.38 * len(names)
    more = numbers.shape[1] - len(strongest)
    caption = "Spearman's correlation of ranks, −1 to 1: blue is positive, orange is negative." + (
        f" The {len(strongest)} number features nearest to the truth, of {numbers.shape[1]}." if more else ""
    )
    return draw(
        paint, name="correlations", title="Correlations", caption=caption, width=side + 1.0, height=side
    )


def describe_range(column: pd.Series[Any]) -> str:
    """The range of numbers, or the number of distinct texts, for people."""
    known = column.dropna()
    if known.empty:
        return "all missing"
    if pd.api.types.is_numeric_dtype(column.dtype):
        low, middle, high = (format_tick(float(value)) for value in known.quantile([0, 0.5, 1]))
        return f"{low} to {high}, middle {middle}"
    distinct = known.nunique()
    return f"{distinct:,} texts" if distinct > 1 else "1 text"

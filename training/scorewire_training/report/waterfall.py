"""The waterfall of one prediction: from the base, by the columns, to the margin."""

from __future__ import annotations

from matplotlib.figure import Figure

from scorewire_training.evaluation.formats import SHARE, format_value
from scorewire_training.report.explained_row import ExplainedRow
from scorewire_training.report.style import GRID, INK, MODEL, MUTED, SECOND, Chart, draw, quiet_axes, shorten

_MAX_BARS = 10


def draw_waterfall(row: ExplainedRow, unit: str) -> Chart:
    """The strongest columns as bars, each beginning where the one above it ends.

    Args:
        row: the explanation.
        unit: the unit of the prediction; "" for a probability.
    """
    bars = _choose_bars(row)
    outputs = [format_value(output, unit or SHARE) for output in (row.base_output, row.output)]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        end = row.base
        ends = [end]
        for place, (_, contribution) in enumerate(bars, 1):
            axes.barh(
                -place, contribution, left=end, color=SECOND if contribution < 0 else MODEL, height=0.64
            )
            right = max(end, end + contribution)
            axes.annotate(
                row.format_contribution(contribution),
                (right, -place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
            )
            # Leads the eye to the next bar, which begins here.
            axes.plot([end + contribution] * 2, [-place, -place - 1], color=MUTED, linewidth=0.6)
            end += contribution
            ends.append(end)
        axes.plot([row.base] * 2, [0, -1], color=MUTED, linewidth=0.6)
        for place, value, output in ((0, row.base, outputs[0]), (-len(bars) - 1, end, outputs[1])):
            axes.plot([value], [place], color=INK, marker="D", markersize=5)
            axes.annotate(
                output, (value, place), (7, 0), textcoords="offset points", va="center", fontsize=9.5
            )
        axes.axvline(row.base, color=GRID, linewidth=0.8, zorder=0)
        names = ["base", *(name for name, _ in bars), "prediction"]
        axes.set_yticks([-place for place in range(len(names))], names, color=INK)
        axes.set_ylim(-len(names) + 0.4, 0.6)
        room = (max(ends) - min(ends)) or 1.0
        # The texts at the right of the bars need some.
        axes.set_xlim(min(ends) - 0.06 * room, max(ends) + 0.22 * room)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        quiet_axes(axes, grid="")

    caption = f"From the base, {outputs[0]}, by the columns, to the prediction, {outputs[1]}."
    return draw(
        paint,
        name="waterfall",
        title="Why the prediction is what it is",
        caption=caption,
        width=6.4,
        height=1.0 + 0.3 * (len(bars) + 2),
    )


def _choose_bars(row: ExplainedRow) -> list[tuple[str, float]]:
    """The strongest columns, named with their values, and what all others add up to."""
    strongest = row.strongest()
    shown = len(strongest) if len(strongest) <= _MAX_BARS + 1 else _MAX_BARS
    bars = [
        (f"{shorten(name, 24)} = {shorten(row.values[name], 14)}", contribution)
        for name, contribution in strongest[:shown]
    ]
    others = strongest[shown:]
    if others:
        bars.append((f"{len(others)} other columns", sum(contribution for _, contribution in others)))
    return bars

"""Plots a report: latency by percentile, and latency and throughput over time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from scorewire_loadtest import slo
from scorewire_loadtest.page import headline, to_page
from scorewire_loadtest.quantities import show_duration
from scorewire_loadtest.report import Report
from scorewire_loadtest.results import Second

_INK = "#1f2933"
_FAINT = "#7b8794"
_GRID = "#e4e7eb"
_PALE = "#9aa5b1"
_BLUE = "#2563eb"
_AMBER = "#d97706"
_RED = "#dc2626"
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _FAINT,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titlepad": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "grid.color": _GRID,
    "svg.fonttype": "path",
    # Makes the ids in an SVG file the same for equal results.
    "svg.hashsalt": "scorewire",
}


def write_plot(report: Report, path: Path) -> None:
    """Plot a report to a .png or .svg file, or to a self-contained .html page.

    Raises:
        ValueError: the path has another suffix.
        OSError: the file cannot be written.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in {"png", "svg", "html"}:
        raise ValueError(f"{path} must end in .png, .svg or .html")
    with mpl.rc_context(_STYLE):
        figure = _draw(report)
        picture = io.BytesIO()
        metadata = None if kind == "png" else {"Date": None}
        figure.savefig(picture, format="png" if kind == "png" else "svg", dpi=150, metadata=metadata)
    content = picture.getvalue()
    path.write_bytes(to_page(report, content.decode("utf-8")).encode("utf-8") if kind == "html" else content)


def _draw(report: Report) -> Figure:
    results = report.results
    # A last second that is not complete would look like a drop in throughput.
    seconds = [second for second in results.seconds if second.second + 1 <= results.elapsed_s]
    over_time = len(seconds) > 1
    figure = Figure(figsize=(10, 9.2 if over_time else 4.6), layout="constrained")
    axes = figure.subplots(
        3 if over_time else 1, 1, squeeze=False, height_ratios=[2, 1.3, 1] if over_time else [1]
    )
    _draw_percentiles(axes[0, 0], report)
    if over_time:
        _draw_latency(axes[1, 0], seconds)
        _draw_throughput(axes[2, 0], seconds)
    asked = [report.settings[name] for name in ("rows", "loop", "calls") if name in report.settings]
    figure.supxlabel("; ".join(asked), fontsize=8, color=_FAINT)
    figure.suptitle(headline(results), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def _position(percentile: float) -> float:
    """The position of a percentile on the logarithmic axis: each doubling halves the share above it."""
    return 1 / (1 - percentile / 100)


def _draw_percentiles(axes: Axes, report: Report) -> None:
    results = report.results
    axes.set_title("Latency by percentile")
    axes.set_xlabel("percentile of calls, log scale")
    count = results.calls
    points = [(_position(p), us / 1000) for p, us in results.distribution if p < 100]
    if not points:
        axes.text(0.5, 0.5, "no call was answered", ha="center", transform=axes.transAxes, color=_FAINT)
        return
    # Beyond one call in `count` there is nothing to tell.
    end = max(count, 10)
    points = [(x, ms) for x, ms in points if x <= end]
    xs, ys = [x for x, _ in points], [ms for _, ms in points]
    axes.plot([*xs, end], [*ys, results.max_us / 1000], color=_BLUE, linewidth=2)
    axes.fill_between([*xs, end], [*ys, results.max_us / 1000], color=_BLUE, alpha=0.08)
    top = results.max_us / 1000
    shown = []
    for percentile, us in results.latency_us.items():
        if percentile in (50.0, 90.0, 99.0, 99.9, 99.99) and _position(percentile) <= end:
            axes.plot(_position(percentile), us / 1000, "o", color=_BLUE, markersize=5, zorder=3)
            shown.append((_position(percentile), us))
    for x, us in shown:
        axes.annotate(
            show_duration(us), (x, us / 1000), xytext=(-4, 9), textcoords="offset points", ha="right",
            fontsize=9, color=_INK,
        )  # fmt: skip
    axes.annotate(
        f"max {show_duration(results.max_us)}", (end, top), xytext=(-4, 7), textcoords="offset points",
        ha="right", fontsize=9, color=_INK,
    )  # fmt: skip
    for verdict in report.verdicts:
        if verdict.objective.metric != slo.ERROR_RATE:
            limit = verdict.objective.limit / 1000
            top = max(top, limit)
            axes.axhline(limit, color=_FAINT if verdict.met else _RED, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{verdict.objective.metric} limit {show_duration(verdict.objective.limit)}",
                (1, limit), xytext=(4, 3), textcoords="offset points", fontsize=8,
                color=_FAINT if verdict.met else _RED,
            )  # fmt: skip
    axes.set_xscale("log")
    ticks = [p for p in _TICKS if _position(p) <= end]
    axes.xaxis.set_major_locator(FixedLocator([_position(p) for p in ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * (1 - 1 / x):.6g}%"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(1, end)
    axes.set_ylim(0, top * 1.15)
    _milliseconds(axes)


def _draw_latency(axes: Axes, seconds: list[Second]) -> None:
    axes.set_title("Latency over time, log scale")
    lines = (
        ("max", [s.max_us for s in seconds], _PALE, 1.0),
        ("p99", [s.p99_us for s in seconds], _AMBER, 1.6),
        ("p50", [s.p50_us for s in seconds], _BLUE, 1.6),
    )
    for name, values, colour, width in lines:
        ms = [float("nan") if us is None else us / 1000 for us in values]
        axes.plot([s.second for s in seconds], ms, color=colour, linewidth=width, label=name)
    axes.set_xlim(seconds[0].second, seconds[-1].second)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, ncols=3, loc="upper right", bbox_to_anchor=(1, 1.16))
    _milliseconds(axes)


def _draw_throughput(axes: Axes, seconds: list[Second]) -> None:
    axes.set_title("Calls per second")
    axes.set_xlabel("second of the run")
    xs = [s.second for s in seconds]
    axes.plot(xs, [s.answered for s in seconds], color=_BLUE, linewidth=1.6, label="answered")
    axes.fill_between(xs, [s.answered for s in seconds], color=_BLUE, alpha=0.08)
    if any(s.failed for s in seconds):
        axes.plot(xs, [s.failed for s in seconds], color=_RED, linewidth=1.6, label="failed")
        axes.legend(frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.22))
    axes.set_xlim(xs[0], xs[-1])
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.grid(axis="y")


def _milliseconds(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda ms, _: f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s")
    )
    axes.grid(axis="y")

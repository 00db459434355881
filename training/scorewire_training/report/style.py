"""The look of all charts, and how a chart becomes a part of the page.

Charts are SVG inside the page. The colours below are placeholders: in the SVG each is
replaced by a variable of the page's style sheet, which has values for a light and for
a dark page. They are from Okabe and Ito's palette, which colour-blind people can
distinguish.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorewire_training.evaluation.formats import SHARE
from scorewire_training.report.scales import format_tick

INK = "#1b1f24"
MUTED = "#5f6773"
GRID = "#d9dde3"
MODEL = "#0072b2"
SECOND = "#c65300"
THIRD = "#00805d"
# Colours of rasterized dots, which no style sheet can change; visible on both backgrounds.
HIGH = "#2b8fd0"
LOW = "#e0762a"
TEXT = "#85898f"

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    MODEL: "model",
    SECOND: "second",
    THIRD: "third",
}
_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    # Texts stay texts: smaller files, and readable for searches and screen readers.
    "svg.fonttype": "none",
    "text.color": INK,
    # The name of a column may be "$x$".
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 9.5,
}
_ID = re.compile(r' id="([^"]+)"')
_REFERENCE = re.compile(r'(?:url\(#|href="#)([^)"]+)')
_COLOUR = re.compile("|".join(_VARIABLES))


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as a part of a page: the SVG, a title, and a caption; screen readers read both."""

    svg: Markup
    title: str
    caption: str


def draw(
    paint: Callable[[Figure], None],
    *,
    name: str,
    title: str,
    caption: str,
    width: float = 5.4,
    height: float = 3.2,
) -> Chart:
    """Draw a figure with `paint` as SVG; the same input gives the same bytes.

    Args:
        paint: draws on an empty figure.
        name: the name of the chart, unique on the page.
        title: what the chart is about, in a few words.
        caption: what the chart shows, for people.
        width: the width in inches.
        height: the height in inches.
    """
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    return Chart(_embed(text.getvalue(), f"{title}: {caption}"), title, caption)


def quiet_axes(axes: Axes, *, grid: str = "y") -> None:
    """Remove tick marks, and keep grid lines of one direction ("x", "y") or no grid lines ("")."""
    axes.tick_params(length=0)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, axis="x" if grid == "x" else "y")


def as_shares(axes: Axes, which: str = "xy") -> None:
    """Format the ticks of some axes as percentages."""
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: format_tick(value, SHARE))


def label_bar(axes: Axes, text: str, end: float, place: float) -> None:
    """Write a text next to the end of a horizontal bar."""
    axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=9.5)


def shorten(text: object, limit: int = 28) -> str:
    """A text that fits next to a chart; the tables have the whole text."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _embed(document: str, label: str) -> Markup:
    """The <svg> of a document, sized by the page, with the page's colours and unique ids."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Names like "axes_1" are in every chart, and no element refers to them.
    used = set(_REFERENCE.findall(svg))
    svg = _ID.sub(lambda match: match[0] if match[1] in used else "", svg)
    svg = _COLOUR.sub(lambda match: f"var(--{_VARIABLES[match[0]]})", svg)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    if box is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    # One inch of the figure is 72 units. The page shows it at most a third larger, and not so small that its
    # texts cannot be read: a figure that is wider than the page scrolls.
    width = float(box[0].rstrip('"').split()[2])
    style = f"max-width:{width * 1.34:.0f}px;min-width:{width * 0.85:.0f}px"
    opening = Markup('<svg {} style="{}" role="img" aria-label="{}">').format(Markup(box[0]), style, label)  # noqa: S704 - numbers
    return opening + Markup(body)  # noqa: S704 - matplotlib escapes the texts

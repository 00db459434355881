"""How every chart looks, and how it becomes a part of the page.

Charts are SVG inside the page. The colours below are names: in the SVG each is
replaced by a variable of the page's style sheet, which has a set for light and
a set for dark. They are of Okabe and Ito's palette, which colour-blind people
can tell apart.
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

INK = "#1b1f24"
MUTED = "#5f6773"
GRID = "#d9dde3"
MODEL = "#0072b2"
SECOND = "#c65300"
THIRD = "#00805d"
# Of dots that are painted as a picture, which no style sheet reaches: seen on both grounds.
HIGH = "#2b8fd0"
LOW = "#e0762a"

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
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    # Texts stay texts: smaller, found by a search, read by a screen reader.
    "svg.fonttype": "none",
    "text.color": INK,
    # A column may be called "$x$".
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 8,
}
_ID = re.compile(r' id="([^"]+)"')
_REFERENCE = re.compile(r'(?:url\(#|href="#)([^)"]+)')
_COLOUR = re.compile("|".join(_VARIABLES))


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart as a part of a page: the SVG, and what it shows, for those who do not see it."""

    svg: Markup
    caption: str


def draw(
    paint: Callable[[Figure], None], *, name: str, caption: str, width: float = 5.4, height: float = 3.2
) -> Chart:
    """What `paint` puts on a figure, as SVG; the same input gives the same bytes.

    Args:
        paint: fills an empty figure.
        name: of the chart, one that no other chart of the page has.
        caption: what is to be seen, for people.
        width: inches.
        height: inches.
    """
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    return Chart(_embed(text.getvalue(), caption), caption)


def quiet_axes(axes: Axes, *, grid: str = "y") -> None:
    """Keep the grid lines of one direction ("x", "y") or none (""), and no tick marks."""
    axes.tick_params(length=0)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, axis="x" if grid == "x" else "y")


def as_shares(axes: Axes, which: str = "xy") -> None:
    """Write the ticks of some axes in percent."""
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(lambda value, _: f"{value:.0%}")


def label_bar(axes: Axes, text: str, end: float, place: float) -> None:
    """Write beside the end of a horizontal bar."""
    axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8)


def shorten(text: object, limit: int = 28) -> str:
    """A text that fits beside a chart; what is cut off is in the tables."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _embed(document: str, caption: str) -> Markup:
    """The <svg> of a document, sized by the page, with the page's colours and ids that no other chart has."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Names like "axes_1" are in every chart, and nothing refers to them.
    used = set(_REFERENCE.findall(svg))
    svg = _ID.sub(lambda match: match[0] if match[1] in used else "", svg)
    svg = _COLOUR.sub(lambda match: f"var(--{_VARIABLES[match[0]]})", svg)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', head)
    if box is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    # One inch of the figure is 72 units; the page shows it a third larger at most.
    width = float(box[0].rstrip('"').split()[2])
    style = f"max-width:{width * 1.34:.0f}px"
    opening = Markup('<svg {} style="{}" role="img" aria-label="{}">').format(Markup(box[0]), style, caption)  # noqa: S704 - numbers
    return opening + Markup(body)  # noqa: S704 - matplotlib escapes the texts

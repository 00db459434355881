"""Shows the contributions to one margin: as a text, and as a picture, a waterfall."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_NAME = 40
# The longest bar of the text, in characters.
_BAR_WIDTH = 24
_BASE = "base"
_MARGIN = "margin"
# Colours that readers with the usual colour deficiencies tell apart, on white.
_UP, _DOWN, _INK, _LINE = "#c2410c", "#1d4ed8", "#1f2937", "#9ca3af"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: a column with its value in the row, None if missing; or the sum of several columns."""

    name: str
    contribution: float
    value: float | str | None = None
    is_column: bool = False

    @classmethod
    def of_others(cls, count: int, contribution: float) -> Bar:
        """The sum of `count` columns that have no bar of their own."""
        name = "1 other column" if count == 1 else f"{count:,} other columns"
        return cls(name=name, contribution=contribution)

    @property
    def title(self) -> str:
        """The column with its value, on one line."""
        if not self.is_column:
            return _line(self.name)
        if self.value is None:
            return f"{_line(self.name)} missing"
        shown = reprlib.repr(self.value) if isinstance(self.value, str) else f"{self.value:.6g}"
        return f"{_line(self.name)} = {_line(shown)}"


def as_text(title: str, bars: Sequence[Bar], *, base: float, margin: float) -> str:
    """A table of the bars, with bars of characters."""
    largest = max((abs(bar.contribution) for bar in bars), default=0.0)
    names = [_BASE, *(bar.title for bar in bars), _MARGIN]
    width = max(map(len, names))
    lines = [_line(title, 2 * _MAX_NAME), f"  {_BASE:<{width}}  {base:>+12.6g}"]
    for bar in bars:
        length = round(abs(bar.contribution) / largest * _BAR_WIDTH) if largest > 0 else 0
        sign = "+" if bar.contribution >= 0 else "-"
        lines.append(f"  {bar.title:<{width}}  {bar.contribution:>+12.6g}  {sign * length}".rstrip())
    lines.append(f"  {_MARGIN:<{width}}  {margin:>+12.6g}")
    return "\n".join(lines)


def draw(title: str, bars: Sequence[Bar], *, base: float, margin: float) -> Figure:
    """Draw the bars as a waterfall, from the base at the bottom to the margin at the top.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an option of the SDK
    except ImportError as error:
        raise ImportError("plot needs matplotlib: pip install 'scorewire[plot]'") from error
    figure = Figure(figsize=(7.5, 1.3 + 0.36 * (len(bars) + 2)), layout="constrained")
    axes = figure.subplots()
    # The weakest is next to the base, so that the strongest is next to the margin.
    level = base
    levels = [base]
    for place, bar in enumerate(reversed(bars), 1):
        begin, level = level, level + bar.contribution
        levels.append(level)
        axes.barh(
            place, bar.contribution, left=begin, height=0.62, color=_UP if bar.contribution >= 0 else _DOWN
        )
        axes.plot([begin, begin], [place - 1, place], color=_LINE, linewidth=0.8)
        axes.annotate(
            f"{bar.contribution:+.4g}",
            (max(begin, level), place), (4, 0), textcoords="offset points", va="center", fontsize=9,
            color=_INK,
        )  # fmt: skip
    top = len(bars) + 1
    axes.plot([level, margin], [top - 1, top], color=_LINE, linewidth=0.8)
    for place, end in ((0, base), (top, margin)):
        axes.scatter([end], [place], color=_INK, s=28, zorder=3)
        axes.annotate(
            f"{end:.4g}",
            (end, place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=_INK,
        )
    names = [_BASE, *(bar.title for bar in reversed(bars)), _MARGIN]
    axes.set_yticks(range(top + 1), names, color=_INK)
    axes.set_ylim(-0.6, top + 0.6)
    # Room for the number at the end of the longest bar.
    low, high = min(*levels, margin), max(*levels, margin)
    room = (high - low) or 1.0
    axes.set_xlim(low - 0.05 * room, high + 0.16 * room)
    heading = axes.set_title(_line(title, 2 * _MAX_NAME), loc="left", fontsize=10, color=_INK)
    for text in (heading, *axes.get_yticklabels()):
        # A column may have dollar signs, which begin no formula.
        text.set_parse_math(False)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(visible=True, axis="x", color=_LINE, alpha=0.25)
    axes.set_axisbelow(True)
    return figure


def _line(text: str, limit: int = _MAX_NAME) -> str:
    """The text on one line, without what a terminal would take as commands, and cut where it is long."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"

"""Axes for amounts from zero over cents to thousands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy import float64
from numpy.typing import NDArray

from scorewire_training.evaluation.formats import LEAST_AMOUNT, SHARE

_MAX_TICKS = 6
_NEXT_TO_NOTHING = 1e-12
LOG_SCALE = "log scale"


@dataclass(frozen=True, slots=True)
class AxisScale:
    """Places values on an axis: linearly, or by log10(1 + |x| / step) if `step` is above zero."""

    step: float = 0.0

    def place(self, values: NDArray[float64]) -> NDArray[float64]:
        """The positions of values on the axis."""
        if not self.step:
            return values
        return np.asarray(np.sign(values) * np.log10(1 + np.abs(values) / self.step), dtype=float64)

    def label(
        self, axes: Axes, values: NDArray[float64], *, axis: str = "x", unit: str = "", title: str = ""
    ) -> None:
        """Set ticks at round values over the range of `values`, and a title that tells a log scale.

        Args:
            axes: the axes.
            values: the values on the axis, as they are.
            axis: "x" or "y".
            unit: the unit of the values.
            title: what the values are.
        """
        target = axes.xaxis if axis == "x" else axes.yaxis
        target.set_label_text(", ".join(part for part in (title, LOG_SCALE if self.step else "") if part))
        if not self.step:
            target.set_major_formatter(lambda value, _: format_tick(value, unit))
            if axis == "x":
                axes.locator_params(axis="x", nbins=4)
            return
        top = float(np.max(np.abs(values), initial=self.step))
        decades = np.arange(1, int(np.floor(np.log10(top / self.step))) + 1)
        both_ways = bool(np.min(values, initial=0.0) < 0)
        room = _MAX_TICKS // 2 if both_ways else _MAX_TICKS
        # Chosen from the top down, because ticks near zero are crowded.
        kept = decades[:: -max(1, int(np.ceil(len(decades) / room)))][::-1]
        positive = [float(self.step * 10.0**decade) for decade in kept]
        ticks = [0.0, *positive]
        if both_ways:
            ticks = [-tick for tick in reversed(positive)] + ticks
        target.set_ticks(self.place(np.array(ticks)).tolist(), [format_tick(tick, unit) for tick in ticks])


def choose_scale(values: NDArray[float64], *, skewed: float = 20, unit: str = "") -> AxisScale:
    """A logarithmic scale if the largest values are `skewed` times the median, else a linear one.

    A scale of amounts, which have a unit, does not tell apart what is below a cent.
    """
    sizes = np.abs(values[np.isfinite(values)])
    sizes = sizes[sizes > 0]
    if len(sizes) < 2:
        return AxisScale()
    low, middle, high = np.quantile(sizes, [0.05, 0.5, 0.995])
    if high < skewed * middle:
        return AxisScale()
    step = float(10.0 ** np.floor(np.log10(max(low, middle / 1_000))))
    return AxisScale(
        max(step, LEAST_AMOUNT) if unit not in ("", SHARE) and high > 10 * LEAST_AMOUNT else step
    )


def format_tick(value: float, unit: str = "") -> str:
    """A short number for a tick: 1.5k, 20M, 0.01; a value of almost zero is 0."""
    size = 0.0 if abs(value) < _NEXT_TO_NOTHING else abs(value)
    if unit == SHARE:
        return f"{'−' if value < 0 and size else ''}{100 * size:.3g}%"
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            text = f"{size / limit:.3g}{letter}"
            break
    else:
        text = np.format_float_positional(size, precision=3, fractional=False, trim="-")
    return f"{'−' if value < 0 and size else ''}{unit}{text}"

"""Axes for amounts from zero over cents to thousands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy import float64
from numpy.typing import NDArray

_MAX_TICKS = 6
_NEXT_TO_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class AxisScale:
    """Places values on an axis: linearly, or by log10(1 + |x| / step) if `step` is above zero."""

    step: float = 0.0

    def place(self, values: NDArray[float64]) -> NDArray[float64]:
        """The positions of values on the axis."""
        if not self.step:
            return values
        return np.asarray(np.sign(values) * np.log10(1 + np.abs(values) / self.step), dtype=float64)

    def label(self, axes: Axes, values: NDArray[float64], *, axis: str = "x", unit: str = "") -> None:
        """Set ticks at round values over the range of `values`; a linear axis only gets short numbers."""
        target = axes.xaxis if axis == "x" else axes.yaxis
        if not self.step:
            target.set_major_formatter(lambda value, _: format_short(value, unit))
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
        target.set_ticks(self.place(np.array(ticks)).tolist(), [format_short(tick, unit) for tick in ticks])


def choose_scale(values: NDArray[float64], *, skewed: float = 20) -> AxisScale:
    """A logarithmic scale if the largest values are `skewed` times the median, else a linear one."""
    sizes = np.abs(values[np.isfinite(values)])
    sizes = sizes[sizes > 0]
    if len(sizes) < 2:
        return AxisScale()
    low, middle, high = np.quantile(sizes, [0.05, 0.5, 0.995])
    if high < skewed * middle:
        return AxisScale()
    return AxisScale(float(10.0 ** np.floor(np.log10(max(low, middle / 1_000)))))


def format_short(value: float, unit: str = "") -> str:
    """A short number for a tick: 1.5k, 20M, 0.01; a value of almost zero is 0."""
    value = 0.0 if abs(value) < _NEXT_TO_NOTHING else value
    size = abs(value)
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if size >= limit:
            text = f"{size / limit:.3g}{letter}"
            break
    else:
        text = f"{size:.3g}" if size >= 1e-4 or not size else f"{size:.0e}"
    return f"{'−' if value < 0 else ''}{unit}{text}"

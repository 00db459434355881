"""Numbers as people read them."""

from __future__ import annotations

import math

# The unit of a share of 1, which people read in percent.
SHARE = "%"
# The smallest numbers that are written out; smaller ones are told to be below.
LEAST_AMOUNT = 0.01
_LEAST_NUMBER, _LEAST_SHARE = 1e-4, 1e-3


def format_value(value: float, unit: str = "") -> str:
    """A number as text, in percent for the unit SHARE, else with its unit in front.

    An amount below a cent is "< $0.01": neither zero nor more digits than anyone pays.
    """
    if not math.isfinite(value):
        return "–"
    sign, size = "−" if value < 0 else "", abs(value)
    least = {SHARE: _LEAST_SHARE, "": _LEAST_NUMBER}.get(unit, LEAST_AMOUNT)
    below = ("> " if sign else "< ") if 0 < size < least else ""
    if unit == SHARE:
        return f"{below}{sign}{max(size, least) if below else size:.1%}"
    return f"{below}{sign}{unit}{least if below else _digits(size)}"


def _digits(size: float) -> str:
    """Three significant digits, whole numbers in full, with thousands separators."""
    if size.is_integer() and size < 1e15:
        return f"{size:,.0f}"
    return f"{size:,.{max(0, 2 - math.floor(math.log10(size)))}f}"

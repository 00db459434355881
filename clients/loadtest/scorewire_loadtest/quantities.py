"""Parses and formats durations, rates and shares with units."""

from __future__ import annotations

import math
import re

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z%µ/]*)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
# More than any generator sends.
_MAX_RATE = 10_000_000
_PER_SECOND = {"": 1.0, "/s": 1.0, "/m": 1 / 60}


def parse_duration(text: str) -> float:
    """Parse a duration such as 250us, 5ms, 30s, 2m or 1h; a number without a unit is in seconds.

    Returns:
        The duration in seconds.

    Raises:
        ValueError: the text is not a duration.
    """
    return _parse(text, _SECONDS, "a duration like 250us, 5ms, 30s or 2m")


def parse_rate(text: str) -> float:
    """Parse a rate such as 500/s or 30/m; a number without a unit is per second.

    Returns:
        The rate in calls per second.

    Raises:
        ValueError: the text is not a rate, or the rate is zero or above ten million per second.
    """
    rate = _parse(text, _PER_SECOND, "a rate like 500/s or 30/m")
    if rate <= 0:
        raise ValueError(f"{text!r} is not a rate: it must be above zero")
    if rate > _MAX_RATE:
        raise ValueError(f"{text!r} is more than one generator sends: at most {_MAX_RATE:,}/s")
    return rate


def parse_share(text: str) -> float:
    """Parse a share such as 0.1% or 0.001.

    Returns:
        The share, 0 to 1.

    Raises:
        ValueError: the text is not a share, or the share is above 1.
    """
    share = _parse(text, {"%": 0.01, "": 1.0}, "a share like 0.1% or 0.001")
    if share > 1:
        raise ValueError(f"{text!r} is not a share: it is above 100%")
    return share


def show_duration(microseconds: float) -> str:
    """Format a duration in a suitable unit, with about three digits."""
    if math.isnan(microseconds):
        return "-"
    if microseconds < 1_000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1_000:.{2 if microseconds < 100_000 else 1}f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def _parse(text: str, units: dict[str, float], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip().lower())
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(match[1]) * units[match[2]]

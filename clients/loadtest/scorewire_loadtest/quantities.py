"""Durations, rates and shares as people write them on a command line."""

from __future__ import annotations

import math
import re

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z%µ/]*)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_PER_SECOND = {"": 1.0, "/s": 1.0, "/m": 1 / 60}


def parse_duration(text: str) -> float:
    """Seconds of a duration like 250us, 5ms, 30s, 2m or 1h; a bare number is in seconds.

    Raises:
        ValueError: the text is no duration.
    """
    return _parse(text, _SECONDS, "a duration like 250us, 5ms, 30s or 2m")


def parse_rate(text: str) -> float:
    """Calls per second of a rate like 500/s or 30/m; a bare number is per second.

    Raises:
        ValueError: the text is no rate, or it is zero.
    """
    rate = _parse(text, _PER_SECOND, "a rate like 500/s or 30/m")
    if rate <= 0:
        raise ValueError(f"{text!r} is no rate: it must be above zero")
    return rate


def parse_share(text: str) -> float:
    """A share from 0 to 1 of a text like 0.1% or 0.001.

    Raises:
        ValueError: the text is no share, or it is above 1.
    """
    share = _parse(text, {"%": 0.01, "": 1.0}, "a share like 0.1% or 0.001")
    if share > 1:
        raise ValueError(f"{text!r} is no share: it is above 100%")
    return share


def show_duration(microseconds: float) -> str:
    """A duration of three digits or so, in the unit that suits it."""
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

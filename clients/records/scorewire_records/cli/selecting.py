"""The options that select records by model, version and time."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from scorewire_records.selection import Selection

_AGO = re.compile(r"(\d{1,6})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Time(click.ParamType[datetime]):
    """A day, a time or a duration before now; without a time zone, it is UTC."""

    name = "TIME"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The time that a text means."""
        if isinstance(value, datetime):
            return value
        try:
            if ago := _AGO.fullmatch(value):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            time = datetime.fromisoformat(value)
            return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time, like 2026-11-29, 2026-11-29T17:30:00 or 7d", param, ctx)


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a selection; the command gets them as `selection`."""

    @click.option("--model", help="Records of this model only.")
    @click.option("--version", help="Records of this version only.")
    @click.option(
        "--since",
        "begin",
        type=Time(),
        help="The earliest time, in UTC: 2026-11-29, 2026-11-29T17:30:00, or 30m, 12h or 7d before now.",
    )
    @click.option("--until", "end", type=Time(), help="The time from which on records are left out.")
    @functools.wraps(command)
    def with_selection(
        *,
        model: str | None,
        version: str | None,
        begin: datetime | None,
        end: datetime | None,
        **others: Any,
    ) -> None:
        if begin is not None and end is not None and begin >= end:
            raise click.UsageError("--since must be before --until")
        command(selection=Selection(model=model, version=version, begin=begin, end=end), **others)

    return with_selection

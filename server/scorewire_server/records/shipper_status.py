"""Reads what the shipper tells of its work: the file `_spool/shipper.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

STATUS_FILE = "shipper.json"
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedRows:
    """The rows of one start, as the shipper counts them: seen = stored + pending + set_aside + expired."""

    seen: int = 0
    stored: int = 0
    pending: int = 0
    set_aside: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipperStatus:
    """What the shipper tells.

    Attributes:
        told: tells one status from the next.
        problem: for people: why the store does not get the records; "" if it does.
        rows: the rows of this start.
    """

    told: str = ""
    problem: str = ""
    rows: ShippedRows = field(default_factory=ShippedRows)


def read_status(spool: Path, start: UUID) -> ShipperStatus | None:
    """Read the status; None if there is none, or it cannot be read.

    Args:
        spool: the folder of the spool.
        start: the start of the server whose rows are wanted.
    """
    try:
        with (spool / STATUS_FILE).open("rb") as file:
            told = json.loads(file.read(_MAX_BYTES))
        rows = told["starts"].get(str(start)) or {}
        return ShipperStatus(
            told=str(told["time"]),
            problem=str(told["problem"] or ""),
            rows=ShippedRows(**{name: _count(rows, name) for name in ShippedRows.__slots__}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _count(rows: dict[str, Any], name: str) -> int:
    return int(rows.get(name, 0))


def spool_bytes(spool: Path) -> int:
    """The bytes of all segments in the spool, of all starts; 0 if it cannot be read."""
    size = 0
    for path in spool.glob("*/*.segment"):
        try:
            size += path.stat().st_size
        except OSError:  # the shipper has just removed it
            continue
    return size

"""Reads what the shipper tells of its work.

Each second it tells `_spool/shipper.json`. Of a start whose records all are in the
store, and whose spool it has removed, only `_starts/<start>.json` is left.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from scorewire_contract.records.segments import spool_folder

_STATUS_FILE, _STARTS = "shipper.json", "_starts"
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


def read_status(records: Path, start: UUID) -> ShipperStatus | None:
    """Read the status; None if there is none, or it cannot be read.

    Args:
        records: the folder of records.
        start: the start of the server whose rows are wanted.
    """
    try:
        told = _read(spool_folder(records) / _STATUS_FILE)
        rows = told["starts"].get(str(start))
        return ShipperStatus(
            told=str(told["time"]),
            problem=str(told["problem"] or ""),
            rows=_shipped(records, start) if rows is None else ShippedRows(**_counts(rows)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _shipped(records: Path, start: UUID) -> ShippedRows:
    """The rows of a start whose spool was removed; zeros if nothing is known of it."""
    try:
        state = _read(records / _STARTS / f"{start}.json")
    except FileNotFoundError:
        return ShippedRows()
    return ShippedRows(
        seen=int(state["rows"]),
        stored=int(state["stored"]),
        set_aside=int(state["set_aside"]),
        expired=int(state["expired"]),
    )


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        told: dict[str, Any] = json.loads(file.read(_MAX_BYTES))
    return told


def _counts(rows: dict[str, Any]) -> dict[str, int]:
    return {name: int(rows[name]) for name in ShippedRows.__slots__}

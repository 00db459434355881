"""What is known of each start of a server, in `DIR/_starts/<start>.json`; it stays when the spool is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from scorewire_contract.records.ledger import CAUSES, Count, WriterLedger
from scorewire_contract.service import durable

_FOLDER = "_starts"
Ledgers: TypeAlias = "tuple[WriterLedger, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartState:
    """How far the shipper is with a start, and what became of its rows so far.

    Attributes:
        start: the start.
        created: when the first segment was begun, as text; empty if unknown.
        server: the version of the server; empty if unknown.
        engine: the server's engine; empty if unknown.
        segment: the number of the first segment that is not done.
        block: the number of the block that comes next; None if that is unknown.
        predictions: predictions in the blocks before it; parts count.
        rows: rows in the blocks before it.
        set_aside: rows of them that were damaged.
        set_aside_bytes: bytes of damaged pieces.
        pieces: damaged pieces.
        refused: rows that the store would not take, whose blocks are set aside too.
        torn_bytes: bytes of a block that was not written to its end; none of its rows were counted.
        confirmed: the number of the first block that the store had not confirmed.
        stored: rows that are in the store.
        expired: rows that were in the store until they were too old.
        filed: rows that went to files before a database got the others.
        filed_expired: rows of files that expired.
        expiring: files whose rows count as expired, and that may still be there.
        ledgers: the last ledger of each writer.
        sources: the descriptions of the sources in the last segment that is done, as JSON by number.
        ended: whether the server stopped in order.
        gone: whether the folder of the start was removed from the spool.
    """

    start: UUID
    created: str = ""
    server: str = ""
    engine: str = ""
    segment: int = 0
    block: int | None = 0
    predictions: int = 0
    rows: int = 0
    set_aside: int = 0
    set_aside_bytes: int = 0
    pieces: int = 0
    refused: int = 0
    torn_bytes: int = 0
    confirmed: int = 0
    stored: int = 0
    expired: int = 0
    filed: int = 0
    filed_expired: int = 0
    expiring: tuple[str, ...] = ()
    ledgers: Ledgers = ()
    sources: Mapping[int, str] = field(default_factory=dict)
    ended: bool = False
    gone: bool = False

    @property
    def shipped(self) -> int:
        """Rows that were handed to the store, which confirmed them."""
        return self.rows - self.set_aside - self.refused

    @property
    def missing(self) -> int:
        """Rows that the store confirmed once and has no longer, since it was restored from a backup."""
        return self.shipped - self.stored - self.expired

    def to_json(self) -> dict[str, Any]:
        """The contents of the file."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "start": str(self.start),
            "missing": self.missing,
            "expiring": list(self.expiring),
            "ledgers": [ledger_json(each) for each in self.ledgers],
            "sources": {str(number): text for number, text in self.sources.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StartState:
        """Read the contents of the file; raises KeyError, TypeError or ValueError if that is impossible."""
        return cls(
            **{name: value[name] for name in _PLAIN},
            start=UUID(value["start"]),
            expiring=tuple(value["expiring"]),
            ledgers=tuple(_ledger(each) for each in value["ledgers"]),
            sources={int(number): text for number, text in value["sources"].items()},
        )


_LISTS = {"start", "expiring", "ledgers", "sources"}
_PLAIN = [name for name in StartState.__dataclass_fields__ if name not in _LISTS]


def ledger_json(ledger: WriterLedger) -> dict[str, Any]:
    """The ledger of a writer as JSON."""
    return {
        "next_sequence": ledger.next_sequence,
        "sampled_out": _pair(ledger.sampled_out),
        "spooled": _pair(ledger.spooled),
        "dropped": {cause: _pair(count) for cause, count in ledger.dropped_by_cause.items()},
    }


def _pair(count: Count) -> list[int]:
    return [count.predictions, count.rows]


def _ledger(value: Mapping[str, Any]) -> WriterLedger:
    dropped = tuple(Count(*value["dropped"][cause]) for cause in CAUSES)
    sampled_out, spooled = Count(*value["sampled_out"]), Count(*value["spooled"])
    return WriterLedger(value["next_sequence"], sampled_out, spooled, dropped)


class StartStates:
    """The states of all starts in a folder of records.

    Args:
        records: the folder of records.
        read_only: whether nothing may be changed: only the shipper may.
    """

    def __init__(self, records: Path, *, read_only: bool = False) -> None:
        self._folder = records / _FOLDER
        self._read_only = read_only
        self._known: dict[UUID, StartState] = {}
        # What is wrong with a file, by its name.
        self.problems: dict[str, str] = {}

    def path(self, start: UUID) -> Path:
        """The file of a start."""
        return self._folder / f"{start}.json"

    def get(self, start: UUID) -> StartState | None:
        """The state of a start; None if nothing is known of it.

        A file that cannot be understood is put aside, so that the state is begun again.
        """
        if start not in self._known and (state := self._read(self.path(start))) is not None:
            self._known[start] = state
        return self._known.get(start)

    def put(self, state: StartState) -> None:
        """Keep a state; once this returns, it is on the disk."""
        durable.make_folder(self._folder)
        durable.write_json(self.path(state.start), state.to_json())
        self._known[state.start] = state

    def starts(self) -> Iterator[UUID]:
        """The starts that have a file, the earliest first."""
        with suppress(FileNotFoundError):
            for path in sorted(self._folder.glob("*.json")):
                with suppress(ValueError):
                    yield UUID(path.stem)

    def _read(self, path: Path) -> StartState | None:
        try:
            state = StartState.from_json(json.loads(path.read_bytes()))
            if str(state.start) != path.stem:
                raise ValueError(f"it tells of the start {state.start}")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            aside = path.with_name(f"{path.name}.broken")
            self.problems[path.name] = (
                f"{_FOLDER}/{path.name} cannot be understood ({error!r}): see {aside.name}"
            )
            if not self._read_only:
                with suppress(OSError):
                    path.replace(aside)
            return None
        return state


def restarted(start: UUID, first_segment: int) -> StartState:
    """The state of a start of which nothing is known but the number of its first segment."""
    state = StartState(start=start, segment=first_segment)
    # Where earlier segments are gone, the first block tells how many blocks and rows they had.
    return state if first_segment == 0 else replace(state, block=None)

"""The ledger of a folder of records: what became of each row, by start and in total."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from scorewire_contract.records.blocks import Block
from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.ledger import CAUSES, total
from scorewire_contract.records.segments import read_segment, spool_bytes, spool_folder
from scorewire_contract.records.source import Start
from scorewire_records.shipper_status import RowCounts, ShipperStatus, read_status
from scorewire_records.spool_end import SpoolEnd
from scorewire_records.spool_folder import StartFolder, shipper_works, starts_of, strangers
from scorewire_records.start_state import Ledgers, StartState, StartStates


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Sequence numbers of a writer without a record.

    Attributes:
        writer: the UUID of the writer.
        given: sequence numbers that were given.
        dropped: those whose predictions were dropped and counted.
        unwritten: those that were not on the disk when the server was killed, or are not there yet.
    """

    writer: UUID
    given: int
    dropped: int
    unwritten: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLedger:
    """What became of the rows of one start.

    offered = sampled_out + dropped + spooled, and spooled = stored + pending + set_aside + expired + missing.

    Attributes:
        start: the start.
        created: when it began, as text; empty if unknown.
        engine: the engine; empty if unknown.
        state: running, stopped (in order) or killed; of a database: stopped or open.
        sampled_out: rows that the policy left out.
        dropped: rows that were lost before they reached the spool, by cause.
        counts: what became of the spooled rows.
        missing: rows that the store has lost.
        gaps: the writers with sequence numbers that have no record.
    """

    start: UUID
    created: str = ""
    engine: str = ""
    state: str = "running"
    sampled_out: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    counts: RowCounts
    missing: int = 0
    gaps: tuple[Gap, ...] = ()

    @property
    def spooled(self) -> int:
        """Rows in blocks of the spool."""
        return self.counts.seen

    @property
    def offered(self) -> int:
        """Rows of all answers, up to the last flush."""
        return self.sampled_out + sum(self.dropped.values()) + self.spooled

    @property
    def lost(self) -> int:
        """Rows that are nowhere any more, but for those that expired."""
        return sum(self.dropped.values()) + self.counts.set_aside + self.missing

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "start": str(self.start),
            "created": self.created,
            "engine": self.engine,
            "state": self.state,
            "offered": self.offered,
            "sampled_out": self.sampled_out,
            "dropped": self.dropped,
            "spooled": self.spooled,
            "stored": self.counts.stored,
            "pending": self.counts.pending,
            "set_aside": self.counts.set_aside,
            "expired": self.counts.expired,
            "missing": self.missing,
            "gaps": [{**asdict(gap), "writer": str(gap.writer)} for gap in self.gaps],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerReport:
    """The ledger of all starts.

    Attributes:
        ledgers: the ledgers, the earliest start first.
        problems: what is wrong, for people.
        database: the database that was asked; empty for a folder.
        shipper: what the shipper told last; None if there was none, or if a database was asked.
        shipper_works: whether a shipper works now.
        pending_bytes: bytes in the spool.
        lag_s: the age of the oldest segment that is not stored; 0 if there is none.
    """

    ledgers: list[StartLedger]
    problems: list[str]
    database: str = ""
    shipper: ShipperStatus | None = None
    shipper_works: bool = False
    pending_bytes: int = 0
    lag_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "problems": self.problems,
            "store": self.shipper.store if self.shipper else self.database or None,
            "shipper": self.shipper.pid if self.shipper and self.shipper_works else None,
            "pending_bytes": self.pending_bytes,
            "lag_s": round(self.lag_s, 1),
            "starts": [each.to_json() for each in self.ledgers],
        }


def report_of(records: Path, since: datetime | None = None) -> LedgerReport:
    """The ledger of a folder of records. Nothing is changed, and servers and the shipper go on.

    Args:
        records: the folder of records.
        since: starts that began earlier are left out, unless their spool is still there.
    """
    states = StartStates(records, read_only=True)
    # A start may leave the spool meanwhile, but never comes back.
    here = starts_of(records)
    known = sorted(
        {
            *here,
            *(start for start in states.starts() if since is None or _begun_s(start) >= since.timestamp()),
        }
    )
    works, shipper = shipper_works(records), read_status(records)
    told = shipper.starts if shipper else {}
    ledgers = [_ledger(records, start, states.get(start), told.get(start)) for start in known]
    report = LedgerReport(
        ledgers=ledgers,
        problems=[],
        shipper=shipper,
        shipper_works=works,
        pending_bytes=spool_bytes(records),
        lag_s=max((_age_s(records, each.start) for each in ledgers if each.counts.pending), default=0.0),
    )
    return replace(report, problems=[*_problems(records, report), *states.problems.values()])


def ledger_problems(ledgers: Iterable[StartLedger]) -> Iterator[str]:
    """What ledgers tell of losses, for people."""
    for ledger in ledgers:
        for cause, rows in ledger.dropped.items():
            if rows:
                yield f"start {ledger.start}: {rows:,} rows were dropped ({cause})"
        if ledger.counts.set_aside:
            yield f"start {ledger.start}: {ledger.counts.set_aside:,} rows were damaged and are set aside"
        if ledger.missing:
            yield f"start {ledger.start}: the store has lost {ledger.missing:,} rows that it had confirmed"
        unwritten = sum(gap.unwritten for gap in ledger.gaps)
        if ledger.state == "stopped" and unwritten:
            yield f"start {ledger.start}: {unwritten:,} predictions are not accounted for"


def _ledger(records: Path, start: UUID, state: StartState | None, told: RowCounts | None) -> StartLedger:
    folder = StartFolder(spool_folder(records), start)
    end, running = SpoolEnd(folder), False
    # The folder may be gone at any moment, once all is stored.
    with suppress(OSError):
        running = folder.path.is_dir() and not folder.server_is_gone(was_seen=state is not None)
        end.follow()
    state = state or StartState(start=start)
    ledgers = end.ledgers or state.ledgers
    counted = total(ledgers)
    counts = _latest(RowCounts.of(end.rows, state), told)
    ended = end.ended if end.rows > state.rows else state.ended or end.ended
    return StartLedger(
        start=start,
        created=state.created or end.created,
        engine=state.engine or end.engine,
        state="running" if running else "stopped" if ended else "killed",
        sampled_out=counted.sampled_out.rows,
        dropped={cause: count.rows for cause, count in counted.dropped_by_cause.items()},
        counts=counts,
        missing=max(0, state.missing),
        gaps=tuple(_gaps(start, ledgers)),
    )


def _latest(counts: RowCounts, told: RowCounts | None) -> RowCounts:
    """The counts of a start, from its state or from what the shipper told, whichever is further.

    A state is written for each segment, and a database has rows of a segment that still grows.
    """
    if told is None or told.seen - told.pending <= counts.seen - counts.pending:
        return counts
    seen = max(counts.seen, told.seen)
    return replace(told, seen=seen, pending=seen - (told.seen - told.pending))


def _gaps(start: UUID, ledgers: Ledgers) -> Iterator[Gap]:
    for number, ledger in enumerate(ledgers):
        dropped = ledger.all_dropped.predictions
        unwritten = ledger.next_sequence - ledger.spooled.predictions - dropped
        if dropped or unwritten:
            yield Gap(
                writer=writer_uuid(start, number),
                given=ledger.next_sequence,
                dropped=dropped,
                unwritten=unwritten,
            )


def _problems(records: Path, report: LedgerReport) -> Iterator[str]:
    pending = sum(each.counts.pending for each in report.ledgers)
    if report.shipper_works and report.shipper and report.shipper.problem:
        yield report.shipper.problem
    if not report.shipper_works and spool_folder(records).is_dir():
        if pending:
            yield f"no shipper works, and {pending:,} rows wait: scorewire records ship --records {records}"
        if unknown := strangers(records):
            yield f"{unknown[0]} does not belong in the spool"
    yield from ledger_problems(report.ledgers)


def _begun_s(start: UUID) -> float:
    """When a start began, by its UUID of version 7, in seconds since 1970."""
    return (start.int >> 80) / 1000


def _age_s(records: Path, start: UUID) -> float:
    """The age of the first segment in the spool of a start."""
    with suppress(OSError, ValueError):
        for _, path in StartFolder(spool_folder(records), start).segments():
            first = next(read_segment(path, growing=True), None)
            if isinstance(first, Block):
                created = datetime.fromisoformat(Start.decode(first.body).created)
                return max(0.0, (datetime.now(UTC) - created).total_seconds())
    return 0.0

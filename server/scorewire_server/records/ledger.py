"""The ledger: what became of every row of this start, from the engine's counts and the shipper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scorewire_contract.records.ledger import CAUSES
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine.recording import RecordCounts
from scorewire_server.records.shipper_status import ShippedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What became of the rows of all answers since the start, and what is wrong now.

    At any time, offered = sampled_out + dropped + buffered + spooled, and
    spooled = stored + pending + set_aside + expired.

    Attributes:
        offered: rows of all answers of recorded models, and of copies for shadows.
        sampled_out: rows that the policy left out.
        dropped: rows that were lost before they reached the spool, by cause.
        buffered: rows in memory, on their way to the spool.
        spooled: rows that were written to the spool.
        stored: rows that the store has.
        pending: rows in the spool that the store does not have yet.
        set_aside: rows in damaged blocks.
        expired: rows that the store had for as long as the policy says.
        problem: for people: what is wrong now; "" if nothing is.
    """

    offered: int = 0
    sampled_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    buffered: int = 0
    spooled: int = 0
    stored: int = 0
    pending: int = 0
    set_aside: int = 0
    expired: int = 0
    problem: str = ""

    def counts(self) -> dict[str, int]:
        """The counts by name, for the log."""
        return {
            "offered": self.offered,
            "sampled_out": self.sampled_out,
            "dropped": sum(self.dropped.values()),
            "buffered": self.buffered,
            "spooled": self.spooled,
            "stored": self.stored,
            "pending": self.pending,
            "set_aside": self.set_aside,
            "expired": self.expired,
        }

    def to_message(self) -> models_pb2.RecordLedger:
        """The ledger as GetStatistics gives it."""
        return models_pb2.RecordLedger(
            offered=self.offered,
            sampled_out=self.sampled_out,
            dropped=[
                models_pb2.DroppedRows(cause=cause, rows=rows) for cause, rows in self.dropped.items() if rows
            ],
            buffered=self.buffered,
            spooled=self.spooled,
            stored=self.stored,
            pending=self.pending,
            set_aside=self.set_aside,
            expired=self.expired,
            problem=self.problem,
        )


def ledger_of(counts: RecordCounts, shipped: ShippedRows, problem: str) -> Ledger:
    """The ledger of both counts.

    The shipper tells its counts later than the engine: rows that it has not told of are
    pending.
    """
    settled = shipped.stored + shipped.set_aside + shipped.expired
    return Ledger(
        offered=counts.offered,
        sampled_out=counts.sampled_out,
        dropped=dict(counts.dropped),
        buffered=counts.buffered,
        spooled=counts.spooled,
        stored=shipped.stored,
        pending=max(counts.spooled - settled, 0),
        set_aside=shipped.set_aside,
        expired=shipped.expired,
        problem=problem,
    )


def imbalance(counts: RecordCounts, shipped: ShippedRows) -> str:
    """What does not add up once neither side counts any more; "" if all does."""
    known = counts.sampled_out + sum(counts.dropped.values()) + counts.buffered + counts.spooled
    settled = shipped.stored + shipped.set_aside + shipped.expired
    if counts.offered != known:
        return f"of {counts.offered} rows of answers, {known} are accounted for"
    if settled + shipped.pending != shipped.seen:
        return (
            f"of {shipped.seen} rows that the shipper has seen, {settled + shipped.pending} are accounted for"
        )
    if shipped.seen != counts.spooled:
        return f"the shipper has seen {shipped.seen} rows, and {counts.spooled} were written to the spool"
    return ""

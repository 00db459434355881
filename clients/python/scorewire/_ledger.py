"""The ledger of a server's records: what became of every row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scorewire_proto.v1 import models_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLedger:
    """What became of the rows of all answers since the server started.

    Two sums hold: offered = sampled_out + all of dropped + buffered + spooled, and
    spooled = stored + pending + set_aside + expired.

    Attributes:
        offered: rows of all answers, of calls and of copies for shadows.
        sampled_out: rows that the policy left out.
        dropped: rows that were lost before they reached the spool, by cause.
        buffered: rows in memory, on their way to the spool.
        spooled: rows that were written to the spool.
        stored: rows that the store has.
        pending: rows in the spool that the store does not have yet.
        set_aside: rows in damaged blocks of the spool.
        expired: rows that the store had for as long as the policy says.
        problem: for people: what is wrong now; "" if nothing is.
    """

    offered: int
    sampled_out: int
    dropped: Mapping[str, int]
    buffered: int
    spooled: int
    stored: int
    pending: int
    set_aside: int
    expired: int
    problem: str

    @property
    def lost(self) -> int:
        """Rows that were dropped, for whatever cause."""
        return sum(self.dropped.values())


def ledger_from(message: models_pb2.RecordLedger) -> RecordLedger:
    """Convert the message."""
    return RecordLedger(
        offered=message.offered,
        sampled_out=message.sampled_out,
        dropped={each.cause: each.rows for each in message.dropped},
        buffered=message.buffered,
        spooled=message.spooled,
        stored=message.stored,
        pending=message.pending,
        set_aside=message.set_aside,
        expired=message.expired,
        problem=message.problem,
    )

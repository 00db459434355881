"""What an engine is told about records, and what it tells of them.

The control plane decides what is recorded of each route, as a `RecordedSource` that
is published with the snapshot. The engine takes sequence numbers, copies records
into rings and writes the spool, whose format is in docs/spool-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias
from uuid import UUID

from scorewire_contract.records.ledger import CAUSES
from scorewire_server.engine.statistics import RouteKey

Treatment: TypeAlias = Literal["keep", "drop", "hash"]


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class RecordedSource:
    """What is recorded of a version on a route.

    The columns of a block are the kept numbers, the kept texts, the hashed numbers and
    the hashed texts, each in the order of the schema; hashed numbers are texts.

    Attributes:
        number: the number of the source; unique in a start of the server, and never given again.
        description: the JSON body of the source's block in the spool.
        share: the share of predictions that is kept, from 0 to 1.
        by_key: whether the routing key decides, if there is one; else the choice is random.
        keep_errors: whether predictions with a row error are kept in any case.
        keep_shadowed: whether predictions that are copied to a shadow are kept in any case.
        numbers: what becomes of each number of a row.
        texts: what becomes of each text of a row.
        caller: what becomes of the caller's address.
        principal: what becomes of the principal's name.
        routing_key: what becomes of the routing key.
        hash_key: the key of all hashes of this source; empty if there are none.
    """

    number: int
    description: bytes
    share: float = 1.0
    by_key: bool = False
    keep_errors: bool = False
    keep_shadowed: bool = False
    numbers: tuple[Treatment, ...] = ()
    texts: tuple[Treatment, ...] = ()
    caller: Treatment = "keep"
    principal: Treatment = "keep"
    routing_key: Treatment = "keep"
    hash_key: bytes = field(default=b"", repr=False)


# A route without a source is not recorded. The key of a shadow's source has `shadow` set.
Sources: TypeAlias = Mapping[RouteKey, RecordedSource]
NO_SOURCES: Sources = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """Where and within which bounds an engine records.

    Attributes:
        folder: the folder of --records; the spool is in `_spool` below it.
        start: the UUID of this start of the server: of version 7, the last two bytes zero.
        ring_bytes: the size of each writer's ring.
        segment_bytes: the size at which a segment is closed.
        segment_seconds: the age at which a segment is closed.
        spool_bytes: the most bytes of all segments in the spool, of all starts.
        free_bytes: the least free space of the disk.
    """

    folder: Path
    start: UUID
    ring_bytes: int = 8 << 20
    segment_bytes: int = 64 << 20
    segment_seconds: float = 300.0
    spool_bytes: int = 4 << 30
    free_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCounts:
    """What became of the rows of all answers since the engine started.

    Once no call is being answered, offered = sampled_out + dropped + buffered + spooled.
    Each count is taken where it happens, so that this sum is a check.

    Attributes:
        offered: rows of all answers of recorded sources, shadows' among them.
        sampled_out: rows that the policy left out.
        dropped: rows that were lost before they reached the spool, by cause; every one of `CAUSES`.
        buffered: rows in the rings and in blocks that are not written yet.
        spooled: rows in blocks of the spool.
        problem: for people: why the spool cannot be written now; empty if it can.
    """

    offered: int = 0
    sampled_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    buffered: int = 0
    spooled: int = 0
    problem: str = ""

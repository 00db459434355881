"""The books: in the transaction that stores rows, counts what was stored and takes over the ledgers.

So the database proves by itself what became of each sequence number of a writer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.records.identity import writer_uuid
from scorewire_contract.records.ledger import CAUSES, Count, WriterLedger
from scorewire_contract.records.rows import RowsBlock
from scorewire_records.postgresql.connection import Connection

_SET_ASIDE = "set_aside"
_COLUMNS = (
    "next_sequence",
    "settled_sequence",
    *(
        f"{kind}_{unit}"
        for kind in ("sampled_out", "spooled", *CAUSES, "stored", _SET_ASIDE)
        for unit in ("predictions", "rows")
    ),
)
_SELECT = f"SELECT writer, {', '.join(_COLUMNS)} FROM scorewire.writers WHERE start = %s"  # noqa: S608
_UPSERT = (
    f"INSERT INTO scorewire.writers (writer, start, {', '.join(_COLUMNS)})"  # noqa: S608
    f" VALUES (%s, %s{', %s' * len(_COLUMNS)})"
    f" ON CONFLICT (writer) DO UPDATE SET {', '.join(f'{each} = EXCLUDED.{each}' for each in _COLUMNS)}"
)
_NOTHING = Count()
_NO_LEDGER = WriterLedger()
# Each day of some predictions with a mask of its predictions.
Days: TypeAlias = "Sequence[tuple[dt.date, NDArray[np.bool_]]]"
_Partition: TypeAlias = "tuple[str, dt.date]"


@dataclass(slots=True)
class _Stored:
    """What one transaction stores of a writer in a partition, or cannot."""

    first: int
    last: int
    count: Count


@dataclass(slots=True)
class _Writer:
    """The state of a writer.

    Attributes:
        settled: what became of all lower sequence numbers is in the last ledger.
        ledger: the last ledger.
        stored: what was ever stored.
        set_aside: what was spooled, and could not be read or stored.
    """

    settled: int = 0
    ledger: WriterLedger = _NO_LEDGER
    stored: Count = _NOTHING
    set_aside: Count = _NOTHING

    @classmethod
    def of_row(cls, row: Sequence[int]) -> _Writer:
        """The state as `_COLUMNS` have it."""
        next_sequence, settled, *rest = row
        pairs = zip(rest[::2], rest[1::2], strict=True)
        sampled_out, spooled, *dropped, stored, set_aside = (Count(*pair) for pair in pairs)
        ledger = WriterLedger(next_sequence, sampled_out, spooled, tuple(dropped))
        return cls(settled, ledger, stored, set_aside)

    def row(self) -> list[int]:
        """The values of `_COLUMNS`."""
        ledger = self.ledger
        counts = (ledger.sampled_out, ledger.spooled, *ledger.dropped, self.stored, self.set_aside)
        return [
            ledger.next_sequence,
            self.settled,
            *(number for count in counts for number in (count.predictions, count.rows)),
        ]


class Accounts:
    """The books of one start, for one transaction.

    Args:
        connection: the connection, in a transaction that has locked the start.
        start: the start.
    """

    def __init__(self, connection: Connection, start: UUID) -> None:
        self._connection = connection
        self._start = start
        self._writers = {row[0]: _Writer.of_row(row[1:]) for row in connection.execute(_SELECT, [start])}
        self._stored: dict[tuple[_Partition, UUID], _Stored] = {}
        self._refused: list[tuple[UUID, _Stored]] = []
        self._before = {writer: replace(state) for writer, state in self._writers.items()}

    def add_rows(self, table: str, rows: RowsBlock, days: Days) -> None:
        """Count the rows of a block.

        Args:
            table: the table that they are in.
            rows: the block.
            days: each day with a mask of its predictions, shape (n,).
        """
        for day, chosen in days:
            for writer, some in self._by_writer(rows, chosen):
                self._writers.setdefault(writer, _Writer()).stored += some.count
                found = self._stored.setdefault(
                    ((table, day), writer), _Stored(some.first, some.last, _NOTHING)
                )
                found.first, found.last = min(found.first, some.first), max(found.last, some.last)
                found.count += some.count

    def add_refused(self, rows: RowsBlock) -> None:
        """Count the rows of a block that the database refuses."""
        for writer, some in self._by_writer(rows, np.ones(len(rows), bool)):
            for states in (self._writers, self._before):
                states.setdefault(writer, _Writer()).set_aside += some.count
            self._refused.append((writer, some))

    def _by_writer(self, rows: RowsBlock, chosen: NDArray[np.bool_]) -> Iterator[tuple[UUID, _Stored]]:
        """What some predictions of a block are of each writer."""
        for number in np.unique(rows.writers[chosen]).tolist():
            own = chosen & (rows.writers == number)
            sequences = rows.sequences[own]
            # A prediction in several parts counts with its first one.
            count = Count(
                int(np.count_nonzero(rows.first_rows[own] == 0)),
                int(rows.row_counts[own].sum(dtype=np.uint64)),
            )
            some = _Stored(int(sequences.min()), int(sequences.max()), count)
            yield writer_uuid(self._start, number), some

    def add_ledgers(self, ledgers: Iterable[WriterLedger]) -> None:
        """Take the ledgers over that stand after the rows that were added so far."""
        for number, ledger in enumerate(ledgers):
            writer = writer_uuid(self._start, number)
            state = self._writers.setdefault(writer, _Writer())
            # What is spooled and was not stored until here could not be read.
            state.set_aside = Count(
                max(state.set_aside.predictions, ledger.spooled.predictions - state.stored.predictions),
                max(state.set_aside.rows, ledger.spooled.rows - state.stored.rows),
            )
            taken = ledger.next_sequence
            in_flight = taken - ledger.spooled.predictions - ledger.all_dropped.predictions
            # What is on its way to the spool gets there with the next ledger.
            state.settled = taken if in_flight == 0 else max(state.settled, state.ledger.next_sequence)
            state.ledger = ledger

    def write(self) -> None:
        """Write the books."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                _UPSERT,
                [[writer, self._start, *state.row()] for writer, state in self._writers.items()],
            )
            cursor.executemany(
                """
                INSERT INTO scorewire.stored AS s
                    (table_name, day, writer, first_sequence, last_sequence, predictions, rows)
                VALUES (%s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (table_name, day, writer) DO UPDATE SET
                    first_sequence = least(s.first_sequence, EXCLUDED.first_sequence),
                    last_sequence = greatest(s.last_sequence, EXCLUDED.last_sequence),
                    predictions = s.predictions + EXCLUDED.predictions, rows = s.rows + EXCLUDED.rows
                """,
                [
                    [*partition, writer, each.first, each.last, each.count.predictions, each.count.rows]
                    for (partition, writer), each in self._stored.items()
                ],
            )
            cursor.executemany(
                "INSERT INTO scorewire.losses"
                " (writer, first_sequence, next_sequence, cause, predictions, rows)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                list(self._losses()),
            )

    def _losses(self) -> Iterator[tuple[UUID, int, int, str, int, int]]:
        """What was refused, and what was lost between the ledgers before this transaction and after it."""
        for writer, each in self._refused:
            yield writer, each.first, each.last + 1, _SET_ASIDE, each.count.predictions, each.count.rows
        for writer, state in self._writers.items():
            before = self._before.get(writer, _Writer())
            for cause, now, then in zip(
                (*CAUSES, _SET_ASIDE),
                (*state.ledger.dropped, state.set_aside),
                (*before.ledger.dropped, before.set_aside),
                strict=True,
            ):
                if now != then:
                    yield (
                        writer,
                        before.settled,
                        state.ledger.next_sequence,
                        cause,
                        now.predictions - then.predictions,
                        now.rows - then.rows,
                    )

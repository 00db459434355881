"""The store in PostgreSQL.

One transaction copies the rows of some blocks, keeps the books, and moves the start's `next_block`, which
says what is stored. So a block is stored once, whatever happens:

- The transaction first locks the row of the start. Blocks below `next_block` are passed over, also where a
  connection was lost at the commit: the lock is not given before the other transaction has ended.
- A shipper takes a start over by writing its own UUID into that row. Every transaction checks it, so that a
  shipper that was taken for dead and comes back stores nothing.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.source import Source
from scorewire_records.ahead import ahead
from scorewire_records.postgresql import retention, schema
from scorewire_records.postgresql.accounts import Accounts, Days
from scorewire_records.postgresql.catalog import Catalog, partition_name
from scorewire_records.postgresql.connection import Connection, Database, DatabaseError, RejectedError, name
from scorewire_records.postgresql.copying import HEADER, TRAILER, encode_rows
from scorewire_records.postgresql.layout import DAY_US, Layout, storable
from scorewire_records.store import (
    Contents,
    End,
    Ledgers,
    RefusedError,
    SourceRows,
    StartDescription,
    StoreError,
    Totals,
)

_log = logging.getLogger(__name__)
# A transaction has no more rows than this, and fewer while the database is slow.
_MAX_TRANSACTION_ROWS, _MIN_TRANSACTION_ROWS = 1 << 17, 1 << 10
# Sources come and go with versions, aliases and policies.
_MAX_LAYOUTS = 1000
_EPOCH = dt.date(1970, 1, 1)
_LAST_DAY = (dt.date(9999, 12, 30) - _EPOCH).days
# Blocks that are encoded while one is sent.
_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A block of rows that is about to be stored."""

    number: int
    source: Source
    layout: Layout
    rows: RowsBlock
    days: Days


class PostgresStore:
    """Keeps records in PostgreSQL; see `scorewire_records.store.Store`.

    Args:
        database: where.
    """

    whole_segments = False

    def __init__(self, database: Database) -> None:
        self.name = database.shown
        self._database = database
        self._connection: Connection | None = None
        self._shipper = uuid4()
        self._catalog = Catalog()
        self._layouts: dict[Source, tuple[Source, Layout]] = {}
        # Of each start that this shipper has taken over, when it did (the epoch).
        self._epochs: dict[UUID, int] = {}
        # What is stored of each start, as far as is known.
        self._positions: dict[UUID, int] = {}
        self._transaction_rows = _MAX_TRANSACTION_ROWS

    def position(self, start: UUID) -> int:
        """The number of the first block of a start that is not stored; at first takes the start over."""
        with self._connected() as connection, connection.transaction():
            connection.execute(
                "INSERT INTO scorewire.starts (start, shipper, epoch) VALUES (%s, %s, 0)"
                " ON CONFLICT DO NOTHING",
                [start, self._shipper],
            )
            self._positions[start] = self._lock(connection, start)
            return self._positions[start]

    def store(self, start: UUID, segment: int, blocks: Iterable[Contents]) -> None:  # noqa: ARG002
        """Store blocks of one start, in as many transactions as their size needs."""
        for some in _portions(blocks, lambda: self._transaction_rows):
            try:
                self._store(start, some)
            except RejectedError:
                for each in some:
                    self._store_one(start, each)

    def pass_over(self, start: UUID, block: SourceRows) -> None:
        """Count the rows of a block that the database refuses, and move the position behind it."""
        with self._connected() as connection, self._moving(connection, start, block.number + 1) as position:
            if block.number >= position:
                accounts = Accounts(connection, start)
                accounts.add_refused(block.rows)
                accounts.write()
                connection.execute(
                    "UPDATE scorewire.starts SET refused_rows = refused_rows + %s WHERE start = %s",
                    [block.rows.row_count, start],
                )

    def expire(self, now: dt.datetime) -> set[UUID]:
        """Drop the partitions whose retention is over."""
        with self._connected() as connection:
            expired = list(retention.expire(connection, now))
        if expired:
            self._catalog.forget()
        return {start for each in expired for start in each.starts}

    def totals(self, start: UUID) -> Totals:
        """The rows of a start that were stored, those that have expired, and those that were refused."""
        with self._connected() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(d.rows + d.expired_rows), 0)::bigint,"
                " coalesce(sum(d.expired_rows), 0)::bigint, s.refused_rows"
                " FROM scorewire.starts s LEFT JOIN scorewire.writers w USING (start)"
                " LEFT JOIN scorewire.stored d USING (writer) WHERE s.start = %s GROUP BY s.start",
                [start],
            ).fetchone()
        return Totals() if row is None else Totals(*row)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store(self, start: UUID, blocks: Sequence[Contents]) -> None:
        """Store blocks in one transaction."""
        with self._connected() as connection:
            rows = [each for each in blocks if isinstance(each, SourceRows)]
            prepared = {each.number: self._prepare(connection, each) for each in rows}
            with self._moving(connection, start, blocks[-1].number + 1) as position:
                fresh = [each for each in blocks if each.number >= position]
                if not fresh:
                    return
                accounts = Accounts(connection, start)
                new_rows = [prepared[each.number] for each in fresh if each.number in prepared]
                self._copy(connection, start, new_rows)
                for each in fresh:
                    self._account(connection, start, accounts, each, prepared.get(each.number))
                accounts.write()
            self._transaction_rows = min(2 * self._transaction_rows, _MAX_TRANSACTION_ROWS)

    @contextmanager
    def _moving(self, connection: Connection, start: UUID, next_block: int) -> Iterator[int]:
        """A transaction that moves the position of a start, unless it is there already; gives the old one."""
        with connection.transaction():
            position = self._lock(connection, start)
            if position < self._positions.get(start, position):
                self._positions.pop(start)
                raise StoreError(
                    f"{self.name} has stored less than before: it was restored from a backup, or is"
                    " another database; what is still in the spool is stored again"
                )
            yield position
            if position < next_block:
                moved = connection.execute(
                    "UPDATE scorewire.starts SET next_block = %s, changed = now()"
                    " WHERE start = %s AND next_block = %s AND shipper = %s",
                    [next_block, start, position, self._shipper],
                ).rowcount
                if moved != 1:
                    raise StoreError(
                        f"{self.name}: the position of start {start} moved although it was locked"
                    )
        self._positions[start] = max(position, next_block)

    def _lock(self, connection: Connection, start: UUID) -> int:
        """Lock the row of a start in this transaction, and check that it is ours; returns its position."""
        row = connection.execute(
            "SELECT shipper, epoch, next_block, changed FROM scorewire.starts WHERE start = %s FOR UPDATE",
            [start],
        ).fetchone()
        if row is None:
            self._positions.pop(start, None)
            raise StoreError(f"{self.name} does not know the start {start}: it was restored from a backup")
        shipper, epoch, position, changed = row
        mine = self._epochs.get(start)
        if mine is not None and shipper != self._shipper and epoch > mine:
            raise StoreError(
                f"another shipper stores the records of this spool in {self.name},"
                f" last at {changed:%Y-%m-%d %H:%M:%S} UTC: stop one of the two, and start the other one"
                " again"
            )
        if mine is None or shipper != self._shipper:
            connection.execute(
                "UPDATE scorewire.starts SET shipper = %s, epoch = epoch + 1, changed = now()"
                " WHERE start = %s",
                [self._shipper, start],
            )
            self._epochs[start] = epoch + 1
        return int(position)

    def _prepare(self, connection: Connection, block: SourceRows) -> _Prepared:
        if block.source not in self._layouts:
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            source = storable(block.source)
            self._layouts[block.source] = (source, Layout(source))
        source, layout = self._layouts[block.source]
        days = days_of(block.rows.times_us)
        self._catalog.ensure(connection, source, layout, [day for day, _ in days])
        return _Prepared(block.number, source, layout, block.rows, days)

    def _copy(self, connection: Connection, start: UUID, blocks: Iterable[_Prepared]) -> None:
        """Copy the rows of blocks, with one COPY for each partition and list of columns."""
        copies: dict[tuple[str, tuple[str, ...]], list[Callable[[], memoryview]]] = {}
        for block in blocks:
            for day, chosen in block.days:
                target = (partition_name(block.layout.table, day), block.layout.copied(block.rows))
                encode = _encoder(start, block, chosen, self._catalog.source_id(connection, block.source))
                copies.setdefault(target, []).append(encode)
        for (partition, columns), encoders in copies.items():
            query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
                name(partition), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with connection.cursor() as cursor, cursor.copy(query) as copy:
                copy.write(HEADER)
                for data in ahead((encode() for encode in encoders), _AHEAD):
                    copy.write(data)
                copy.write(TRAILER)

    def _account(
        self,
        connection: Connection,
        start: UUID,
        accounts: Accounts,
        block: Contents,
        prepared: _Prepared | None,
    ) -> None:
        if prepared is not None:
            accounts.add_rows(prepared.layout.table, prepared.rows, prepared.days)
        elif isinstance(block, Ledgers):
            accounts.add_ledgers(block.writers)
        elif isinstance(block, StartDescription):
            connection.execute(
                "UPDATE scorewire.starts SET server = %s, engine = %s WHERE start = %s",
                [block.description.server, block.description.engine, start],
            )
        elif isinstance(block, End):
            connection.execute("UPDATE scorewire.starts SET ended = true WHERE start = %s", [start])

    def _store_one(self, start: UUID, block: Contents) -> None:
        try:
            self._store(start, [block])
        except RejectedError as error:
            if isinstance(block, SourceRows):
                raise RefusedError(block, str(error)) from None
            # No rows are lost with it.
            _log.error("block %d of start %s is passed over: %s", block.number, start, error)
            self._store(start, [Ledgers(block.number, ())])

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """The connection, which is made if there is none; after an error it is closed."""
        try:
            if self._connection is None:
                self._connection = self._database.connect()
                self._catalog.forget()
                with self._database.errors("cannot use"):
                    schema.check(self._connection)
            with self._database.limit(self._connection), self._database.errors("cannot store in"):
                yield self._connection
        except RejectedError:
            raise
        except DatabaseError as error:
            self._failed()
            raise StoreError(str(error)) from None
        except BaseException:
            self._failed()
            raise

    def _failed(self) -> None:
        self.close()
        self._catalog.forget()
        self._transaction_rows = max(self._transaction_rows // 2, _MIN_TRANSACTION_ROWS)


def _portions(blocks: Iterable[Contents], limit: Callable[[], int]) -> Iterator[list[Contents]]:
    """Blocks in portions of at most so many rows, if a single block has no more."""
    some: list[Contents] = []
    rows = 0
    for block in blocks:
        count = block.rows.row_count if isinstance(block, SourceRows) else 0
        if some and rows + count > limit():
            yield some
            some, rows = [], 0
        some.append(block)
        rows += count
    if some:
        yield some


def days_of(times_us: NDArray[np.int64]) -> Days:
    """The days of predictions, each with a mask of its predictions."""
    # A time that no date has is refused with the day's partition.
    numbers = np.clip(times_us // DAY_US, 0, _LAST_DAY)
    return [(_EPOCH + dt.timedelta(days=number), numbers == number) for number in np.unique(numbers).tolist()]


def _encoder(
    start: UUID, block: _Prepared, chosen: NDArray[np.bool_], source_id: int
) -> Callable[[], memoryview]:
    """What encodes the rows of some predictions of a block."""

    def encode() -> memoryview:
        fields = list(block.layout.fields(start, block.source, source_id, block.rows))
        of_rows = None if chosen.all() else np.repeat(chosen, block.rows.row_counts)
        return encode_rows(fields, block.rows.row_count, of_rows)

    return encode

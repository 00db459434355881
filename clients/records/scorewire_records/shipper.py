"""Moves the records of all starts from the spool to a store, the earliest start first.

The order of steps makes a crash harmless at any point: rows are on the disk of the
store before the state of the start says so, and the state says so before a segment is
removed. A store of whole segments gets a segment again whose state was not written,
and makes the same files of it; any other store knows its position itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from uuid import UUID

from scorewire_contract.records.segments import spool_folder
from scorewire_records.ahead import ahead
from scorewire_records.kept_segments import KeptSegments
from scorewire_records.spool_folder import StartFolder, is_closed, starts_of, strangers
from scorewire_records.start_state import StartState, StartStates, restarted
from scorewire_records.store import Contents, RefusedError, Store, StoreError
from scorewire_records.walk import NewerFormatError, Walk, set_block_aside

# A store that takes any blocks gets about so many bytes at once.
BATCH_BYTES = 8 << 20
_EXPIRE_EVERY = timedelta(hours=1)
_RESTORED_IS_TOLD = timedelta(hours=1)
_LOG = logging.getLogger(__name__)
# So many unknown files are named.
_NAMED = 3


class Shipper:
    """Moves records. One thread calls it; others may call `position` and read `problems`.

    Args:
        records: the folder of records.
        store: where the records go.
        states: the states of the starts in this folder.
        stop: when this is set, `ship` returns soon, between two transactions.
        keep_stored_seconds: how long segments are kept that are stored in a database.
    """

    def __init__(
        self,
        records: Path,
        store: Store,
        states: StartStates,
        stop: Event,
        *,
        keep_stored_seconds: float = 0,
    ) -> None:
        self._records, self._spool = records, spool_folder(records)
        self._store = store
        self._states = states
        self._stop = stop
        self._walks: dict[UUID, Walk] = {}
        # The number of the first block that the store does not have, of starts for which it was asked.
        self._stored: dict[UUID, int] = {}
        self._kept = KeptSegments(records, 0 if store.whole_segments else keep_stored_seconds)
        # Whether the store was compared with the states since it was opened, or could not be used.
        self._compared = store.whole_segments
        # What was found then, and when it is no longer told.
        self._restored, self._restored_until = "", datetime.min.replace(tzinfo=UTC)
        self._expired_at: datetime | None = None
        # What is wrong now, by what it concerns.
        self.problems: dict[str, str] = {}

    def ship(self) -> bool:
        """Store what is there; return whether anything was stored or removed.

        A start that cannot be read does not stop the others. A store that cannot be used ends the pass.
        """
        problems: dict[str, str] = {}
        moved = False
        try:
            if unknown := strangers(self._records):
                problems["spool"] = self._unknown(unknown)
            if not self._compared:
                self._compare()
            for start in starts_of(self._records):
                if not self._stop.is_set():
                    moved |= self._ship_start(start, problems)
            self._expire(datetime.now(UTC))
        except StoreError as error:
            self._stored.clear()
            self._compared = self._store.whole_segments
            problems["store"] = f"records cannot be stored: {error}"
        except OSError as error:
            problems["spool"] = f"the spool cannot be read: {_reason(error)}"
        if datetime.now(UTC) < self._restored_until:
            problems["restored"] = self._restored
        self.problems = problems | self._states.problems
        return moved

    def _ship_start(self, start: UUID, problems: dict[str, str]) -> bool:
        folder = StartFolder(self._spool, start)
        moved = False
        try:
            # Asked first, so that all that the server wrote is seen below.
            gone = folder.server_is_gone(was_seen=self._states.get(start) is not None)
            moved = self._ship_segments(folder, start, gone=gone)
            if unknown := folder.strangers():
                problems[str(start)] = self._unknown(unknown)
            elif gone and not folder.segments():
                self._keep(start, gone=True)
                folder.remove()
                del self._walks[start]
                moved = True
        except NewerFormatError as error:
            problems[str(start)] = f"start {start} waits: {error}"
        except OSError as error:
            problems[str(start)] = f"start {start} waits: {_reason(error)}"
        except StoreError:
            raise
        except Exception as error:  # a bug must not keep the other starts waiting
            problem = f"start {start} waits: {error!r}; the log has the traceback"
            if self.problems.get(str(start)) != problem:  # once, and not in each pass
                _LOG.exception("start %s cannot be shipped", start)
            problems[str(start)] = problem
        return moved

    def _ship_segments(self, folder: StartFolder, start: UUID, *, gone: bool) -> bool:
        segments = folder.segments()
        walk = self._walk(start, segments[0][0] if segments else 0)
        # A crash came between their end and their removal.
        for number, path in segments:
            if number < walk.state.segment:
                self._kept.keep(start, path)
        segments = [each for each in segments if each[0] >= walk.state.segment]
        moved = False
        for number, path in segments:
            is_last = number == segments[-1][0]
            growing = is_last and not gone and not is_closed(path)
            if self._stop.is_set() or (growing and self._store.whole_segments):
                break
            self._go_to(start, number)
            moved |= self._ship_segment(start, path, growing=growing)
            if growing or self._stop.is_set():
                break
            walk = self._walks[start].copy()
            if is_last and gone:
                walk.end()
            walk.next_segment(number)
            self._walks[start] = walk
            self._keep(start)
            self._kept.keep(start, path)
        return moved

    def _ship_segment(self, start: UUID, path: Path, *, growing: bool) -> bool:
        """Store the rest of a segment, and move the walk behind what is stored; whether it has moved."""
        begin = self._walks[start]
        walk = begin.copy()
        if self._store.whole_segments:
            self._store.store(start, walk.state.segment, walk.read(path, growing=growing))
            self._walks[start] = walk
            return True
        refused = begin.state.refused
        # The next batch is read while one is stored.
        for batch, behind in ahead(_batches(walk, path, self._position(start), growing=growing)):
            if batch:
                refused += self._store_batch(start, walk.state.segment, path, batch)
            behind.state = replace(behind.state, confirmed=self._stored[start], refused=refused)
            self._walks[start] = behind
            if self._stop.is_set():
                return True
        return walk.offset > begin.offset

    def _store_batch(self, start: UUID, segment: int, path: Path, batch: list[Contents]) -> int:
        """Store blocks, and set those aside that the store refuses; returns the rows of these."""
        refused, rest = 0, batch
        while rest:
            try:
                self._store.store(start, segment, rest)
                break
            except RefusedError as error:
                block = error.block
                _LOG.error("block %d of start %s is set aside: %s", block.number, start, error)
                # Before the store passes it over, so that a crash between the two does no harm.
                set_block_aside(self._spool, start, segment, path, block.number)
                self._store.pass_over(start, block)
                refused += block.rows.row_count
                rest = [each for each in rest if each.number > block.number]
        self._stored[start] = batch[-1].number + 1
        return refused

    def _compare(self) -> None:
        """Find out whether the store lacks what it had confirmed, and store again what was kept.

        A database does if it was restored from a backup.
        """
        for start, walk in list(self._walks.items()):
            if self._position(start) < walk.state.confirmed:
                # The walk begins again at the segment.
                del self._walks[start]
        again = lost = 0
        for start in list(self._states.starts()):
            state = self._states.get(start)
            # What was shipped before a database confirmed anything is in files.
            if state is None or state.confirmed == 0:
                continue
            found = self._counted(state)
            if found.missing <= max(0, state.missing):
                if found != state:
                    # Records may have expired by a command.
                    self._states.put(found)
                continue
            self._walks.pop(start, None)
            if self._position(start) < state.confirmed:
                self._store_again(start, state.segment)
            counted = self._counted(replace(state, confirmed=self._stored[start]))
            self._states.put(counted)
            again += found.missing - counted.missing
            lost += counted.missing - max(0, state.missing)
        self._compared = True
        if again or lost:
            self._restored = (
                f"the store lacked {again + lost} rows that it had confirmed: it was restored from an"
                f" older backup, or is another one; {again} of them were stored again, and {lost} are lost,"
                " since their segments are gone"
            )
            self._restored_until = datetime.now(UTC) + _RESTORED_IS_TOLD
            _LOG.warning("%s", self._restored)

    def _store_again(self, start: UUID, segment: int) -> None:
        """Store what is left of the segments of a start before one."""
        for number, path in self._kept.segments(start):
            if number < segment:
                walk = Walk(self._spool, restarted(start, number))
                for batch, _ in _batches(walk, path, self._position(start), growing=False):
                    if batch:
                        self._store_batch(start, number, path, batch)

    def _position(self, start: UUID) -> int:
        if start not in self._stored:
            self._stored[start] = self._store.position(start)
        return self._stored[start]

    def _walk(self, start: UUID, first_segment: int) -> Walk:
        if start not in self._walks:
            state = self._states.get(start) or restarted(start, first_segment)
            if not self._store.whole_segments and state.confirmed == 0:
                state = replace(state, filed=state.shipped)
            self._walks[start] = Walk(self._spool, self._counted(state))
        return self._walks[start]

    def _go_to(self, start: UUID, segment: int) -> None:
        """Leave out segments that someone has removed; the next header tells what was in them."""
        walk = self._walks[start]
        if walk.offset and walk.state.segment != segment:
            walk.next_segment(segment - 1)
        walk.state = replace(walk.state, segment=segment)

    def _keep(self, start: UUID, *, gone: bool = False) -> None:
        """Write the state of a start that is at the begin of a segment."""
        walk = self._walks[start]
        state = replace(walk.state, gone=True, sources={}) if gone else walk.state
        walk.state = self._counted(state)
        self._states.put(walk.state)

    def _counted(self, state: StartState) -> StartState:
        """The state with the rows that the store has now."""
        totals = self._store.totals(state.start)
        if totals is None:
            return replace(state, stored=state.shipped - state.expired)
        expired = state.filed_expired + totals.expired
        stored = state.filed + totals.stored - expired
        return replace(state, stored=stored, expired=expired, refused=totals.refused)

    def _expire(self, now: datetime) -> None:
        if self._expired_at is not None and now - self._expired_at < _EXPIRE_EVERY:
            return
        self._kept.prune()
        for start in self._store.expire(now):
            if start in self._walks:
                walk, kept = self._walks[start], self._states.get(start)
                if kept is not None:
                    walk.state = replace(
                        walk.state,
                        expired=kept.expired,
                        filed_expired=kept.filed_expired,
                        expiring=kept.expiring,
                    )
                walk.state = self._counted(walk.state)
            elif (state := self._states.get(start)) is not None:
                self._states.put(self._counted(state))
        self._expired_at = now

    def position(self, start: UUID) -> StartState | None:
        """How far a start is, behind what is stored; None if nothing is known of it. Any thread may ask."""
        kept = self._states.get(start)
        walk = self._walks.get(start)
        if walk is None:
            return kept
        # The store was last asked when the state was kept.
        missing = max(0, kept.missing) if kept else 0
        return replace(walk.state, stored=walk.state.shipped - walk.state.expired - missing)

    def _unknown(self, paths: list[Path]) -> str:
        names = ", ".join(str(path.relative_to(self._records)) for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        return f"files that do not belong in the spool are left alone: {names}{more}; move them away"


def _batches(
    walk: Walk, path: Path, position: int, *, growing: bool
) -> Iterator[tuple[list[Contents], Walk]]:
    """The blocks of a segment from a number on, in lists of about `BATCH_BYTES`, with a walk behind each."""
    batch: list[Contents] = []
    begin = walk.offset
    for block in walk.read(path, growing=growing):
        if block.number >= position:
            batch.append(block)
        if walk.offset - begin >= BATCH_BYTES:
            yield batch, walk.copy()
            batch, begin = [], walk.offset
    yield batch, walk.copy()


def _reason(error: OSError) -> str:
    named = f"{error.filename}: " if error.filename else ""
    return f"{named}{error.strerror or error}"

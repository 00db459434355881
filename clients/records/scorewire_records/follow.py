"""Follows the spool: the records that come while one looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import BinaryIO
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from scorewire_contract.records.segments import spool_folder
from scorewire_records.parquet_files import record_files
from scorewire_records.selection import Selection
from scorewire_records.spool_folder import StartFolder, starts_of
from scorewire_records.start_state import restarted
from scorewire_records.store import SourceRows
from scorewire_records.tables import to_table
from scorewire_records.walk import NewerFormatError, Walk


class Follower:
    """Finds the records that come after it was made.

    An open segment stays readable when the shipper removes it. A segment that came and went between two
    calls is read from its Parquet files.

    Args:
        records: the folder of records.
        selection: which records are wanted.
    """

    def __init__(self, records: Path, selection: Selection) -> None:
        self._records = records
        self._selection = selection
        self._scratch = TemporaryDirectory(prefix="scorewire-records-")
        self._starts: dict[UUID, _Start] = {}
        for start in starts_of(records):
            self._starts[start] = each = self._follow(start, first=None)
            for _ in each.new():
                pass

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for each in self._starts.values():
            each.close()
        self._scratch.cleanup()

    def new(self) -> Iterator[pa.Table]:
        """The records that have come since the last call, in tables."""
        for start in starts_of(self._records):
            if start not in self._starts:
                self._starts[start] = self._follow(start, first=0)
        for each in self._starts.values():
            yield from each.new()

    def _follow(self, start: UUID, first: int | None) -> _Start:
        return _Start(self._records, Path(self._scratch.name), start, self._selection, first)


class _Start:
    """Follows one start.

    Args:
        first: the number of the first segment; None for the last one that is there.
    """

    def __init__(
        self, records: Path, scratch: Path, start: UUID, selection: Selection, first: int | None
    ) -> None:
        self._records = records
        self._folder = StartFolder(spool_folder(records), start)
        self._start = start
        self._selection = selection
        last = max((number for number, _ in self._folder.segments()), default=0)
        self._segment = last if first is None else first
        # Damaged bytes are set aside here: to do so in the spool is for the shipper.
        self._walk = Walk(spool_folder(scratch), restarted(start, self._segment))
        self._file: BinaryIO | None = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def new(self) -> Iterator[pa.Table]:
        while True:
            # Asked first: a segment before the last one does not grow any more.
            segments = dict(self._folder.segments())
            if self._file is None and self._segment in segments:
                with suppress(FileNotFoundError):
                    self._file = segments[self._segment].open("rb")
            is_last = self._segment >= max(segments, default=self._segment)
            if self._file is not None:
                yield from self._read(growing=is_last)
            elif not is_last:
                yield from self._stored()
            if is_last:
                return
            self.close()
            self._walk.next_segment(self._segment)
            self._segment += 1

    def _read(self, *, growing: bool) -> Iterator[pa.Table]:
        if self._file is None:
            return
        with suppress(NewerFormatError):
            for block in self._walk.read(Path(f"/proc/self/fd/{self._file.fileno()}"), growing=growing):
                if isinstance(block, SourceRows) and self._selection.may_come_from(block.source):
                    yield to_table(self._start, block.source, block.rows)

    def _stored(self) -> Iterator[pa.Table]:
        for file in record_files(self._records):
            if (file.start, file.segment) == (self._start, self._segment) and self._selection.may_have(file):
                yield pq.read_table(file.path, partitioning=None)
        # What comes next is counted from its own header on.
        self._walk.state = replace(self._walk.state, block=None)

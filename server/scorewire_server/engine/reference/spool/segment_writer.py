"""Appends blocks to segments, one open segment at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from scorewire_contract.records.blocks import Header, Kind, encode_block
from scorewire_contract.records.ledger import WriterLedger, encode_ledgers
from scorewire_contract.records.rows import RowsBlock
from scorewire_contract.records.segments import LOCK, segment_path, spool_folder, start_folder
from scorewire_contract.records.source import Source, Start
from scorewire_server.engine.recording import RecordOptions

_FOLDER_MODE, _FILE_MODE = 0o750, 0o640
# A write fails with these if the disk, or the quota, has no room.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class _Segment:
    """A segment that is open; `size` is what of it is whole blocks."""

    file: int
    path: Path
    size: int = 0
    opened: float = field(default_factory=monotonic)
    # Whether it has more than its start block.
    used: bool = False
    described: set[int] = field(default_factory=set)


class SegmentWriter:
    """Writes the segments of one start; to be used from one thread.

    Every method that writes raises OSError if a block cannot be written. What was written
    of it is cut off. The next block goes to another segment, unless the disk is full: then
    each try would leave one more.

    Args:
        options: the folder, the UUID of the start, and when segments are closed.
        server: the version of the server.
        writers: how many writers the start has.
    """

    def __init__(self, options: RecordOptions, server: str, writers: int) -> None:
        self._options = options
        self._server = server
        self._writers = writers
        self._spool = spool_folder(options.folder)
        self._folder = start_folder(self._spool, options.start)
        self._open: _Segment | None = None
        self._lock: int | None = None
        self._next_segment = self._next_block = self._predictions = self._rows = 0
        self._written = 0

    def take_written(self) -> int:
        """The bytes that were written since the last call."""
        written, self._written = self._written, 0
        return written

    def ensure_open(self) -> None:
        """Open a segment if none is open, after making the folder."""
        if self._open is not None:
            return
        self._ensure_folder()
        number = self._next_segment
        path = segment_path(self._folder, number)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            file = os.open(path, flags, _FILE_MODE)
        except FileExistsError:
            self._next_segment += 1
            raise
        self._open = _Segment(file, path)
        start = Start(
            start=self._options.start,
            segment=number,
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            server=self._server,
            engine="reference",
            writers=self._writers,
        )
        try:
            self._append(Kind.START, start.encode())
        except OSError:
            self._leave()
            # A disk that stays full must not get a segment without blocks each time.
            with suppress(OSError):
                path.unlink()
                self._next_segment -= 1
            raise
        finally:
            self._next_segment += 1

    def look(self) -> None:
        """Leave the open segment if it is not where it was any more. Writing it would not fail."""
        segment = self._open
        if segment is None:
            return
        try:
            in_place = os.path.samestat(segment.path.stat(), os.fstat(segment.file))
        except OSError:
            in_place = False
        if not in_place:
            self._leave()

    def rows(self, description: Source, block: RowsBlock, body: bytes) -> None:
        """Write a block of rows, after the description of their source."""
        self.ensure_open()
        segment = self._open
        if segment is not None and description.source not in segment.described:
            self._append(Kind.SOURCE, description.encode())
        header = Header(
            kind=Kind.ROWS,
            start=self._options.start,
            number=0,
            source=description.source,
            predictions=len(block),
            rows=block.row_count,
            first_sequence=int(block.sequences.min()),
            fingerprint=description.fingerprint_number,
        )
        self._append_block(header, body)
        if segment is not None:
            segment.described.add(description.source)

    def ledger(self, ledgers: Sequence[WriterLedger]) -> None:
        """Write a block with the ledger of each writer."""
        self.ensure_open()
        self._append(Kind.LEDGER, encode_ledgers(ledgers))

    @property
    def has_rows(self) -> bool:
        """Whether a segment with rows is open."""
        return self._open is not None and bool(self._open.described)

    @property
    def is_due(self) -> bool:
        """Whether the open segment is so large or old that it is to be closed."""
        segment, options = self._open, self._options
        if segment is None or not segment.used:
            return False
        return (
            segment.size >= options.segment_bytes or monotonic() - segment.opened >= options.segment_seconds
        )

    def close(self, *, last: bool) -> None:
        """Close the open segment with an end block; `last` if the server stops in order."""
        if last:
            self.ensure_open()
        if self._open is not None:
            self._append(Kind.END, source=int(last))
            self._leave()

    def release(self) -> None:
        """Let others see that this start is over."""
        self._leave()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _ensure_folder(self) -> None:
        """Make the folder of the start, and lock it. Others see the folder only with the lock held."""
        if self._lock is not None and (self._folder / LOCK).exists():
            return
        self._options.folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        self._spool.mkdir(_FOLDER_MODE, exist_ok=True)
        fresh = self._folder
        if not fresh.exists():
            fresh = self._folder.with_name(f".{self._folder.name}")
            fresh.mkdir(_FOLDER_MODE, exist_ok=True)
        lock = os.open(fresh / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fresh != self._folder:
                fresh.rename(self._folder)
        except OSError:
            os.close(lock)
            raise
        if self._lock is not None:
            os.close(self._lock)
        self._lock = lock

    def _append(self, kind: Kind, body: bytes = b"", *, source: int = 0) -> None:
        self._append_block(Header(kind=kind, start=self._options.start, number=0, source=source), body)

    def _append_block(self, header: Header, body: bytes) -> None:
        segment = self._open
        if segment is None:
            raise OSError("no segment is open")
        header = replace(
            header, number=self._next_block, predictions_before=self._predictions, rows_before=self._rows
        )
        data = memoryview(encode_block(header, body))
        size = len(data)
        try:
            while data:
                data = data[os.write(segment.file, data) :]
        except OSError as error:
            self._cut(segment, error)
            raise
        segment.size += size
        segment.used |= header.kind != Kind.START
        self._written += size
        self._next_block += 1
        self._predictions += header.predictions
        self._rows += header.rows

    def _cut(self, segment: _Segment, error: OSError) -> None:
        """Cut a part of a block off. If that fails too, readers find a torn tail."""
        try:
            os.ftruncate(segment.file, segment.size)
        except OSError:
            self._leave()
        else:
            if error.errno not in _FULL:
                self._leave()

    def _leave(self) -> None:
        """Close the open segment as it is."""
        segment, self._open = self._open, None
        if segment is not None:
            os.close(segment.file)

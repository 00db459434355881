"""All records of a folder at one moment, as Parquet files, while servers write and the shipper moves them.

A segment is removed from the spool after its files are in place. So what is in the
spool is opened first, and the files are listed after it: then nothing is missing. The
files of a segment that was found in the spool are left out: then nothing is there
twice. What the spool has is written to files in a temporary folder, as the shipper
does, so that memory is bounded.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from scorewire_contract.records.segments import spool_folder
from scorewire_records.parquet_files import RecordFile, SegmentFiles, record_files
from scorewire_records.selection import Selection
from scorewire_records.spool_folder import StartFolder, starts_of
from scorewire_records.start_state import StartState, StartStates, restarted
from scorewire_records.store import SourceRows
from scorewire_records.walk import NewerFormatError, Walk


@dataclass(frozen=True, slots=True)
class _Spooled:
    """The segments of a start that are in the spool.

    Attributes:
        state: the state of the start at the begin of the first of them, as far as it is known.
        opened: their files by number, ascending; they stay readable when they are removed.
        last: the highest number that was seen; -1 if there is none.
    """

    state: StartState
    opened: dict[int, BinaryIO]
    last: int

    @property
    def nbytes(self) -> int:
        return sum(os.fstat(each.fileno()).st_size for each in self.opened.values())

    def has(self, file: RecordFile) -> bool:
        """Whether the rows of a file are read from the spool, or are younger than the snapshot."""
        return file.segment in self.opened or file.segment > self.last >= 0


@contextmanager
def snapshot(
    records: Path, selection: Selection, on_read: Callable[[int, int], None] = lambda _done, _all: None
) -> Iterator[list[RecordFile]]:
    """The files with all records that may be selected; they exist while the context lasts.

    Only retention may remove a file meanwhile.

    Args:
        records: the folder of records.
        selection: which records are wanted; the files may also have others.
        on_read: called with the bytes of the spool that were read, and how many there are.
    """
    _allow_many_files()
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="scorewire-records-") as scratch:
        spool = {start: _open(records, start, stack) for start in starts_of(records)}
        stored = [
            file
            for file in record_files(records.absolute())
            if selection.may_have(file) and (file.start not in spool or not spool[file.start].has(file))
        ]
        size = sum(each.nbytes for each in spool.values())
        done = 0
        on_read(done, size)
        for spooled in spool.values():
            for nbytes in _write(Path(scratch), spooled):
                done += nbytes
                on_read(done, size)
        yield stored + [file for file in record_files(Path(scratch)) if selection.may_have(file)]


def _open(records: Path, start: UUID, stack: ExitStack) -> _Spooled:
    folder = StartFolder(spool_folder(records), start)
    state = StartStates(records, read_only=True).get(start)
    segments = folder.segments()
    opened: dict[int, BinaryIO] = {}
    for number, path in segments:
        # The shipper may have stored and removed it by now.
        with suppress(FileNotFoundError):
            opened[number] = stack.enter_context(path.open("rb"))
    first = min(opened, default=0)
    if state is None or state.segment != first:
        state = restarted(start, first)
    return _Spooled(state, opened, max((number for number, _ in segments), default=-1))


def _write(scratch: Path, spooled: _Spooled) -> Iterator[int]:
    """Write the rows of each segment to files; yields the bytes of each segment."""
    # Damaged bytes are set aside in the temporary folder: to do so in the spool is for the shipper.
    walk = Walk(spool_folder(scratch), spooled.state)
    numbers = list(spooled.opened)
    for number in numbers:
        opened = spooled.opened[number]
        # The name of an open file, also of one that was removed.
        path = Path(f"/proc/self/fd/{opened.fileno()}")
        walk.state = replace(walk.state, segment=number)
        files = SegmentFiles(scratch, walk.state.start, number)
        # The rows of a newer format wait for a newer shipper.
        with suppress(NewerFormatError):
            for block in walk.read(path, growing=number == spooled.last):
                if isinstance(block, SourceRows):
                    files.add(block)
        files.publish()
        walk.next_segment(number)
        yield os.fstat(opened.fileno()).st_size


def _allow_many_files() -> None:
    """Allow as many open files as the system does: a spool that waits has a segment for each few minutes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

"""What the thread of the spool does: it takes records from the lanes, and writes blocks."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, perf_counter_ns, time_ns

from scorewire_contract.records.blocks import MAX_BODY_BYTES
from scorewire_contract.records.ledger import WriterLedger
from scorewire_contract.records.segments import spool_folder
from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.recording import RecordedSource, RecordOptions
from scorewire_server.engine.reference.spool.columns import Part, SourceColumns, parts_of
from scorewire_server.engine.reference.spool.lane import Lane
from scorewire_server.engine.reference.spool.segment_writer import SegmentWriter
from scorewire_server.engine.reference.spool.space import Space

# How often the disk is looked at, and tried again after a failure.
LOOK_SECONDS = 1.0
# A failure is told for so long, where no rows come that could be written.
_FAILURE_SECONDS = 10.0
# Blocks of rows have at most so many bytes, unless one part has more.
_BLOCK_BYTES = 1 << 20
# Records that were taken have about so much memory at most before they are written, and one record more.
_TAKEN_BYTES = 4 << 20
# The sources whose columns are kept; policies may change for as long as the server runs.
_MAX_SOURCES = 256


class Spooling:
    """Writes records to the spool; to be used from one thread.

    A failure of the disk is no failure of this class: what cannot be written is dropped and
    counted, and writing is tried again with the next look.

    Args:
        options: where and within which bounds.
        server: the version of the server.
        lanes: where records come from.

    Attributes:
        problem: for people: why records are dropped now; "" if they are written. Any thread may read it.
    """

    def __init__(self, options: RecordOptions, server: str, lanes: Sequence[Lane]) -> None:
        self.problem = ""
        self._lanes = lanes
        self._writer = SegmentWriter(options, server, len(lanes))
        self._space = Space(spool_folder(options.folder), options.spool_bytes, options.free_bytes)
        self._columns: dict[int, SourceColumns] = {}
        self._taken: dict[int, list[Part]] = {}
        self._taken_bytes = 0
        # Whether nothing is written before the next look.
        self._is_broken = False
        # Why a write failed last, and when. Forgotten once rows are written, or after a while.
        self._failure: tuple[OSError, float] | None = None
        # An error of the program.
        self._flaw = ""
        self._full = False
        self._next_look = 0.0
        self._ledgers: list[WriterLedger] = []
        self._ledger_time = 0.0

    def open(self) -> None:
        """Open a segment, so that a folder that cannot be written is known at once."""
        self._is_broken = False
        try:
            self._writer.ensure_open()
        except OSError as error:
            self._break(error)

    def look(self) -> None:
        """Look at the disk once a second, and try again what failed."""
        if monotonic() < self._next_look:
            return
        self._next_look = monotonic() + LOOK_SECONDS
        if self._is_broken:
            self.open()
        if self._failure and not self._is_broken and monotonic() - self._failure[1] >= _FAILURE_SECONDS:
            self._failure = None
        self._space.measure()
        self._full = bool(self._space.problem)
        if self._full and not self._is_broken and self._writer.has_rows:
            # So that the shipper can move it, and make room.
            self._close_segment()
        self._tell()

    def flush(self) -> None:
        """Write the records that wait, and the ledger if it has changed."""
        if any(lane.is_waiting for lane in self._lanes):
            self._writer.look()
            self._take_all()
            if not self._full:
                self._write_ledger()
        if monotonic() - self._ledger_time >= LOOK_SECONDS:
            self._write_ledger()
        if self._writer.is_due:
            self._close_segment()

    def fail(self, error: Exception) -> None:
        """Tell of an error of the program; the log gets one traceback, not one for each block."""
        flaw = f"records cannot be written: {type(error).__name__}; the log has the traceback"
        if flaw != self._flaw:
            log_fault("records", error)
        self._flaw = flaw
        self._tell()

    def finish(self) -> None:
        """Write all that waits, the last ledger and the last block; let others see that the start is over."""
        try:
            # One more try.
            self._next_look = 0.0
            self.look()
            self._writer.look()
            self._take_all()
            self._write_ledger()
            if not self._is_broken:
                self._writer.close(last=True)
        except OSError as error:
            self._break(error)
        finally:
            self._writer.release()
            self._tell()

    def _take_all(self) -> None:
        for lane in self._lanes:
            for sequence, record, size in lane.take():
                parts = parts_of(lane.writer, sequence, record, size)
                self._taken.setdefault(record.source.number, []).extend(parts)
                self._taken_bytes += size
                if self._taken_bytes >= _TAKEN_BYTES:
                    self._write_taken()
        self._write_taken()

    def _write_taken(self) -> None:
        taken, self._taken, self._taken_bytes = self._taken, {}, 0
        # Between two clocks; the wall clock may be set at any time.
        since_1970_us = time_ns() // 1000 - perf_counter_ns() // 1000
        for parts in taken.values():
            size, begin = 0, 0
            for index, part in enumerate(parts):
                if size and size + part.size > _BLOCK_BYTES:
                    self._write(parts[begin:index], since_1970_us)
                    size, begin = 0, index
                size += part.size
            self._write(parts[begin:], since_1970_us)

    def _write(self, parts: Sequence[Part], since_1970_us: int) -> None:
        """Write parts of one source in one block; in several ones if they have more bytes than thought."""
        cause = "disk" if self._is_broken else "spool_full" if self._full else ""
        if not cause:
            try:
                columns = self._columns_of(parts[0].record.source)
                block = columns.block(parts, since_1970_us)
                body = block.encode()
                if len(body) > _BLOCK_BYTES and len(parts) > 1:
                    half = len(parts) // 2
                    self._write(parts[:half], since_1970_us)
                    self._write(parts[half:], since_1970_us)
                    return
                if len(body) > MAX_BODY_BYTES:
                    # A single row.
                    cause = "too_large"
                else:
                    self._writer.rows(columns.description, block, body)
                    self._failure = None
            except OSError as error:
                self._break(error)
                cause = "disk"
            except Exception as error:
                self.fail(error)
                cause = "disk"
        for part in parts:
            self._lanes[part.writer].count(cause, part.predictions, part.row_count)
        self._after_write()

    def _columns_of(self, source: RecordedSource) -> SourceColumns:
        columns = self._columns.get(source.number)
        if columns is None:
            if len(self._columns) >= _MAX_SOURCES:
                self._columns.clear()
            columns = self._columns[source.number] = SourceColumns(source)
        return columns

    def _after_write(self) -> None:
        self._space.write(self._writer.take_written())
        self._full = self._full or bool(self._space.problem)
        if self._writer.is_due:
            self._close_segment()

    def _write_ledger(self) -> None:
        """Write the ledger, if it has changed."""
        ledgers = [lane.ledger for lane in self._lanes]
        self._ledger_time = monotonic()
        if self._is_broken or ledgers == self._ledgers:
            return
        try:
            self._writer.ledger(ledgers)
            self._ledgers = ledgers
        except OSError as error:
            self._break(error)
        self._space.write(self._writer.take_written())

    def _close_segment(self) -> None:
        """End the open segment; the next block opens another one."""
        self._write_ledger()
        try:
            self._writer.close(last=False)
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        """Give up writing until the next look."""
        self._is_broken = True
        self._failure = error, monotonic()
        self._tell()

    def _tell(self) -> None:
        failed = ""
        if self._failure is not None:
            failed = (
                f"the spool cannot be written ({self._failure[0]}): records are dropped, and writing is tried"
                " every second"
            )
        self.problem = failed or self._space.problem or self._flaw

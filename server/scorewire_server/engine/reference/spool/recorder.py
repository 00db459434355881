"""The recorder: its lanes, and the thread that empties them into the spool."""

from __future__ import annotations

import threading
from collections.abc import Callable

from scorewire_contract.records.ledger import total
from scorewire_server.engine.interpreted.recording import RecordLanes
from scorewire_server.engine.recording import RecordCounts, RecordOptions
from scorewire_server.engine.reference.spool.lane import Lane
from scorewire_server.engine.reference.spool.spooling import LOOK_SECONDS, Spooling

# Records wait so long, so that a block has many.
_WAIT_SECONDS = 0.02
_CLOSE_SECONDS = 10.0


class Recorder:
    """Records predictions; starts its thread at once.

    Args:
        options: where and within which bounds.
        server: the version of the server.

    Attributes:
        lanes: the lane for answers and the lane for shadows.
    """

    def __init__(self, options: RecordOptions, server: str) -> None:
        self._arrived = threading.Event()
        self._closing = threading.Event()
        self._lanes = [
            Lane(options.start, writer, options.ring_bytes, self._wake)
            for writer in range(len(RecordLanes._fields))
        ]
        self.lanes = RecordLanes(*self._lanes)
        self._spooling = Spooling(options, server, self._lanes)
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> RecordCounts:
        """What became of the rows so far; any thread may ask."""
        ledger = total(lane.ledger for lane in self._lanes)
        return RecordCounts(
            offered=sum(lane.offered for lane in self._lanes),
            sampled_out=ledger.sampled_out.rows,
            dropped={cause: count.rows for cause, count in ledger.dropped_by_cause.items()},
            buffered=sum(lane.buffered for lane in self._lanes),
            spooled=ledger.spooled.rows,
            problem=self._spooling.problem,
        )

    def close(self) -> None:
        """Write all that waits, and close the spool; a disk that does not answer is waited for 10 seconds."""
        for lane in self._lanes:
            lane.close()
        self._closing.set()
        self._arrived.set()
        self._thread.join(_CLOSE_SECONDS)

    def _wake(self) -> None:
        if not self._arrived.is_set():
            self._arrived.set()

    def _run(self) -> None:
        spooling = self._spooling
        self._do(spooling.open)
        while not self._closing.is_set():
            self._arrived.wait(LOOK_SECONDS)
            self._closing.wait(_WAIT_SECONDS)
            self._arrived.clear()
            self._do(spooling.look)
            self._do(spooling.flush)
        self._do(spooling.finish)

    def _do(self, step: Callable[[], None]) -> None:
        """Run a step; the thread goes on whatever happens, or all further records would be lost."""
        try:
            step()
        except Exception as error:
            self._spooling.fail(error)

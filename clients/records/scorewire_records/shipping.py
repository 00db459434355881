"""Runs the one shipper of a folder of records until it is told to stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import sleep

from scorewire_contract.records.segments import spool_folder
from scorewire_contract.service import durable
from scorewire_records.shipper import Shipper
from scorewire_records.shipper_status import ShipperStatus, StatusWriter
from scorewire_records.spool_folder import shipper_lock
from scorewire_records.start_state import StartStates
from scorewire_records.store import Store

# The last pass takes at most so long; what is left is shipped by the next shipper.
_LAST_PASS_S = 9.0
_STANDBY_S = 0.2
# Pauses after a pass that found nothing, and after one that found a problem.
_IDLE_S, _IDLE_SEGMENTS_S = 0.1, 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


class AnotherShipperError(Exception):
    """Another shipper works on the same folder."""


def run_shipper(
    records: Path,
    store: Store,
    states: StartStates,
    *,
    stop: Event,
    once: bool = False,
    keep_stored_seconds: float = 0,
    on_status: Callable[[ShipperStatus], None],
    on_standby: Callable[[], None],
) -> None:
    """Ship records until `stop` is set, and make a last pass then.

    While another shipper works on the folder, this one waits.

    Args:
        records: the folder of records.
        store: where the records go.
        states: the states of the starts in this folder.
        stop: tells the shipper to stop.
        once: whether to make one pass only.
        keep_stored_seconds: how long segments are kept that are stored in a database.
        on_status: called with each status, about every second and at the end; from any thread.
        on_standby: called once if another shipper works on the folder.

    Raises:
        AnotherShipperError: `once` is set, and another shipper works on the folder.
        OSError: the spool cannot be created.
    """
    durable.make_folder(spool_folder(records))
    told = tried = False
    while True:
        with shipper_lock(records) as is_mine:
            # A shipper that is stopped before it begins still makes its last pass.
            if is_mine:
                abort = Event()
                shipper = Shipper(records, store, states, abort, keep_stored_seconds=keep_stored_seconds)
                with StatusWriter(records, shipper, store.name, on_status):
                    _ship(shipper, store, stop=stop, abort=abort, once=once)
                return
        if once and tried:
            raise AnotherShipperError
        if stop.is_set():
            return
        if not once and not told:
            on_standby()
            told = True
        # Who asks for the status holds the lock for a moment, too.
        tried = True
        stop.wait(_STANDBY_S)


def _ship(shipper: Shipper, store: Store, *, stop: Event, abort: Event, once: bool) -> None:
    idle = _IDLE_SEGMENTS_S if store.whole_segments else _IDLE_S
    pause = _FIRST_PAUSE_S
    if not once:
        Thread(target=_abort_in_time, args=(stop, abort), name="stop", daemon=True).start()
    while not once and not stop.is_set():
        moved = shipper.ship()
        if shipper.problems:
            # Many shippers may wait for one database, which is not to get them all at once.
            stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        else:
            pause = _FIRST_PAUSE_S
            if not moved:
                stop.wait(idle)
    # What was written before the stop is shipped after it.
    shipper.ship()
    store.close()


def _abort_in_time(stop: Event, abort: Event) -> None:
    """Bound the time from the stop on: the pass in which it comes may be as long as the last one."""
    stop.wait()
    sleep(_LAST_PASS_S)
    abort.set()

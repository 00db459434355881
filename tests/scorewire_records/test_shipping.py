"""One shipper at a time works on a folder, and a stop gives it one last pass of a bounded time."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from scorewire_records import shipping
from scorewire_records.shipper import Shipper
from scorewire_records.shipping import run_shipper
from scorewire_records.spool_folder import shipper_lock
from scorewire_records.start_state import StartStates
from tests.processes import TIMEOUT_SECONDS
from tests.scorewire_records.spools import SpoolWriter, source
from tests.scorewire_records.stores import MemoryStore


def _run(records: Path, store: MemoryStore, stop: Event, *, once: bool = False) -> list[str]:
    told: list[str] = []
    run_shipper(
        records,
        store,
        StartStates(records),
        stop=stop,
        once=once,
        on_status=lambda _: None,
        on_standby=lambda: told.append("standby"),
    )
    return told


def test_a_shipper_that_is_stopped_before_it_begins_makes_its_last_pass(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as writer:
        writer.write(source(), 5)
    store, stop = MemoryStore(), Event()
    stop.set()
    _run(tmp_path, store, stop)
    assert store.rows(writer.start) == 5


def test_a_look_at_the_status_does_not_pass_for_another_shipper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = iter([nullcontext(False), shipper_lock(tmp_path)])
    monkeypatch.setattr(shipping, "shipper_lock", lambda _: next(locks))
    with SpoolWriter(tmp_path) as writer:
        writer.write(source(), 5)
    store = MemoryStore()
    assert _run(tmp_path, store, Event(), once=True) == []
    assert store.rows(writer.start) == 5


def test_a_shipper_that_waits_for_another_one_ends_at_once(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with shipper_lock(tmp_path) as is_mine:
        assert is_mine
        assert _run(tmp_path, MemoryStore(), stop) == []


def test_the_pass_in_which_the_stop_comes_ends_in_time_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, aborted = Event(), []

    class Busy(Shipper):
        """Has work until it is told to leave it."""

        def __init__(self, records: Path, store: Any, states: StartStates, abort: Event, **how: Any) -> None:
            super().__init__(records, store, states, abort, **how)
            self._abort = abort

        def ship(self) -> bool:
            stop.set()
            aborted.append(self._abort.wait(TIMEOUT_SECONDS))
            return True

    monkeypatch.setattr(shipping, "Shipper", Busy)
    monkeypatch.setattr(shipping, "_LAST_PASS_S", 0.01)
    _run(tmp_path, MemoryStore(), stop)
    assert aborted
    assert all(aborted)

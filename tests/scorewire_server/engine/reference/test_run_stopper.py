"""The thread that stops the reference engine's runs."""

from __future__ import annotations

import threading

import pytest
from onnxruntime import RunOptions

from scorewire_server.engine.reference.run_stopper import RunStopper
from tests.processes import TIMEOUT_SECONDS, wait_until

HOUR = 3600.0


def test_run_that_must_be_over_earlier_does_not_wait_for_one_before_it() -> None:
    stopper, long, short = RunStopper(), RunOptions(), RunOptions()

    with stopper.watched(long, HOUR), stopper.watched(short, 0.01):
        wait_until(lambda: short.terminate, "the short run is not stopped")

    assert not long.terminate


def test_run_after_one_that_ended_by_itself_is_stopped() -> None:
    stopper, before, behind = RunStopper(), RunOptions(), RunOptions()
    with stopper.watched(before, 0.01):
        pass

    with stopper.watched(behind, 0.02):
        wait_until(lambda: behind.terminate, "the run is not stopped")


def test_runs_of_many_threads_are_watched_by_one() -> None:
    stopper, all_begun = RunStopper(), threading.Barrier(9, timeout=TIMEOUT_SECONDS)
    before = _watchers()

    def run() -> None:
        with stopper.watched(RunOptions(), HOUR):
            all_begun.wait()
            all_begun.wait()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    all_begun.wait()
    watchers = _watchers() - before
    all_begun.wait()
    for thread in threads:
        thread.join()

    assert len(watchers) == 1


def test_run_is_stopped_though_a_run_before_it_found_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    stopper, options = RunStopper(), RunOptions()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"), stopper.watched(RunOptions(), HOUR):
            pass

    with stopper.watched(options, 0.01):
        wait_until(lambda: options.terminate, "the run is not stopped")


def _watchers() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "stop-runs"}

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from scorewire_loadtest import meter
from scorewire_loadtest.meter import Meter


def write_threads(folder: Path, queued_ns: dict[str, int]) -> None:
    for name, ns in queued_ns.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "schedstat").write_text(f"1000 {ns} 17\n", encoding="ascii")


def test_the_work_of_all_threads_counts() -> None:
    def work() -> None:
        end_ns = time.thread_time_ns() + 30_000_000
        while time.thread_time_ns() < end_ns:
            pass

    measured, begin_s = Meter(), time.monotonic()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    busy = measured.read().busy
    assert busy > 0.9 * 0.03 / (time.monotonic() - begin_s)


def test_the_thread_that_waited_longest_for_a_core_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "_THREADS", tmp_path)
    write_threads(tmp_path, {"1": 5, "2": 10**15})
    measured = Meter()
    write_threads(tmp_path, {"1": 5 + 10**12, "2": 10**15 + 7})
    assert measured.read().queued == 1.0
    # A thread that began meanwhile counts from its begin on.
    measured = Meter()
    write_threads(tmp_path, {"3": 10**12})
    assert measured.read().queued == 1.0
    measured = Meter()
    assert measured.read().queued == 0.0


def test_a_system_that_does_not_tell_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_THREADS", tmp_path / "none")
    assert Meter().read().queued is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("unknown\n", encoding="ascii")
    monkeypatch.setattr(meter, "_THREADS", tmp_path)
    assert Meter().read().queued is None


@pytest.mark.parametrize(
    ("told", "queued_ns"),
    [("5 7 1\n", {"1": 7}), ("5 0 1\n", {"1": 0}), ("0 0 1\n", {}), ("", {}), ("no numbers here", {})],
)
def test_a_kernel_that_counts_no_run_queue_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str, queued_ns: dict[str, int]
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text(told)
    (tmp_path / "2").mkdir()
    monkeypatch.setattr(meter, "_THREADS", tmp_path)
    assert meter._queued_ns() == queued_ns
    assert (Meter().read().queued is None) == (not queued_ns)

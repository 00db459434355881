"""A server starts, answers, changes and ends, whether or not its log is read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scorewire import Client
from tests.bundles import expected_value, write_sum_bundle
from tests.processes import ServerProcess, serving

# More lines than fit into the smallest pipe and the log's buffer.
ROUNDS = 20


def _work(server: ServerProcess) -> None:
    """Change versions many times, which writes lines to the log, and score rows."""
    with Client(server.address) as client:
        for _ in range(ROUNDS):
            client.unload_version("sum", "1.0.0")
            client.load_version("sum", "1.0.0")
        row = {"x0": 1.0, "x1": 2.0, "country": "de"}
        assert client.predict("sum", row).score == expected_value([1.0, 2.0], "de")


def _unread_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, writer


def _closed_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.close(reader)
    return writer, writer


def _full_disk() -> tuple[int, int]:
    full = os.open("/dev/full", os.O_WRONLY)
    return full, full


@pytest.mark.parametrize("log", [_unread_pipe, _closed_pipe, _full_disk])
def test_a_log_that_nobody_takes_holds_nothing_up(tmp_path: Path, log: Callable[[], tuple[int, int]]) -> None:
    write_sum_bundle(tmp_path / "models")
    kept_open, stderr = log()
    try:
        with serving(tmp_path, tmp_path / "models", stderr=stderr) as server:
            _work(server)
            dropped = server.metrics()["scorewire_log_lines_dropped_total", frozenset()]
            # Lines that wait for a reader are not lost.
            assert dropped >= ROUNDS or log is _unread_pipe
    finally:
        for each in {kept_open, stderr}:
            os.close(each)

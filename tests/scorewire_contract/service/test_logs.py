from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from scorewire_contract.service import line_writer, logs
from scorewire_contract.service.line_writer import LineWriter
from scorewire_contract.service.logs import configure_logs, flush_logs, log_counts, log_fault, logger


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for each in (reader, writer):
        try:
            os.close(each)
        except OSError:
            assert each == reader  # a test has closed it


def _writer(descriptor: int | None, told: list[int]) -> LineWriter:
    return LineWriter(descriptor, tick=lambda: None, report_dropped=told.append)


def _lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    flush_logs()
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    writer = _writer(pipe[1], [])
    for number in range(100):
        writer.put(f"line {number}")
    assert writer.flush(20)
    assert os.read(pipe[0], 1 << 16).decode() == "".join(f"line {number}\n" for number in range(100))
    writer.close(20)


def test_nobody_waits_for_a_reader_that_stops_and_what_finds_no_room_is_counted(
    pipe: tuple[int, int],
) -> None:
    told: list[int] = []
    writer = _writer(pipe[1], told)
    line = "x" * 9_999
    for _ in range(1000):
        writer.put(line)
    kept = 1000 - writer.dropped
    # The bytes of the queue, of the pipe, and of the line between the two.
    assert line_writer.MAX_WAITING_BYTES // 10_000 <= kept <= line_writer.MAX_WAITING_BYTES // 10_000 + 10
    assert not writer.flush(0.01)
    read = 0
    while read < 10_000 * kept:
        read += len(os.read(pipe[0], 1 << 16))
    assert writer.flush(20)
    writer.close(20)
    assert sum(told) == writer.dropped


def test_a_stream_that_fails_costs_the_line_and_no_more(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = _writer(pipe[1], [])
    for _ in range(10):
        writer.put("nobody reads this")
    assert writer.flush(20)
    assert writer.dropped == 10
    writer.close(20)


def test_without_a_stream_every_line_is_dropped() -> None:
    writer = _writer(None, [])
    writer.put("x")
    assert writer.flush(0)
    assert writer.dropped == 1


def test_equal_lines_are_limited_and_counted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock stands still.
    monkeypatch.setattr(logs.time, "monotonic", lambda: 1000.5)
    configure_logs("json", "info")
    for number in range(1000):
        log_fault("Predict", RuntimeError(f"fault {number}"))
    log_fault("Other", RuntimeError("x"))
    lines = _lines(capfd)
    by_method = [line["method"] for line in lines if line["event"].startswith("call failed")]
    assert by_method == ["Predict"] * logs.LINES_PER_SECOND + ["Other"]
    assert lines[0]["exception"].endswith("RuntimeError: fault 0")
    (told,) = [line for line in lines if line["event"] == "equal lines suppressed"]
    assert (told["of"], told["method"], told["lines"]) == (
        "call failed by a fault of the server",
        "Predict",
        1000 - logs.LINES_PER_SECOND,
    )
    assert log_counts().suppressed == 1000 - logs.LINES_PER_SECOND


def test_lines_of_calls_that_have_an_id_are_not_equal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs.time, "monotonic", lambda: 1000.5)
    configure_logs("json", "info")
    for number in range(5 * logs.LINES_PER_SECOND):
        logs.logger().info("control call", method="SetAlias", call=f"{number:016x}")
    assert len(_lines(capfd)) == 5 * logs.LINES_PER_SECOND
    assert log_counts().suppressed == 0


def test_equal_lines_of_another_second_are_written(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    configure_logs("json", "info")
    for _ in range(3):
        for _ in range(logs.LINES_PER_SECOND + 1):
            logger().info("again", model="sum")
        now[0] += 1
    assert [line["event"] for line in _lines(capfd)].count("again") == 3 * logs.LINES_PER_SECOND


def test_equal_lines_without_a_text_are_limited_and_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs.time, "monotonic", lambda: 1000.5)
    configure_logs("json", "info")
    for _ in range(logs.LINES_PER_SECOND + 3):
        logger().info("")
    (told,) = [line for line in _lines(capfd) if line["event"] == "equal lines suppressed"]
    assert (told["of"], told["lines"]) == ("", 3)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_that_is_logged_can_forge_a_line_or_move_a_cursor(
    capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logs(log_format, "info")
    hostile = 'a\x1b[31m\r\n{"event": "forged"}\x00\u202e\udcff\x7f'
    logger().warning("odd", model=hostile, file=object())
    log_fault(hostile, ValueError(hostile))
    flush_logs()
    written = capfd.readouterr().err
    assert "\\x1b[31m\\r\\n" in written.replace("\\\\", "\\")
    assert all(character.isprintable() or character == "\n" for character in written)
    assert not any(line.startswith('{"event": "forged"}') for line in written.splitlines())
    assert "ValueError" in written


def test_huge_values_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    logger().info("long", reason="x" * 1_000_000)
    log_fault("Predict", ValueError("y" * 1_000_000))
    assert all(len(json.dumps(line)) < 20_000 for line in _lines(capfd))


def test_what_libraries_log_goes_the_same_way(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "info")
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "a task %s", ("failed",), None)
    assert logging.lastResort is not None
    logging.lastResort.handle(record)
    (line,) = _lines(capfd)
    assert (line["event"], line["level"], line["logger"]) == ("a task failed", "error", "asyncio")


def test_a_process_without_a_standard_error_logs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.__stderr__", None)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    configure_logs("json", "info")
    logger().info("lost")
    assert log_counts().dropped == 1

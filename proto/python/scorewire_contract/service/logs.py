"""The log: one line per event on the standard error, as JSON or for a terminal.

Of a request only the names of its model and method are logged. Logging never waits
and never raises: a thread writes the lines, at most `LINES_PER_SECOND` equal ones a
second. Lines that are left out are counted, and a later line tells their number.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog

from scorewire_contract.service.line_writer import LineWriter
from scorewire_contract.service.printable import printable

LINES_PER_SECOND = 10
FLUSH_SECONDS = 1.0
# Lines that agree in these fields are equal.
_OTHER_KEY_FIELDS = ("method", "model", "version", "file", "call")
_KEY_FIELDS = ("event", "level", *_OTHER_KEY_FIELDS)
_MAX_KEYS = 1000
_MAX_VALUE = 4000
_MAX_TRACE = 16_000
_STANDARD_ERROR = 2


@dataclass(frozen=True, slots=True)
class LogCounts:
    """Lines that are not in the log.

    Attributes:
        dropped: lines that could not be written.
        suppressed: lines that were equal to others of the same second.
    """

    dropped: int = 0
    suppressed: int = 0


@dataclass(slots=True)
class _Window:
    """The count of equal lines in one second."""

    second: int
    lines: int = 0
    suppressed: int = 0


class _Limiter:
    """A structlog processor that passes `LINES_PER_SECOND` equal lines a second and counts the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, ...], _Window] = {}
        self.suppressed = 0

    def __call__(self, _: Any, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["level"] = level
        key = tuple(str(event.get(field, ""))[:_MAX_VALUE] for field in _KEY_FIELDS)
        second = int(time.monotonic())
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                if len(self._windows) >= _MAX_KEYS:
                    del self._windows[next(iter(self._windows))]
                window = self._windows[key] = _Window(second)
            elif window.second != second:
                window.second, window.lines = second, 0
            window.lines += 1
            if window.lines <= LINES_PER_SECOND:
                return event
            window.suppressed += 1
            self.suppressed += 1
        raise structlog.DropEvent

    def tell(self, *, all_seconds: bool = False) -> None:
        """Log the number of suppressed lines of past seconds, or of this second, too."""
        second = int(time.monotonic())
        with self._lock:
            windows = self._windows.items()
            over = [(key, each) for key, each in windows if all_seconds or each.second != second]
            for key, _ in over:
                del self._windows[key]
        for key, window in over:
            if window.suppressed:
                event, _, *others = key
                fields = {name: value for name, value in zip(_OTHER_KEY_FIELDS, others, strict=True) if value}
                logger().warning("equal lines suppressed", of=event, lines=window.suppressed, **fields)


class _Lines:
    """A logger for structlog: puts the rendered lines of all levels into a writer."""

    def __init__(self, writer: LineWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = writer.put


class _Forward(logging.Handler):
    """Forwards what libraries log with Python's logging module."""

    def emit(self, record: logging.LogRecord) -> None:
        logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


_writer = LineWriter(None, tick=lambda: None, report_dropped=lambda _: None)
_limiter = _Limiter()


def configure_logs(log_format: str, level: str) -> None:
    """Set up the log.

    Args:
        log_format: console, json, or auto for console on a terminal.
        level: the lowest level that is written.
    """
    global _writer, _limiter  # noqa: PLW0603 - a process has one log
    terminal = sys.stderr is not None and sys.stderr.isatty()
    console = log_format == "console" or (log_format == "auto" and terminal)
    _writer.close(FLUSH_SECONDS)
    _limiter = _Limiter()
    # In a process that was started without a standard error, descriptor 2 may be another file.
    descriptor = None if sys.__stderr__ is None else _STANDARD_ERROR
    _writer = LineWriter(descriptor, tick=_limiter.tell, report_dropped=_log_dropped)
    lines = _Lines(_writer)
    structlog.configure(
        processors=[
            _limiter,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _plain,
            # The plain format, since structlog's default one shows the values of variables.
            structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)
            if console
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    # Python's default handler would write to the standard error itself, and wait for its reader.
    logging.lastResort = _Forward(logging.WARNING)


def logger() -> structlog.typing.FilteringBoundLogger:
    """The server's log."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def log_fault(method: str, error: BaseException) -> None:
    """Log an exception that is a fault of the server, with its traceback."""
    logger().error("call failed by a fault of the server", method=method, exc_info=error)


def log_counts() -> LogCounts:
    """The number of lines that are not in the log so far."""
    return LogCounts(_writer.dropped, _limiter.suppressed)


def start_logs() -> None:
    """Start the writing thread now, so that lines are written even while the interpreter shuts down."""
    _writer.start()


def flush_logs(seconds: float = FLUSH_SECONDS) -> None:
    """Wait up to `seconds` until the log is written; for the end of a process."""
    _limiter.tell(all_seconds=True)
    _writer.flush(seconds)


def _log_dropped(lines: int) -> None:
    logger().warning("lines dropped: the log could not be written in time", lines=lines)


def _plain(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make every value short and printable; indent a traceback, so that no line of it can forge an event."""
    for name, value in event.items():
        if name == "exception":
            lines = str(value)[-_MAX_TRACE:].split("\n")
            event[name] = "\n".join("  " + printable(line) for line in lines)
        elif value is not None and not isinstance(value, bool | int | float):
            event[name] = printable(str(value)[:_MAX_VALUE])
    return event

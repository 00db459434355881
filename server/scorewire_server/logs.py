"""The log: one JSON object or one coloured line per event, on the standard error.

Nothing of a request is logged but the names of its model and method. Logging
never waits and never fails: a thread writes the lines, of equal lines so many a
second. What is left out is counted, and told in a later line.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import structlog

from scorewire_server.line_writer import LineWriter
from scorewire_server.printable import printable

LINES_PER_SECOND = 10
FLUSH_SECONDS = 1.0
# Lines that agree in these are equal.
_OTHER_KEY_FIELDS = ("method", "model", "version", "file")
_KEY_FIELDS = ("event", "level", *_OTHER_KEY_FIELDS)
_MAX_KEYS = 1000
_MAX_VALUE = 4000
_MAX_TRACE = 16_000
_STANDARD_ERROR = 2


@dataclass(frozen=True, slots=True)
class LogCounts:
    """Lines that are not in the log: `dropped` could not be written, `suppressed` were equal to others."""

    dropped: int = 0
    suppressed: int = 0


@dataclass(slots=True)
class _Window:
    """Equal lines of one second."""

    second: int
    lines: int = 0
    suppressed: int = 0


class _Limiter:
    """Passes `LINES_PER_SECOND` equal lines a second, and counts the others; a processor of structlog's."""

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
        """Log what was suppressed in the seconds that are over, or in this one as well."""
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
    """What structlog takes for a logger: it puts the rendered lines of all levels into a writer."""

    def __init__(self, writer: LineWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = writer.put


class _Forward(logging.Handler):
    """What libraries say to Python's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


_writer = LineWriter(None, tick=lambda: None, told=lambda _: None)
_limiter = _Limiter()


def configure_logs(log_format: str, level: str) -> None:
    """Set the log up.

    Args:
        log_format: console, json, or auto for console on a terminal.
        level: the least important level that is written.
    """
    global _writer, _limiter  # noqa: PLW0603 - a process has one log
    terminal = sys.stderr is not None and sys.stderr.isatty()
    console = log_format == "console" or (log_format == "auto" and terminal)
    _writer.close(FLUSH_SECONDS)
    _limiter = _Limiter()
    # A process that was started without a standard error may have another file in its place.
    descriptor = None if sys.__stderr__ is None else _STANDARD_ERROR
    _writer = LineWriter(descriptor, tick=_limiter.tell, told=_tell_of_dropped)
    lines = _Lines(_writer)
    structlog.configure(
        processors=[
            _limiter,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _plain,
            # Plain, since the prettier traces show the values of variables.
            structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)
            if console
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    # Else it writes to the standard error by itself, and waits for that.
    logging.lastResort = _Forward(logging.WARNING)


def logger() -> structlog.typing.FilteringBoundLogger:
    """The server's log."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def log_fault(method: str, error: BaseException) -> None:
    """Log an exception that is a fault of the server, with its trace."""
    logger().error("call failed by a fault of the server", method=method, exc_info=error)


def log_counts() -> LogCounts:
    """What is not in the log so far."""
    return LogCounts(_writer.dropped, _limiter.suppressed)


def start_logs() -> None:
    """Have lines written from now on, be it at the end of the interpreter."""
    _writer.start()


def flush_logs(seconds: float = FLUSH_SECONDS) -> None:
    """Wait until the log is written, for so long at most; for the end of a process."""
    _limiter.tell(all_seconds=True)
    _writer.flush(seconds)


def _tell_of_dropped(lines: int) -> None:
    logger().warning("lines dropped: the log could not be written in time", lines=lines)


def _plain(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Every value short and printable; a trace's lines are indented, so that none passes for a line."""
    for name, value in event.items():
        if name == "exception":
            lines = str(value)[-_MAX_TRACE:].split("\n")
            event[name] = "\n".join("  " + printable(line) for line in lines)
        elif value is not None and not isinstance(value, bool | int | float):
            event[name] = printable(str(value)[:_MAX_VALUE])
    return event

"""The log: one JSON object or one coloured line per event, on the standard error.

Nothing of a request is logged but the names of its model and method.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(log_format: str, level: str) -> None:
    """Set the log up.

    Args:
        log_format: console, json, or auto for console on a terminal.
        level: the least important level that is written.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        # Plain, since the prettier ones show the values of variables.
        plain = structlog.dev.plain_traceback
        processors.append(
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        )
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger() -> structlog.typing.FilteringBoundLogger:
    """The server's log."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def log_fault(method: str, error: BaseException) -> None:
    """Log an exception that is a fault of the server, with its trace."""
    logger().error("call failed by a fault of the server", method=method, exc_info=error)

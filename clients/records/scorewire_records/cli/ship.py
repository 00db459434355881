"""`scorewire records ship`: move records from the spool to a store."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import FrameType
from typing import TYPE_CHECKING

import click

from scorewire_records.cli.options import database_options, records_option
from scorewire_records.opening import open_store
from scorewire_records.shipper_status import ShipperStatus, read_status
from scorewire_records.shipping import AnotherShipperError, run_shipper
from scorewire_records.start_state import StartStates

if TYPE_CHECKING:
    from scorewire_records.postgresql.connection import Database

_EPILOG = """
\b
Examples:
  Move what is left in the spool after a server has ended:
    scorewire records ship --once --records records/

\b
  Keep moving records, whoever writes them:
    scorewire records ship --records records/

\b
  Move them to PostgreSQL, where `scorewire records init` was run:
    scorewire records ship --records records/ --password-file /run/secrets/records \\
      --to postgresql://scorewire@db.example/records?sslmode=verify-full

A server runs this command itself, so that it is seldom needed. One shipper works on
a folder at a time; another one waits until the first one ends.

Records become Parquet files once their segment of the spool is closed. The last
segment of a server that runs is not moved. PostgreSQL gets records at once.

A shipper may be killed at any time: nothing is lost, and nothing is stored twice.

\b
Exit code: 0 if everything was moved that could be, 1 if there was a problem, which
is told; 2 if the command was used wrongly.
"""


@click.command(epilog=_EPILOG)
@records_option
@database_options()
@click.option(
    "--keep-stored-seconds",
    type=click.FloatRange(min=0),
    default=3600,
    show_default=True,
    help="How long records stay in DIR/_stored after a database has stored them: if it is restored from a"
    " backup, they are stored again. They have 1 GiB at most.",
)
@click.option("--once", is_flag=True, help="Move what is there, and end.")
@click.option(
    "--supervised",
    is_flag=True,
    help="End when the standard input is closed. Problems are told in DIR/_spool/shipper.json only.",
)
def ship(
    records: Path, *, database: Database | None, keep_stored_seconds: float, once: bool, supervised: bool
) -> None:
    """Move records from the spool to Parquet files, or to PostgreSQL.

    Runs until it gets SIGTERM or Ctrl-C, and then moves what is there, for 10 seconds at most.
    """
    states, stop = StartStates(records), Event()
    _stop_on_signals(stop)
    if supervised:
        Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    told = _Teller(silent=supervised, counting=once)
    try:
        with _files_not_for_everyone():
            run_shipper(
                records,
                open_store(records, states, database),
                states,
                stop=stop,
                once=once,
                keep_stored_seconds=keep_stored_seconds,
                on_status=told.tell,
                on_standby=lambda: click.echo(
                    "Another shipper works on this folder; this one waits.", err=True
                ),
            )
    except AnotherShipperError:
        status = read_status(records)
        whose = f", process {status.pid}," if status else ""
        raise click.ClickException(
            f"another shipper{whose} works on {records}; it moves the records"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or records}: {error.strerror or error}") from None
    sys.exit(1 if told.problem else 0)


@contextmanager
def _files_not_for_everyone() -> Iterator[None]:
    """Records hold what callers sent: as in the spool, not everyone may read them, wherever the folder is."""
    before = os.umask(0o077)
    os.umask(before | 0o007)
    try:
        yield
    finally:
        os.umask(before)


class _Teller:
    """Tells people about each problem once, and how far the shipper is.

    Args:
        silent: whether to tell nothing.
        counting: whether to count rows on a terminal.
    """

    def __init__(self, *, silent: bool, counting: bool) -> None:
        self._silent = silent
        self._counting = counting and not silent and sys.stderr.isatty()
        self._all = 0
        self.problem = ""

    def tell(self, status: ShipperStatus) -> None:
        problem, self.problem = self.problem, status.problem
        if self._silent:
            return
        if status.problem != problem:
            click.echo(f"Problem: {status.problem}" if status.problem else "The problem is over.", err=True)
        pending = sum(counts.pending for counts in status.starts.values())
        self._all = max(self._all, pending)
        if self._counting and self._all:
            click.echo(f"\r{self._all - pending:,} of {self._all:,} rows", err=True, nl=not pending)


def _stop_on_signals(stop: Event) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        # The second one ends the process at once, which does no harm.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, handle)


def _wait_for_end_of_input(stop: Event) -> None:
    while os.read(sys.stdin.fileno(), 1 << 12):
        pass
    stop.set()

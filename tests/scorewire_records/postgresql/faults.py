"""Ships records into PostgreSQL while shipper and database are killed, paused and restarted at random.

At the end every row must be stored once. The suite does a few rounds; for more of them::

    python -m tests.scorewire_records.postgresql.faults --faults 200
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

import click
import psycopg

from scorewire_records.postgresql.schema import init
from tests.processes import wait_until
from tests.scorewire_records.postgresql.server import PostgresServer, running_server
from tests.scorewire_records.spools import SpoolWriter, source

_BLOCK_ROWS, _SEGMENT_BLOCKS = 200, 20


class Shipping:
    """A server's spool that grows, the process that ships it, and what befalls them.

    Args:
        server: the database.
        name: the name of the database, with the schema.
        records: the folder of records.
        seed: decides what happens, and when.
    """

    def __init__(self, server: PostgresServer, name: str, records: Path, seed: int) -> None:
        self._server, self._name, self._records = server, name, records
        self._random = random.Random(seed)
        self._log = server.folder / f"{name}.shipper.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._full = Event()
        self._faults: list[Callable[[], None]] = [
            self._kill_shipper,
            self._kill_shipper,
            self._kill_backend,
            self._end_backend,
            self._pause_database,
            self._restart_database,
            self._crash_database,
        ]
        self.happened: Counter[str] = Counter()
        # The rows of each start.
        self.rows: dict[UUID, int] = {}

    def run(self, faults: int) -> None:
        """Let faults happen while a server records, ship the rest, and check that all is there once."""
        writer = Thread(target=self._record)
        writer.start()
        try:
            for _ in range(faults):
                self._start_shipper()
                self._wait_for_progress()
                time.sleep(self._random.random() * 0.05)
                fault = self._random.choice(self._faults)
                fault()
                self.happened[fault.__name__.strip("_")] += 1
        finally:
            self._full.set()
            writer.join()
            self._kill_shipper()
        self._command("--once", check=True)
        self.check()

    def check(self) -> None:
        """Every row is stored once, and nothing is missing."""
        with self._server.connect(self._name) as connection:
            table = '(SELECT writer, sequence, "row" FROM scorewire.churn) r'
            twice = (
                f"SELECT count(*) FROM (SELECT FROM {table} GROUP BY writer, sequence, row"
                " HAVING count(*) > 1) d"
            )
            assert connection.execute(twice).fetchone() == (0,)
            found = dict(connection.execute(f"SELECT writer, count(*) FROM {table} GROUP BY 1").fetchall())
            assert found == self.rows
            assert connection.execute("SELECT * FROM scorewire.gaps").fetchall() == []
            wrong = (
                "SELECT * FROM scorewire.ledger"
                " WHERE taken <> stored OR spooled <> stored OR set_aside <> 0 OR in_flight <> 0"
            )
            assert connection.execute(wrong).fetchall() == []
            values = "SELECT count(*) FROM scorewire.churn WHERE feature_age <> sequence"
            assert connection.execute(values).fetchone() == (0,)

    def _record(self) -> None:
        """What servers do: write a spool, end in order or not, and start again."""
        kind = source()
        while not self._full.is_set():
            with SpoolWriter(self._records) as writer:
                for block in range(10 * _SEGMENT_BLOCKS):
                    if self._full.wait(0.01):
                        break
                    writer.write(kind, _BLOCK_ROWS)
                    if block % _SEGMENT_BLOCKS == _SEGMENT_BLOCKS - 1:
                        writer.close_segment()
                if self._random.random() < 0.5:
                    writer.stop()
                self.rows[writer.start] = writer.rows_before

    def _stored(self) -> int:
        with suppress(psycopg.OperationalError), self._server.connect(self._name) as connection:
            row = connection.execute("SELECT coalesce(sum(next_block), 0) FROM scorewire.starts").fetchone()
            return 0 if row is None else int(row[0])
        return -1

    def _wait_for_progress(self) -> None:
        wait_until(lambda: self._stored() >= 0, "the database")
        before = self._stored()
        wait_until(
            lambda: self._stored() > before, f"the shipper to store something: {self._log.read_text()}"
        )

    def _start_shipper(self) -> None:
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(self._arguments(), stderr=log)

    def _command(self, *more: str, check: bool) -> None:
        subprocess.run([*self._arguments(), *more], check=check, timeout=300)

    def _arguments(self) -> list[str]:
        command = [sys.executable, "-m", "scorewire_records", "ship", "--records", str(self._records)]
        return [*command, "--to", self._server.url(self._name)]

    def _kill_shipper(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _backend(self) -> int | None:
        with suppress(psycopg.OperationalError), self._server.connect(self._name) as connection:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'scorewire-records'"
            ).fetchone()
            return None if row is None else int(row[0])
        return None

    def _kill_backend(self) -> None:
        """PostgreSQL ends all its connections then, and recovers."""
        if (backend := self._backend()) is not None:
            with suppress(ProcessLookupError):
                os.kill(backend, signal.SIGKILL)

    def _end_backend(self) -> None:
        if (backend := self._backend()) is not None:
            with suppress(ProcessLookupError):
                os.kill(backend, signal.SIGTERM)

    def _pause_database(self) -> None:
        with self._server.paused():
            time.sleep(self._random.random() * 0.2)
            if self._random.random() < 0.5:
                self._kill_shipper()
                self._start_shipper()

    def _restart_database(self) -> None:
        self._server.stop()
        self._server.start()

    def _crash_database(self) -> None:
        self._server.stop(signal.SIGQUIT)
        self._server.start()


@click.command()
@click.option("--faults", default=200, show_default=True)
@click.option("--seed", type=int, help="Random unless given.")
def main(faults: int, seed: int | None) -> None:
    """Let faults happen, and check that every row is stored once."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}")
    with running_server() as server, tempfile.TemporaryDirectory() as folder:
        init(server.database())
        shipping = Shipping(server, "postgres", Path(folder), seed)
        shipping.run(faults)
        happened = ", ".join(f"{name} {count}" for name, count in sorted(shipping.happened.items()))
        click.echo(
            f"{sum(shipping.rows.values())} rows of {len(shipping.rows)} starts are stored once: {happened}"
        )


if __name__ == "__main__":
    main()

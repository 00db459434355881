"""What an absent database costs in memory: `python -m tests.records.outage`.

A server gets calls while PostgreSQL, where its records go, is stopped. The tables show the most resident
memory of the server and of the shipper before, during and after that. At the end each row must be stored. The
exit code is 1 if the outage costs one of them more than 32 MiB.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import psutil

from tests.bundles import write_sum_bundle
from tests.processes import COMMAND, ServerProcess, own_environment, serving
from tests.records.faults import MODEL, stores

MOST_ADDED_MIB = 32
_MIB = 1 << 20
_LOOK_SECONDS = 0.5


@click.command(help=__doc__)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=10.0, show_default=True)
@click.option("--rate", type=click.IntRange(min=1), default=2_000, show_default=True, help="Calls a second.")
@click.option("--engine", type=click.Choice(["native", "reference"]), default="native", show_default=True)
def main(minutes: float, rate: int, engine: str) -> None:
    with tempfile.TemporaryDirectory() as name, stores(Path(name), "postgresql") as store:
        folder, postgres = Path(name), store.postgres
        assert postgres is not None
        write_sum_bundle(folder / "models")
        seconds = {"before": 30.0, "outage": 60 * minutes, "after": 30.0}
        options = [*store.serve_options, "--engine", engine]
        with serving(folder / "server", folder / "models", *options) as server:
            load = _load(server, folder, rate, sum(seconds.values()))
            most: dict[str, dict[str, int]] = {}
            for phase, length in seconds.items():
                if phase == "outage":
                    postgres.stop()
                elif phase == "after":
                    postgres.start()
                most[phase] = _most_mib(server, length)
                click.echo(f"{phase}: " + ", ".join(f"{who} {mib} MiB" for who, mib in most[phase].items()))
            load.send_signal(signal.SIGINT)
            load.wait()
            offered, stored = _stored(server)
            click.echo(f"rows offered: {offered:,.0f}, stored: {stored:,.0f}")
    added = {who: most["outage"][who] - most["before"][who] for who in most["before"]}
    click.echo("the outage added: " + ", ".join(f"{who} {mib:+} MiB" for who, mib in added.items()))
    sys.exit(max(added.values()) > MOST_ADDED_MIB or offered != stored)


def _load(server: ServerProcess, folder: Path, rate: int, seconds: float) -> subprocess.Popen[bytes]:
    command = [COMMAND, "load", "--address", server.address, "--bundle", folder / "models" / MODEL / "1.0.0"]
    command += ["--rate", f"{rate}/s", "--duration", f"{seconds + 60:.0f}s"]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own_environment(),
    )


def _most_mib(server: ServerProcess, seconds: float) -> dict[str, int]:
    """The most resident memory of the server and its shipper for a while, in MiB."""
    most = {"server": 0, "shipper": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process = psutil.Process(server.pid)
        shippers = [each for each in process.children() if "scorewire_records" in " ".join(each.cmdline())]
        for who, those in (("server", [process]), ("shipper", shippers)):
            most[who] = max([most[who], *(each.memory_info().rss // _MIB for each in those)])
        time.sleep(_LOOK_SECONDS)
    return most


def _stored(server: ServerProcess) -> tuple[float, float]:
    """The rows that were offered and those that are stored, once no others wait."""
    while True:
        metrics = server.metrics()
        held = {
            state: metrics["scorewire_record_rows_held", frozenset({("state", state)})]
            for state in ("buffered", "pending", "stored")
        }
        if not held["buffered"] and not held["pending"]:
            return metrics["scorewire_record_rows_offered_total", frozenset()], held["stored"]
        time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    main()

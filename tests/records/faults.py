"""Checks that no record is kept twice or lost unseen, whatever is killed: `python -m tests.records.faults`.

Callers ask a server that records all predictions. At random moments, the server or its shipper is killed,
the server is stopped in order, and PostgreSQL, if it is the store, is killed, paused or restarted. Each
server must start again. At the end, the store is read, and everything that callers were answered is
compared with it:

- no row is there twice,
- each row that is there is the one that was asked and answered,
- each sequence number that is not there is accounted for: the writer's last ledger counts it as dropped or
  as still in memory, or the number was given after that ledger, and the server was killed.

The exit code is 1 if any of this does not hold.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import click
import grpc
import psutil
import psycopg
import pyarrow.parquet as pq

from scorewire_contract.records.identity import writer_uuid
from scorewire_proto.v1 import prediction_pb2
from tests.bundles import COUNTRIES, write_sum_bundle
from tests.processes import COMMAND, ServerProcess, own_environment, serving
from tests.scorewire_records.postgresql.server import PostgresServer, running_server

MODEL = "sum"
PREDICT = "/scorewire.v1.PredictionService/Predict"
CALLERS = 3
# Rows of a call: mostly one, sometimes so many that the record has several parts.
ROW_COUNTS = (*[1] * 40, *[3] * 20, *[40] * 4, 9_000)
LONGEST_LIFE_SECONDS = 1.0
# Two numbers and a text, and the output: None where a value is missing or the row has an error.
Row = tuple[float | None, float | None, str | None, float | None]


class Rows(NamedTuple):
    """The rows of one prediction, in any order, in little memory: two are equal only if their rows are.

    Attributes:
        size: how many there are.
        places: the sum of their indices.
        contents: the sum of hashes of their indices and values.
    """

    size: int = 0
    places: int = 0
    contents: int = 0

    def with_row(self, index: int, row: Row) -> Rows:
        return Rows(self.size + 1, self.places + index, self.contents + hash((index, row)))

    @property
    def has_each_once(self) -> bool:
        """Whether the indices can be 0, 1, 2 and so on."""
        return self.places == self.size * (self.size - 1) // 2


@dataclass
class Report:
    """What was answered and what is stored, by prediction, and what was done to the processes."""

    answered: dict[str, Rows] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    stored: dict[str, Rows] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    lost_in_a_kill: int = 0
    dropped: int = 0
    unaccounted: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all that is promised holds."""
        return bool(self.stored) and not (self.twice or self.different or self.unaccounted)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} x {name}" for name, count in sorted(self.faults.items()))
        return (
            f"faults: {faults}\n"
            f"answered: {_told(self.answered)}\n"
            f"stored: {_told(self.stored)}; twice: {len(self.twice)}; different: {len(self.different)}\n"
            f"not stored: {self.dropped} predictions that ledgers count as dropped,"
            f" {self.lost_in_a_kill} that were in the memory of a server that was killed\n"
            f"not accounted for: {self.unaccounted or 'none'}"
        )


def _told(predictions: dict[str, Rows]) -> str:
    return f"{len(predictions):,} predictions, {sum(rows.size for rows in predictions.values()):,} rows"


class Callers:
    """Threads that call a server, and keep what was asked and answered."""

    def __init__(self, address: str, answered: dict[str, Rows]) -> None:
        self._answered = answered
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(address,)) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until the last answer is kept."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, address: str) -> None:
        random_numbers = random.Random()
        with grpc.insecure_channel(address) as channel:
            predict = channel.unary_unary(
                PREDICT,
                request_serializer=prediction_pb2.PredictRequest.SerializeToString,
                response_deserializer=prediction_pb2.PredictResponse.FromString,
            )
            while not self._stop.is_set():
                request = _request(random_numbers)
                try:
                    response = predict(request, timeout=10)
                except grpc.RpcError:
                    # The server was killed; the next one gets callers of its own.
                    self._stop.wait(0.02)
                    continue
                assert response.prediction_id, "an answer without an id"
                self._answered[response.prediction_id] = _rows(request, response)


def _request(random_numbers: random.Random) -> prediction_pb2.PredictRequest:
    count = random_numbers.choice(ROW_COUNTS)
    request = prediction_pb2.PredictRequest(model=MODEL, routing_key=f"caller-{count}")
    request.rows.row_count = count
    # A missing x0 is an error of its row.
    numbers = (random_numbers.uniform(-9, 9) if i % 50 else float("nan") for i in range(1, 2 * count + 1))
    request.rows.numbers.extend(numbers)
    request.rows.texts.extend(random_numbers.choices(list(COUNTRIES), k=count))
    return request


def _rows(request: prediction_pb2.PredictRequest, response: prediction_pb2.PredictResponse) -> Rows:
    numbers, texts, values = request.rows.numbers, request.rows.texts, response.outputs[0].numbers
    rows = Rows()
    for i in range(request.rows.row_count):
        row = _known(numbers[2 * i]), _known(numbers[2 * i + 1]), texts[i] or None, _known(values[i])
        rows = rows.with_row(i, row)
    return rows


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


@dataclass(frozen=True)
class Store:
    """Where the records go, and what can happen to it."""

    records: Path
    postgres: PostgresServer | None

    @property
    def options(self) -> list[str | Path]:
        """The options of `scorewire serve` and of `scorewire records ship`."""
        return ["--records", self.records, *self._to]

    @property
    def _to(self) -> list[str]:
        return ["--to", self.postgres.url()] if self.postgres else []

    @property
    def serve_options(self) -> list[str | Path]:
        return ["--records", self.records, *(["--records-to", self.postgres.url()] if self.postgres else [])]

    def rows(self) -> Iterator[tuple[str, int, Row]]:
        """All rows that are stored, with prediction and index, also those that are there twice."""
        names = ("prediction_id", "row", "feature_x0", "feature_x1", "feature_country", "output_value")
        if self.postgres is None:
            for path in sorted(self.records.rglob("*.parquet")):
                table = pq.ParquetFile(path).read(columns=list(names))
                yield from _keyed(zip(*(column.to_pylist() for column in table.columns), strict=True))
        else:
            with psycopg.connect(self.postgres.url()) as connection, connection.cursor("rows") as cursor:
                cursor.execute(f"SELECT {', '.join(names)} FROM scorewire.{MODEL}")
                yield from _keyed(cursor)

    def wait_until_empty(self) -> None:
        """Move what is left in the spool."""
        command = [COMMAND, "records", "ship", "--once", *self.options]
        done = subprocess.run(
            list(map(str, command)), check=False, capture_output=True, text=True, env=own_environment()
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _keyed(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, int, Row]]:
    for prediction_id, index, *values in rows:
        yield prediction_id, index, tuple(values)


class Faults:
    """Does something bad to a server, its shipper or its store."""

    def __init__(self, report: Report, store: Store, seed: int) -> None:
        self._report = report
        self._postgres = store.postgres
        self._random = random.Random(seed)

    def wait(self) -> None:
        """Let the processes run for a random time."""
        time.sleep(self._random.uniform(0, LONGEST_LIFE_SECONDS))

    def next(self) -> str:
        """The name of the next fault."""
        names = [
            "kill the server",
            "kill the server",
            "kill the shipper",
            "kill the shipper",
            "stop the server",
        ]
        if self._postgres is not None:
            names += ["crash PostgreSQL", "kill its backends", "pause PostgreSQL", "restart PostgreSQL"]
        return self._random.choice(names)

    def do(self, name: str, server: ServerProcess) -> None:
        """Do it; the server may be dead afterwards."""
        self._report.faults[name] += 1
        if name == "kill the server":
            server.signal(signal.SIGKILL)
            server.wait()
        elif name == "stop the server":
            assert server.stop() == 0, server.log_text()
        elif name == "kill the shipper":
            for child in psutil.Process(server.pid).children(recursive=True):
                # A zombie is one that was killed before.
                with suppress(psutil.NoSuchProcess):
                    if "scorewire_records" in " ".join(child.cmdline()):
                        child.kill()
        elif self._postgres is not None:
            self._do_to_postgres(name, self._postgres)

    def _do_to_postgres(self, name: str, postgres: PostgresServer) -> None:
        if name == "pause PostgreSQL":
            with postgres.paused():
                self.wait()
        elif name == "kill its backends":
            for backend in postgres.backends():
                # Some end by themselves meanwhile.
                with suppress(ProcessLookupError, FileNotFoundError):
                    if b"postgres postgres 127.0.0.1" in Path(f"/proc/{backend}/cmdline").read_bytes():
                        os.kill(backend, signal.SIGKILL)
        else:
            # SIGQUIT ends all of its processes at once, as a crash does; by SIGKILL the backends would go on.
            postgres.stop(signal.SIGQUIT if name == "crash PostgreSQL" else signal.SIGINT)
            self.wait()
            postgres.start()


def run(folder: Path, store: Store, *, kills: int, seed: int, engine: str = "auto") -> Report:
    """Do `kills` faults, and compare what is stored in the end with what was answered."""
    report = Report()
    models = folder / "models"
    write_sum_bundle(models)
    faults = Faults(report, store, seed)
    # Most segments are closed by age, so that they are moved while callers call.
    flags = [
        *store.serve_options,
        "--engine",
        engine,
        "--trial-seconds",
        "0",
        "--records-segment-seconds",
        "1",
    ]
    left = kills
    while left:
        with serving(folder / "server", models, *flags) as server, _calling(server, report):
            while left and server.running:
                faults.wait()
                faults.do(faults.next(), server)
                left -= 1
    with serving(folder / "server", models, *flags) as server, _calling(server, report):
        faults.wait()
    store.wait_until_empty()
    _compare(report, store)
    return report


@contextmanager
def _calling(server: ServerProcess, report: Report) -> Iterator[None]:
    callers = Callers(server.address, report.answered)
    try:
        yield
    finally:
        callers.stop()


def _compare(report: Report, store: Store) -> None:
    stored = report.stored
    for prediction_id, index, row in store.rows():
        stored[prediction_id] = stored.get(prediction_id, Rows()).with_row(index, row)
    sequences: dict[UUID, set[int]] = defaultdict(set)
    for prediction_id, rows in stored.items():
        writer_text, _, sequence = prediction_id.rpartition("-")
        sequences[UUID(writer_text)].add(int(sequence))
        answered = report.answered.get(prediction_id)
        if rows.size > (answered.size if answered else max(ROW_COUNTS)):
            report.twice.append(prediction_id)
        elif not rows.has_each_once or (answered and rows.size == answered.size and rows != answered):
            report.different.append(prediction_id)
    ledgers = _ledgers(store.records)
    for writer, ledger in ledgers.items():
        found = sequences[writer]
        missing = sum(sequence not in found for sequence in range(ledger.given))
        report.dropped += ledger.dropped
        # Blocks that follow the last ledger may have what was in memory then.
        if not ledger.dropped <= missing <= ledger.dropped + ledger.in_memory:
            report.unaccounted.append(f"{writer}: {missing} are missing, but {ledger}")
    for prediction_id, rows in report.answered.items():
        there = stored.get(prediction_id, Rows())
        if there.size >= rows.size:
            continue
        writer_text, _, sequence = prediction_id.rpartition("-")
        ledger = ledgers.get(UUID(writer_text), Ledger(0, 0, 0))
        if int(sequence) >= ledger.given or ledger.in_memory:
            report.lost_in_a_kill += 1
        elif there.size or not ledger.dropped:
            report.unaccounted.append(f"{prediction_id}: {there.size} of {rows.size} rows are stored")


@dataclass(frozen=True)
class Ledger:
    """The last ledger of a writer: the numbers that were given, and those of them that are not in blocks."""

    given: int
    dropped: int
    in_memory: int


def _ledgers(records: Path) -> dict[UUID, Ledger]:
    found = {}
    for path in (records / "_starts").glob("*.json"):
        state = json.loads(path.read_text(encoding="utf-8"))
        for number, ledger in enumerate(state["ledgers"]):
            dropped = sum(predictions for predictions, _ in ledger["dropped"].values())
            given, (spooled, _) = ledger["next_sequence"], ledger["spooled"]
            in_memory = given - spooled - dropped
            assert not (state["ended"] and in_memory), (
                f"{path}: a server that was stopped in order lost records"
            )
            found[writer_uuid(UUID(path.stem), number)] = Ledger(given, dropped, in_memory)
    return found


@contextmanager
def stores(folder: Path, kind: str) -> Iterator[Store]:
    """A store of a kind, "parquet" or "postgresql"."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_server()) if kind == "postgresql" else None
        if postgres is not None:
            command = [COMMAND, "records", "init", "--to", postgres.url()]
            subprocess.run(list(map(str, command)), check=True, capture_output=True, env=own_environment())
        yield Store(folder / "records", postgres)


@click.command(help=__doc__)
@click.option("--kills", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--store", "kind", type=click.Choice(["parquet", "postgresql"]), default="postgresql")
@click.option("--engine", type=click.Choice(["native", "reference"]), default="native", show_default=True)
@click.option(
    "--seed", type=int, default=None, help="Repeats the faults of another run; random unless given."
)
def main(kills: int, kind: str, engine: str, seed: int | None) -> None:
    seed = random.randrange(1 << 32) if seed is None else seed
    click.echo(f"seed: {seed}")
    with tempfile.TemporaryDirectory() as name, stores(Path(name), kind) as store:
        report = run(Path(name), store, kills=kills, seed=seed, engine=engine)
    click.echo(report)
    sys.exit(not report.good)


if __name__ == "__main__":
    main()

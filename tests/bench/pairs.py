"""Compares the speed of this checkout with another checkout: `python -m tests.bench.pairs ../before`.

Both checkouts must be set up with `make setup`. Their servers run next to each other and get the same
loads in turn, so that a change of the machine's speed affects both. Each load is checked as in
`tests.bench`. The table shows the ratio of this checkout's rate to that of the other one. The exit code
is 1 if a median is below 0.97.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from tests.bench import h2load, servers
from tests.bench.encodings import tensor_question, typed_question
from tests.bench.measure import Generator, Question, cores, pinned
from tests.bench.scored_model import ScoredModel, make_model
from tests.bench.servers import Server

MANY = 64
BATCH_ROWS = 1_000
ENGINES = ("native", "reference")
# The smallest ratio of medians that counts as noise; a smaller one is a loss of speed.
LEAST = 0.97
# Measures a rate of this checkout or of the other one.
Rate = Callable[[Server], float]


@click.command(help=__doc__)
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Length of one load."
)
@click.option(
    "--engine",
    "engines",
    type=click.Choice(ENGINES),
    multiple=True,
    default=ENGINES,
    show_default=True,
    help="May be given twice.",
)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
def main(other: Path, rounds: int, seconds: float, engines: tuple[str, ...], quick: bool) -> None:
    if h2load.missing():
        raise click.ClickException(h2load.HOW_TO_INSTALL)
    command = other.resolve() / ".venv" / "bin" / "scorewire"
    if not command.exists():
        raise click.ClickException(f"{other} has no .venv: run `make setup` there first")
    if quick:
        rounds, seconds = 1, 0.05
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        server_core, generator_core = cores()
        streams = servers.example("stream_load", optimized=not quick)
        loads = Loads(Generator(generator_core, folder), streams, model, folder, seconds)
        good = True
        click.echo("| load | median | rounds |\n|---|---|---|")
        for engine in engines:
            with pinned(server_core):
                pair = [
                    stack.enter_context(
                        servers.engine(engine, folder / place, model.bundle.path.parents[1], command=path)
                    )
                    for place, path in (("this", None), ("other", command))
                ]
            for load, rate in loads.of(engine):
                ratios = _in_turn(pair[0], pair[1], rate, rounds)
                median = statistics.median(ratios)
                good &= quick or median >= LEAST
                click.echo(f"| {engine}: {load} | {median:.3f} | {min(ratios):.3f} to {max(ratios):.3f} |")
    sys.exit(not good)


@dataclass(frozen=True, slots=True)
class Loads:
    """The measurements, and what they need."""

    generator: Generator
    streams: Path
    model: ScoredModel
    folder: Path
    seconds: float

    def of(self, engine: str) -> list[tuple[str, Rate]]:
        """The loads for an engine, by name."""
        model, folder = self.model, self.folder
        row = Question.write(model.calls(rows_per_call=1, count=1)[0], folder / "row")
        batch = Question.write(model.calls(rows_per_call=BATCH_ROWS, count=1)[0], folder / "batch")
        loads = [(f"one row, {MANY} in flight on one connection", self._unary(row, MANY))]
        if engine == "native":
            loads += [
                ("one row, 1 in flight", self._unary(row, 1)),
                ("one row, 8 in flight on one connection", self._unary(row, 8)),
                (f"one row, {MANY} connections of 1 in flight", self._unary(row, 1, MANY)),
                ("one row, typed", self._unary(typed_question(model, folder / "typed"), MANY)),
                ("one row, tensor", self._unary(tensor_question(model, folder / "tensor"), MANY)),
            ]
        return [
            *loads,
            (f"one row, messages of a stream, {MANY} on their way", self._stream(row)),
            (f"{BATCH_ROWS:,} rows, 4 in flight", self._unary(batch, 4)),
        ]

    def _unary(self, question: Question, in_flight: int, connections: int = 1) -> Rate:
        def rate(server: Server) -> float:
            load = self.generator.load(
                server, question, in_flight=in_flight, seconds=self.seconds, connections=connections
            )
            return load.calls_per_second

        return rate

    def _stream(self, question: Question) -> Rate:
        def rate(server: Server) -> float:
            count = round(self.generator.rates[server.pid, question.file.name, MANY, 1] * self.seconds)
            return self.generator.stream(self.streams, server, question, window=MANY, count=count)

        return rate


def _in_turn(this: Server, other: Server, rate: Rate, rounds: int) -> list[float]:
    """The ratio of the rates in each round; the order alternates between rounds."""
    rate(this), rate(other)
    ratios = []
    for round_number in range(rounds):
        if round_number % 2:
            below = rate(other)
            ratios.append(rate(this) / below)
        else:
            above = rate(this)
            ratios.append(above / rate(other))
    return ratios


if __name__ == "__main__":
    main()

"""Compares the native generator of `scorewire load` with h2load: `python -m tests.bench.load_generator`.

Both make calls to the same native engine, which has a core of its own, from the same other core, in turn.
Both send one request again and again, since h2load knows no other; the generator of `scorewire load` also
compares every response. The tables show rates, time on a core for each call, and latencies. For latencies,
h2load writes each one to a file, which costs it some speed. The exit code is 1 if a median of the ratios of
rates is below 0.8.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.pacing import Constant
from scorewire_loadtest.plan import ClosedLoop, OpenLoop
from scorewire_loadtest.results import Results
from scorewire_loadtest.target import Target
from tests.bench import h2load, native_load, servers
from tests.bench.measure import Generator, Question, cores, pinned
from tests.bench.scored_model import ScoredModel, make_model
from tests.bench.servers import Server

LEAST = 0.8
DIFFERENT_CALLS = 512
# Connections, and calls in flight on each.
LOADS = [(1, 1), (1, 16), (1, 64), (1, 256), (8, 1), (8, 2), (8, 8), (8, 32)]
# Of the tables of latencies: calls in flight in a closed loop, calls a second in an open one.
IN_FLIGHT = (1, 16, 64)
RATES = (1_000, 10_000, 50_000)
QUANTILES = (0.5, 0.99, 0.999)


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Length of one load."
)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
def main(rounds: int, seconds: float, quick: bool) -> None:
    if h2load.missing():
        raise click.ClickException(h2load.HOW_TO_INSTALL)
    if quick:
        rounds, seconds = 1, 0.05
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        server_core, generator_core = cores()
        with pinned(server_core):
            server = stack.enter_context(servers.engine("native", folder, model.bundle.path.parents[1]))
        (call,) = model.calls(rows_per_call=1, count=1)
        question = Question.write(call, folder / "row")
        bench = Bench(server, model, call, question, folder, generator_core, rounds, seconds)
        good = bench.compare_rates()
        bench.compare_latencies("closed loop", bench.closed, "{:,} in flight", IN_FLIGHT)
        click.echo()
        bench.compare_latencies("open loop", bench.open, "{:,.0f} calls/s", RATES)
    sys.exit(not (good or quick))


@dataclass(frozen=True, slots=True)
class Bench:
    """The measurements, and what they need."""

    server: Server
    model: ScoredModel
    call: PreparedCall
    question: Question
    folder: Path
    core: int | None
    rounds: int
    seconds: float

    def compare_rates(self) -> bool:
        """Print the table of rates; False if a median is too low."""
        call, question = self.call, self.question
        different = self.model.calls(rows_per_call=1, count=DIFFERENT_CALLS)
        generator = Generator(self.core, self.folder)
        good = True
        click.echo(
            "| connections | in flight on each | calls/s | h2load's calls/s | ratio | rounds | µs on a core |"
            " h2load's | calls/s, rows that differ |\n|---|---|---|---|---|---|---|---|---|"
        )
        for connections, in_flight in LOADS:
            load = ClosedLoop(connections * in_flight)
            self._run([call], load, connections)
            generator.load(
                self.server, question, in_flight=in_flight, seconds=self.seconds, connections=connections
            )
            own, peer, own_us, peer_us, mixed = [], [], [], [], []
            for _ in range(self.rounds):
                results = self._run([call], load, connections)
                own.append(results.calls_per_second)
                own_us.append(results.generator.busy * results.elapsed_s / results.calls * 1e6)
                before = _children_cpu_s()
                count = max(round(results.calls_per_second * self.seconds), connections * in_flight)
                rate = generator.calls(self.server, question, count, in_flight, connections).calls_per_second
                peer_us.append((_children_cpu_s() - before) / count * 1e6)
                peer.append(rate)
                mixed.append(self._run(different, load, connections).calls_per_second)
            ratios = [a / b for a, b in zip(own, peer, strict=True)]
            median = statistics.median(ratios)
            good &= median >= LEAST
            cells = [f"{connections}", f"{in_flight}"]
            cells += [f"{statistics.median(rates):,.0f}" for rates in (own, peer)]
            cells += [f"{median:.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]
            cells += [f"{statistics.median(us):.2f}" for us in (own_us, peer_us)]
            click.echo(f"| {' | '.join(cells)} | {statistics.median(mixed):,.0f} |")
        return good

    def compare_latencies(
        self, loop: str, measure: Callable[[int], tuple[Results, list[int]]], name: str, loads: Sequence[int]
    ) -> None:
        """Print the table of latencies of one kind of loop; `name` formats a load."""
        names = " | ".join(f"p{share * 100:g}, h2load's" for share in QUANTILES)
        click.echo(f"| {loop}, µs | {names} |\n|---|{'---|' * len(QUANTILES)}")
        for load in loads:
            pairs = [measure(load) for _ in range(self.rounds)]
            cells = []
            for share in QUANTILES:
                own = statistics.median(results.latency_us[share * 100] for results, _ in pairs)
                peer = statistics.median(float(np.quantile(us, share)) for _, us in pairs)
                cells.append(f"{own:,.0f}, {peer:,.0f}")
            click.echo(f"| {name.format(load)} | {' | '.join(cells)} |")

    def closed(self, in_flight: int) -> tuple[Results, list[int]]:
        """The results of a closed loop, and h2load's latencies in microseconds."""
        results = self._run([self.call], ClosedLoop(in_flight), 1)
        with pinned(self.core):
            return results, h2load.logged_latencies_us(
                f"{self.server.address}{self.question.path}",
                self.question.file,
                calls=max(round(results.calls_per_second * self.seconds), in_flight),
                in_flight=in_flight,
                folder=self.folder,
            )

    def open(self, rate: int) -> tuple[Results, list[int]]:
        """The same of an open loop, with calls at equal intervals."""
        results = self._run([self.call], OpenLoop(Constant(rate), 1024), 1)
        with pinned(self.core):
            return results, h2load.paced_latencies_us(
                self.server.address,
                self.question.file,
                calls=max(round(self.seconds * rate), 10),
                interval_ms=1e3 / rate,
                folder=self.folder,
            )

    def _run(self, calls: Sequence[PreparedCall], load: ClosedLoop | OpenLoop, connections: int) -> Results:
        return native_load.run(
            Target(self.server.address),
            self.model,
            calls,
            load,
            connections=connections,
            seconds=self.seconds,
            core=self.core,
        )


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

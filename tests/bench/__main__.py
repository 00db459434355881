"""Measures the speed of the engines next to each other in one run: `python -m tests.bench`.

h2load runs on one core and a server on another. The servers are the two engines
with a real model, and two empty servers: one on Rust's h2, to which the bounds
refer, and one on gRPC's C++ library. Each round measures all of them in turn, so
that a change of the machine's speed affects all. Every load is checked: the
server's counters must show exactly as many good responses as there were calls, and
its scores before and after are compared with those of the fitted model.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import click

from scorewire_contract.bundle import read_bundle
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_training.game_revenue import GameRevenueConfig, train_game_revenue
from tests.bench import h2load, servers
from tests.bench.encodings import tensor_question, typed_question
from tests.bench.measure import (
    BareGraph,
    Generator,
    Question,
    cores,
    pinned,
    resident_bytes,
    server_time_us,
)
from tests.bench.scored_model import DEPTH, FEATURES, TREES, ScoredModel, make_model
from tests.bench.scored_words import WORDS, WORDS_PER_TEXT, make_word_calls
from tests.bench.servers import Server
from tests.bench.tables import Bar, Findings, Sample, to_markdown, write

RESULTS = Path(__file__).parent / "results"
DEPTHS = (1, 8, 64)
MANY = DEPTHS[-1]
BATCH_ROWS = 1_000
DIFFERENT_CALLS = 1_000
FEW_CALLS, MANY_CALLS = 10_000, 1_000_000


class CannotMeasureError(click.ClickException):
    """A tool that the bench needs is missing."""

    exit_code = 2


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    help="Folder of the results.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Length of one load."
)
def main(quick: bool, output: Path, rounds: int, seconds: float) -> None:
    if h2load.missing():
        raise CannotMeasureError(h2load.HOW_TO_INSTALL)
    if find_spec("scorewire_native") is None or shutil.which("cargo") is None:
        raise CannotMeasureError("the native engine is not built: install cargo, then run `make setup`")
    if quick:
        rounds, seconds = 1, 0.1
    with tempfile.TemporaryDirectory() as name:
        findings = Bench(Path(name), rounds=rounds, seconds=seconds, quick=quick).run()
    write(findings, output)
    click.echo(to_markdown(findings))


class Bench:
    """One run of all measurements."""

    def __init__(self, folder: Path, *, rounds: int, seconds: float, quick: bool) -> None:
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
        self._quick = quick
        self._server_core, generator_core = cores()
        self._generator = Generator(generator_core, folder)
        self._cpp_missing = servers.cpp_missing()
        self._findings = Findings(conditions=self._conditions())

    def run(self) -> Findings:
        """Start the servers, put loads on them, and stop them."""
        models = self._folder / "models"
        _tell("training the three models")
        model = make_model(models, train_rows=1_000 if self._quick else 20_000)
        game = train_game_revenue(GameRevenueConfig(version="1.0.0", output_dir=models, trials=1)).export.path
        one_row = Question.write(model.calls(rows_per_call=1, count=1)[0], self._folder / "one-row")
        words = make_word_calls(models, train_rows=500 if self._quick else 20_000, count=DIFFERENT_CALLS)
        mixed = Question.write(from_bundle(read_bundle(game), rows_per_call=1)[0], self._folder / "mixed")
        with ExitStack() as stack:
            _tell("building and starting the servers")
            streams = servers.example("stream_load", optimized=not self._quick)
            with pinned(self._server_core):
                running = [
                    stack.enter_context(servers.engine("reference", self._folder, models)),
                    stack.enter_context(servers.engine("native", self._folder, models)),
                    stack.enter_context(servers.rust_echo(optimized=not self._quick)),
                ]
                if not self._cpp_missing:
                    running.append(stack.enter_context(servers.cpp_echo(self._folder / "cpp")))
            native = running[1]
            self._measure_unary(running, one_row)
            self._measure_stream(native, one_row, streams)
            self._measure_mixed(native, one_row, mixed)
            self._measure_words(native, model.calls(rows_per_call=1, count=DIFFERENT_CALLS), words, streams)
            for name, make in (("typed", typed_question), ("tensor", tensor_question)):
                self._measure_encoding(native, one_row, name, make(model, self._folder / name))
            self._measure_batch(native, model)
            self._measure_memory(native, one_row)
        return self._findings

    def _measure_unary(self, running: list[Server], question: Question) -> None:
        for round_number in range(self._rounds):
            for in_flight in DEPTHS:
                # The order is reversed in each round.
                for server in running[:: -1 if round_number % 2 else 1]:
                    load = self._generator.load(server, question, in_flight=in_flight, seconds=self._seconds)
                    sample = Sample(
                        server=server.name,
                        in_flight=in_flight,
                        calls_per_second=load.calls_per_second,
                        latency_us=load.latency_us,
                    )
                    self._findings.samples.append(sample)
                    _tell(
                        f"{server.name:>16} {in_flight:>3} in flight:"
                        f" {sample.calls_per_second:>8,.0f} calls/s, latency {sample.latency_us:,.0f} us"
                    )
        reference, native, rust, *cpp = (server.name for server in running)
        ratios = self._findings.ratios
        self._bar(
            f"calls/s, native / reference, {MANY} in flight", ratios(native, reference, MANY), at_least=20
        )
        for name in cpp:
            self._bar(f"calls/s, native / {name}, {MANY} in flight", ratios(native, name, MANY), at_least=2)
        self._bar(f"calls/s, native / {rust}, {MANY} in flight", ratios(native, rust, MANY), at_least=0.5)
        self._bar(
            f"median latency, native / {rust}, 1 in flight",
            ratios(native, rust, 1, "latency_us"),
            at_most=1.3,
        )

    def _measure_stream(self, native: Server, question: Question, program: Path) -> None:
        def stream() -> float:
            count = round(self._generator.rates[native.pid, question.file.name, MANY, 1] * self._seconds) * 2
            return self._generator.stream(program, native, question, window=MANY, count=count)

        ratios = self._pairs(stream, lambda: self._unary_rate(native, question))
        self._bar("messages/s of a stream / unary calls/s, native", ratios, at_least=2)

    def _measure_mixed(self, native: Server, plain: Question, mixed: Question) -> None:
        ratios = self._pairs(lambda: self._unary_rate(native, mixed), lambda: self._unary_rate(native, plain))
        self._bar("calls/s, the game's model (6 texts, 3 numbers) / 30 numbers, native", ratios, at_least=0.5)

    def _measure_words(
        self, native: Server, plain: list[PreparedCall], words: list[PreparedCall], program: Path
    ) -> None:
        """Measure streams with rows and texts that differ in every message; h2load sends only one message."""

        def stream(calls: list[PreparedCall], name: str) -> Callable[[], float]:
            # Each message is checked once; the first one last, because its message stays in the file.
            for call in reversed(calls):
                first = Question.write(call, self._folder / name)
                first.ask(native)
            rate = self._unary_rate(native, first)
            others = [call.request for call in calls[1:]]
            count = round(rate * self._seconds)
            return lambda: self._generator.stream(
                program, native, first, window=MANY, count=count, others=others
            )

        ratios = self._pairs(stream(words, "words"), stream(plain, "rows"))
        self._bar(
            f"messages/s, texts of {WORDS_PER_TEXT} words of {WORDS:,} / 30 numbers, all different, native",
            ratios,
            at_least=0.5,
        )

    def _measure_encoding(self, native: Server, plain: Question, name: str, other: Question) -> None:
        ratios = self._pairs(lambda: self._unary_rate(native, other), lambda: self._unary_rate(native, plain))
        self._bar(f"calls/s, {name} encoding / positional encoding, native", ratios, at_least=0.8)

    def _measure_batch(self, native: Server, model: ScoredModel) -> None:
        (call,) = model.calls(rows_per_call=BATCH_ROWS, count=1)
        question = Question.write(call, self._folder / "batch")
        bare = BareGraph(model.bundle, model.rows[:BATCH_ROWS])

        def run_bare() -> float:
            with pinned(self._server_core):
                return bare.run_us(self._seconds)

        with pinned(self._generator.core):
            ratios = self._pairs(lambda: server_time_us(native, question, self._seconds), run_bare)
        self._bar(f"{BATCH_ROWS:,} rows in one call: server's time / bare onnxruntime", ratios, at_most=1.15)

    def _measure_memory(self, native: Server, question: Question) -> None:
        few, many = (300, 3_000) if self._quick else (FEW_CALLS, MANY_CALLS)
        self._generator.calls(native, question, few, MANY)
        before = resident_bytes(native)
        _tell(f"memory: {many:,} calls")
        self._generator.calls(native, question, many - few, MANY)
        grown = (resident_bytes(native) - before) / 1e6
        self._bar(f"MB resident after {many:,} calls, less those after {few:,}", [grown], at_most=5)

    def _unary_rate(self, server: Server, question: Question) -> float:
        load = self._generator.load(server, question, in_flight=MANY, seconds=self._seconds)
        return load.calls_per_second

    def _pairs(self, one: Callable[[], float], other: Callable[[], float]) -> list[float]:
        """The ratios of two values that are measured in turn, in alternating order."""
        ratios = []
        for round_number in range(self._rounds):
            if round_number % 2:
                below = other()
                ratios.append(one() / below)
            else:
                above = one()
                ratios.append(above / other())
        return ratios

    def _bar(
        self, name: str, values: list[float], *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        bar = Bar(name=name, values=values, at_least=at_least, at_most=at_most)
        self._findings.bars.append(bar)
        _tell(f"{name}: {bar.median:.3g} ({bar.target})")

    def _conditions(self) -> dict[str, str]:
        pinned_cores = self._server_core is not None
        versions = ", ".join(f"{name} {version(name)}" for name in ("grpcio", "onnxruntime", "xgboost-cpu"))
        return {
            "Model": f"XGBoost, {TREES} trees of depth {DEPTH}, {FEATURES} numbers; one row a call",
            "Load": f"{_h2load_version()}, one connection; {self._rounds} rounds of"
            f" {self._seconds:g} s, in turn",
            "Proof": "each load's calls are all among the server's good answers, and none among the others;"
            " scores are compared with the fitted model's before and after",
            "Cores": "one for the servers, another for the generator" if pinned_cores else "not pinned",
            "Machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()};"
            " compare what stands in one table, not with those of other machines or days",
            "Python": f"{platform.python_version()}, {versions}",
            "Left out": self._cpp_missing or "nothing",
        }


def _h2load_version() -> str:
    return subprocess.run(
        [h2load.COMMAND, "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()

"""Measures the speed of the engines next to each other in one run: `python -m tests.bench`.

The native generator of `scorewire load` runs on one core and a server on another. The servers are the two
engines with a real model, and two empty servers: one on gRPC's C++ library, to which most bounds refer, and
one on Rust's h2. The rows differ in every call. Each round measures all servers in turn, so that a change of
the machine's speed affects all. The generator compares every answer with the score of the fitted model. Two
comparisons of the native engine with itself, of encodings and of memory, are by h2load, which repeats one
row.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import click

from scorewire import TLS
from scorewire_contract.bundle import read_bundle
from scorewire_loadtest.calls import PreparedCall, from_bundle
from scorewire_training.game_revenue import GameRevenueConfig, train_game_revenue
from tests.bench import h2load, servers
from tests.bench.call_loads import APART, CROWD, ONE, PIPELINED, SHAPES, CallLoads, Shape, echo_calls
from tests.bench.encodings import tensor_question, typed_question
from tests.bench.measure import (
    BareGraph,
    Generator,
    Question,
    cores,
    pinned,
    resident_bytes,
    runs_on,
    server_time_us,
)
from tests.bench.scored_model import DEPTH, FEATURES, NAME, TREES, ScoredModel, make_model
from tests.bench.scored_words import WORDS, WORDS_PER_TEXT, make_word_calls
from tests.bench.servers import Server
from tests.bench.tables import Bar, Findings, Sample, to_markdown, write
from tests.certificates import make_certificates

RESULTS = Path(__file__).parent / "results"
POISSON = "Poisson, half of C++"
SPIN_US = 100
MODELS = 8
MANY = PIPELINED.in_flight
BATCH_ROWS = 1_000
DIFFERENT_CALLS = 5_000
FEW_CALLS, MANY_CALLS = 10_000, 1_000_000
_Measured = TypeVar("_Measured")


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
    if (
        find_spec("scorewire_native") is None
        or find_spec("scorewire_loadtest_native") is None
        or shutil.which("cargo") is None
    ):
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
        self._server_core, self._generator_core = cores()
        self._generator = Generator(self._generator_core, folder)
        self._cpp_missing = servers.cpp_missing()
        self._findings = Findings(conditions=self._conditions())

    def run(self) -> Findings:
        """Start the servers, put loads on them, and stop them."""
        models = self._folder / "models"
        train_rows = 1_000 if self._quick else 20_000
        _tell("training the models")
        model, *others = [
            make_model(
                models,
                train_rows=train_rows,
                name=NAME if number == 0 else f"{NAME}-{number}",
                seed=7 + number,
            )
            for number in range(MODELS)
        ]
        game = train_game_revenue(GameRevenueConfig(version="1.0.0", output_dir=models, trials=1)).export.path
        words = make_word_calls(
            models,
            train_rows=500 if self._quick else train_rows,
            count=500 if self._quick else DIFFERENT_CALLS,
        )
        loads = CallLoads(model, self._generator_core, self._seconds)
        rows = model.calls(rows_per_call=1, count=DIFFERENT_CALLS)
        each = DIFFERENT_CALLS // MODELS
        spread = [call for one in (model, *others) for call in one.calls(rows_per_call=1, count=each)]
        for calls in (rows, spread):
            random.Random(0).shuffle(calls)
        with ExitStack() as stack:
            _tell("building and starting the servers")
            native, spinning, empty = self._start(stack, models)
            self._measure_shapes(loads, [native, spinning, *empty], rows)
            self._measure_tls(loads, models, rows)
            self._measure_many_models(loads, native, rows, spread)
            self._measure_stream(loads, native, rows)
            mixed = from_bundle(read_bundle(game), rows_per_call=1)
            self._measure_other_rows(
                loads,
                native,
                rows,
                mixed,
                "calls/s, the game's model (6 texts, 3 numbers) / 30 numbers, native",
            )
            self._measure_other_rows(
                loads,
                native,
                rows,
                words,
                f"calls/s, texts of {WORDS_PER_TEXT} words of {WORDS:,} / 30 numbers, native",
            )
            one_row = Question.write(rows[0], self._folder / "one-row")
            for name, make in (("typed", typed_question), ("tensor", tensor_question)):
                self._measure_encoding(native, one_row, name, make(model, self._folder / name))
            self._measure_batch(native, model)
            self._measure_memory(native, one_row)
        return self._findings

    def _start(self, stack: ExitStack, models: Path) -> tuple[Server, Server, list[Server]]:
        """Start the native engine, another one that spins, and the others: C++ if it can be built, first."""
        native_flags = ("--spin-us", str(SPIN_US))
        program = None if self._cpp_missing else servers.build_cpp(self._folder / "cpp")
        with pinned(self._server_core):
            native = stack.enter_context(servers.engine("native", self._folder, models))
            spinning = stack.enter_context(
                servers.engine("native", self._folder / "spinning", models, *native_flags)
            )
            others = [
                stack.enter_context(servers.rust_echo(optimized=not self._quick)),
                stack.enter_context(servers.engine("reference", self._folder, models)),
            ]
            if program is not None:
                others.insert(0, stack.enter_context(servers.cpp_echo(program)))
        return native, replace(spinning, name="native, spinning"), others

    def _measure_shapes(self, loads: CallLoads, running: list[Server], rows: list[PreparedCall]) -> None:
        native, spinning, *others = running
        *found, rust, reference = others
        cpp = found[0] if found else None
        for round_number in range(self._rounds):
            for shape in SHAPES:
                # Spinning is for latency.
                servers_of_load = running if shape == ONE else [native, *others]
                for server in _in_turn(servers_of_load, round_number):
                    self._add(loads.closed(server, _calls_of(server, rows), shape))
            if cpp is not None:
                rate = self._findings.of(cpp.name, APART.name)[-1].calls_per_second / 2
                for server in _in_turn([native, spinning, cpp], round_number):
                    calls = _calls_of(server, rows)
                    self._add(loads.poisson(server, calls, APART.connections, rate, name=POISSON))
        ratios = self._findings.ratios
        if cpp is not None:
            for shape, bound in ((PIPELINED, 4), (APART, 1.6), (CROWD, 1.6)):
                name = f"calls/s, native / {cpp.name}, {shape.name}"
                self._bar(name, ratios(native.name, cpp.name, shape.name), at_least=bound)
            for server, load, what, bound in (
                (native, ONE.name, "p50", 1.15),
                (spinning, ONE.name, "p50", 0.55),
                (native, POISSON, "p50", 0.9),
                (native, POISSON, "p99", 1),
                (spinning, POISSON, "p50", 0.5),
            ):
                name = f"{what} of latency, {server.name} / {cpp.name}, {load}"
                self._bar(name, ratios(server.name, cpp.name, load, f"{what}_us"), at_most=bound)
        for rival, bound in ((rust, 0.5), (reference, 20)):
            name = f"calls/s, native / {rival.name}, {PIPELINED.name}"
            self._bar(name, ratios(native.name, rival.name, PIPELINED.name), at_least=bound)
        name = f"p50 of latency, native / {rust.name}, {ONE.name}"
        self._bar(name, ratios(native.name, rust.name, ONE.name, "p50_us"), at_most=1.3)

    def _measure_tls(self, loads: CallLoads, models: Path, rows: list[PreparedCall]) -> None:
        if self._cpp_missing:
            return
        made = make_certificates(self._folder)
        tls = TLS(root_certificates=made.authority.read_bytes())
        program = self._folder / "cpp" / "echo"
        with ExitStack() as stack:
            with pinned(self._server_core):
                folder = self._folder / "tls"
                pair = [
                    stack.enter_context(servers.engine("native", folder, models, *made.server_flags())),
                    stack.enter_context(servers.cpp_echo(program, made.server, made.server_key)),
                ]
            for shape in (PIPELINED, APART):
                load = f"TLS, {shape.name}"
                for round_number in range(self._rounds):
                    for server in _in_turn(pair, round_number):
                        calls = _calls_of(server, rows)
                        self._add(loads.closed(server, calls, shape, name=load, tls=tls))
                ratios = self._findings.ratios(*(server.name for server in pair), load)
                self._bar(f"calls/s, native / {pair[1].name}, {load}", ratios, at_least=1.6)

    def _measure_many_models(
        self, loads: CallLoads, native: Server, rows: list[PreparedCall], spread: list[PreparedCall]
    ) -> None:
        for shape in (PIPELINED, APART):
            load = f"{MODELS} models, {shape.name}"

            def of_all(shape: Shape = shape, load: str = load) -> float:
                return self._add(loads.closed(native, spread, shape, name=load)).calls_per_second

            def of_one(shape: Shape = shape) -> float:
                return loads.closed(native, rows, shape).calls_per_second

            self._bar(f"calls/s, {load} / 1 model, native", self._ratios(of_all, of_one), at_least=0.7)

    def _measure_stream(self, loads: CallLoads, native: Server, rows: list[PreparedCall]) -> None:
        name = f"1 stream, {MANY} messages"

        def stream() -> Sample:
            return self._add(loads.closed(native, rows, PIPELINED, name=name, streams=1))

        pairs = self._pairs(stream, lambda: loads.closed(native, rows, PIPELINED))
        rates = [one.calls_per_second / other.calls_per_second for one, other in pairs]
        self._bar("messages/s of a stream / unary calls/s, native", rates, at_least=2)
        times = [one.processor_us / other.processor_us for one, other in pairs]
        self._bar("processor time of a message of a stream / of a unary call, native", times, at_most=0.8)

    def _measure_other_rows(
        self,
        loads: CallLoads,
        native: Server,
        rows: list[PreparedCall],
        others: list[PreparedCall],
        name: str,
    ) -> None:
        def rate(calls: list[PreparedCall]) -> Callable[[], float]:
            return lambda: loads.closed(native, calls, PIPELINED).calls_per_second

        self._bar(name, self._ratios(rate(others), rate(rows)), at_least=0.5)

    def _measure_encoding(self, native: Server, plain: Question, name: str, other: Question) -> None:
        ratios = self._ratios(
            lambda: self._unary_rate(native, other), lambda: self._unary_rate(native, plain)
        )
        name = f"calls/s, {name} encoding / positional encoding, one row repeated, native"
        self._bar(name, ratios, at_least=0.8)

    def _measure_batch(self, native: Server, model: ScoredModel) -> None:
        (call,) = model.calls(rows_per_call=BATCH_ROWS, count=1)
        question = Question.write(call, self._folder / "batch")
        runner = runs_on(native, model.bundle)
        bare = BareGraph(model.bundle, model.rows[:BATCH_ROWS], runner)

        def run_bare() -> float:
            with pinned(self._server_core):
                return bare.run_us(self._seconds)

        with pinned(self._generator.core):
            ratios = self._ratios(lambda: server_time_us(native, question, self._seconds), run_bare)
        self._bar(f"{BATCH_ROWS:,} rows in one call: server's time / bare {runner}", ratios, at_most=1.15)

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

    def _ratios(self, one: Callable[[], float], other: Callable[[], float]) -> list[float]:
        """The ratios of two values that are measured in turn."""
        return [above / below for above, below in self._pairs(one, other)]

    def _pairs(
        self, one: Callable[[], _Measured], other: Callable[[], _Measured]
    ) -> list[tuple[_Measured, _Measured]]:
        """Two measurements in each round, in alternating order."""
        pairs = []
        for round_number in range(self._rounds):
            if round_number % 2:
                second = other()
                pairs.append((one(), second))
            else:
                first = one()
                pairs.append((first, other()))
        return pairs

    def _add(self, sample: Sample) -> Sample:
        self._findings.samples.append(sample)
        _tell(
            f"{sample.server:>16} {sample.load:>20}: {sample.calls_per_second:>8,.0f} calls/s,"
            f" {sample.processor_us:6.2f} us of the processor a call,"
            f" p50 {sample.p50_us:,.0f} us, p99 {sample.p99_us:,.0f} us"
        )
        return sample

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
            "Rows": f"{DIFFERENT_CALLS:,} different ones in random order",
            "Load": f"the native generator of `scorewire load`; {self._rounds} rounds of {self._seconds:g} s,"
            " in turn; a load is named connections × calls in flight on each",
            "Latency": "from when a call was due; with one call in flight and as a Poisson process, the"
            " generator does not sleep",
            "Proof": "every answer is compared with the fitted model's scores, and those of empty servers"
            " with the request",
            "Encodings and memory": f"by {_h2load_version()}, one connection",
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


def _calls_of(server: Server, rows: Sequence[PreparedCall]) -> Sequence[PreparedCall]:
    """The calls for a server, which may be an empty one."""
    return echo_calls(rows) if server.answered is None else rows


def _in_turn(running: Sequence[Server], round_number: int) -> Sequence[Server]:
    """The servers, in an order that is reversed in each round."""
    return running[:: -1 if round_number % 2 else 1]


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()

"""Speed of the engines, side by side in one run: `python -m tests.bench`.

The floor is a grpc.aio server that does nothing. Servers have one core, the
generator another; rounds go through all of them in turn, so that a machine that
changes its speed changes it for all. Every answer is compared with what the
fitted model says, and one that is wrong ends the bench.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import click

from scorewire_loadtest.calls import PreparedCall
from scorewire_proto.v1 import packed_pb2
from tests import processes
from tests.bench.measure import Parts, cores, measure_parts, pinned, put_load
from tests.bench.scored_model import DEPTH, FEATURES, NAME, TREES, ScoredModel, make_model
from tests.bench.tables import Findings, Sample, to_markdown, write

RESULTS = Path(__file__).parent / "results"
MODES = ("unary", "stream")
# The native one only where it has been built.
ENGINES = ("reference", "native") if find_spec("scorewire_native") else ("reference",)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="A smoke run: one short round, whose numbers mean nothing.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    help="Folder of the results.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Of one load."
)
def main(quick: bool, output: Path, rounds: int, seconds: float) -> None:
    if quick:
        rounds, seconds = 1, 0.2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        findings = bench(
            model,
            folder,
            rounds=rounds,
            seconds=seconds,
            depths=(1, 8) if quick else (1, 8, 64),
        )
    write(findings, output)
    click.echo(to_markdown(findings))


def bench(
    model: ScoredModel, folder: Path, *, rounds: int, seconds: float, depths: tuple[int, ...]
) -> Findings:
    """Start the servers, put the loads on them in turn, stop them."""
    server_core, generator_core = cores()
    one_row = model.calls(rows_per_call=1, count=500)
    calls = {"floor": one_row[:1], **dict.fromkeys(ENGINES, one_row)}
    samples: list[Sample] = []
    parts: dict[int, Parts] = {}
    with ExitStack() as stack:
        with pinned(server_core):
            models = model.bundle.path.parents[1]
            addresses = {"floor": stack.enter_context(_floor(folder, _right_answer(model, one_row[0])))}
            for engine in ENGINES:
                server = processes.serving(folder / engine, models, "--engine", engine)
                addresses[engine] = stack.enter_context(server).address
        stack.enter_context(pinned(generator_core))
        for round_number in range(rounds):
            for in_flight in depths:
                for mode in MODES:
                    # Whoever comes first in one round comes last in the next.
                    for name in list(addresses)[:: -1 if round_number % 2 else 1]:
                        results = put_load(
                            addresses[name],
                            mode,
                            calls[name],
                            in_flight=in_flight,
                            duration_s=seconds,
                            warmup_s=seconds / 5,
                        )
                        samples.append(
                            Sample(
                                server=name,
                                mode=mode,
                                in_flight=in_flight,
                                calls_per_second=results.calls_per_second,
                                p50_us=results.latency_us[50.0],
                                p99_us=results.latency_us[99.0],
                                busy=results.generator.busy,
                            )
                        )
                        _tell(samples[-1])
        for rows in (1, 1_000):
            parts[rows] = measure_parts(
                model,
                addresses["reference"],
                rows=rows,
                rounds=rounds,
                duration_s=seconds / 2,
                server_core=server_core,
            )
    return Findings(
        conditions=_conditions(rounds, seconds, pinned_cores=server_core is not None),
        samples=samples,
        parts=parts,
    )


@contextmanager
def _floor(folder: Path, answer: bytes) -> Iterator[str]:
    """The empty server's address, while it runs."""
    port_file, answer_file = folder / "floor-port", folder / "floor-answer"
    answer_file.write_bytes(answer)
    command = [sys.executable, "-m", "tests.bench.floor_server", str(port_file), str(answer_file)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        processes.wait_until(
            lambda: port_file.exists() or process.poll() is not None, "the empty server's port file"
        )
        assert process.poll() is None, "the empty server did not start"
        yield port_file.read_text(encoding="utf-8")
    finally:
        process.terminate()
        process.wait(processes.TIMEOUT_SECONDS)


def _right_answer(model: ScoredModel, call: PreparedCall) -> bytes:
    """What the fitted model says of the one row of a call, as a server would put it."""
    row = model.rows[:1]
    probabilities = model.fitted.predict_proba(row).astype("<f8")
    answer = packed_pb2.PackedPredictResponse(model=NAME, version=model.bundle.manifest.version, row_count=1)
    answer.outputs.add(name="probabilities").numbers.append(probabilities.tobytes())
    answer.outputs.add(name="label").numbers.append(probabilities.argmax(axis=1).astype("<f8").tobytes())
    problem = call.expectation.problem(answer)
    assert not problem, problem
    return answer.SerializeToString()


def _conditions(rounds: int, seconds: float, *, pinned_cores: bool) -> dict[str, str]:
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("grpcio", "onnxruntime", "xgboost-cpu", "uvloop")
    )
    return {
        "Model": f"XGBoost, {TREES} trees of depth {DEPTH}, {FEATURES} numbers; one row a call",
        "Checked": "every answer, against the fitted model",
        "Load": f"closed loop of `scorewire_loadtest`, {rounds} rounds of {seconds:g} s each, in turn",
        "Cores": "one for the server, another for the generator" if pinned_cores else "not pinned",
        "Machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "Python": f"{platform.python_version()}, {versions}",
    }


def _tell(sample: Sample) -> None:
    click.echo(
        f"{sample.server:>10} {sample.mode:>6} {sample.in_flight:>3} in flight:"
        f" {sample.calls_per_second:>8,.0f} calls/s, p50 {sample.p50_us:,.0f} us,"
        f" generator {sample.busy:.0%} busy",
        err=True,
    )


if __name__ == "__main__":
    main()

"""Measures the kernel beside onnxruntime and the libraries in one run: `python -m tests.bench.kernels`.

Models of XGBoost, LightGBM and scikit-learn are trained once, and kept in build/bench/kernels. For each, one
process without Python scores thousands of different rows by onnxruntime, by the kernel in every form and with
every kind of processor, and by the library's C API, all with one thread, in alternated rounds. The sums of
all forms are first compared with the library's, bit for bit. Times are those of the processor, so that other
work on the machine changes them less.

With --peers, treelite, tl2cgen, lleaves and oneDAL are installed in an environment of the bench, and measured
on 1,000 rows from Python; what does not install is left out, and named.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from tests.bench.kernel_models import (
    FEATURES,
    KINDS,
    MISSING_SHARE,
    SCORED_ROWS,
    Kind,
    Trained,
    make_rows,
    small,
    train,
    write_empty,
)
from tests.bench.kernel_tables import CALL_ROWS, KernelFindings, Load, Timing, rows_text, to_markdown, write
from tests.bench.measure import cores, pinned
from tests.bench.tables import Bar

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
CACHE = ROOT / "build" / "bench" / "kernels"
PEERS = ("treelite", "tl2cgen", "lleaves", "oneDAL")
_LIBRARIES = {"XGBoost": ("xgboost", "lib/libxgboost.*"), "LightGBM": ("lightgbm", "lib/lib_lightgbm.*")}
# lleaves calls what newer releases of llvmlite lack.
_PEER_PACKAGES = (["treelite"], ["tl2cgen"], ["lleaves", "llvmlite<0.45"], ["scikit-learn-intelex"])
_SAME_AS_HERE = ("xgboost-cpu", "lightgbm", "scikit-learn", "numpy")
BATCH = CALL_ROWS[-1]
# What gives probabilities, and not sums: it is compared with the kernel's run of the whole graph.
_WHOLE = ("oneDAL",)
# The model whose memory and time to load have bounds.
BOUNDED = "XGBoost 1000x6"
SLOWEST_SECONDS = 900


@click.command(help=__doc__)
@click.option(
    "--quick", is_flag=True, help="A smoke test: small models, one round; its numbers mean nothing."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=RESULTS,
    help="Folder of the results.",
)
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), default=CACHE, help="Folder of the models."
)
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True)
@click.option(
    "--round-us",
    type=click.IntRange(min=1),
    default=4_000,
    show_default=True,
    help="Least length of a round.",
)
@click.option("--model", "only", multiple=True, help="Only models whose names begin so; may be given twice.")
@click.option(
    "--peers", is_flag=True, help="Install other libraries in an environment of the bench, and measure them."
)
def main(
    *, quick: bool, output: Path, cache: Path, rounds: int, round_us: int, only: tuple[str, ...], peers: bool
) -> None:
    kinds = [kind for kind in KINDS if not only or kind.name.startswith(only)]
    if quick:
        kinds, rounds, round_us = [small(kind) for kind in kinds], 1, 100
    bench = Bench(cache, rounds=rounds, round_us=round_us, quick=quick, peers=peers)
    findings = bench.run(kinds)
    click.echo(to_markdown(write(findings, output)))


class Bench:
    """One run of all measurements."""

    def __init__(self, cache: Path, *, rounds: int, round_us: int, quick: bool, peers: bool) -> None:
        self._cache = cache
        self._rounds = rounds
        self._round_us = round_us
        self._quick = quick
        self._peers = peers
        self._findings = KernelFindings(conditions=self._conditions())

    def run(self, kinds: list[Kind]) -> KernelFindings:
        """Train, measure, and compare with the bars."""
        self._cache.mkdir(parents=True, exist_ok=True)
        _tell("building")
        compare = _build(optimized=not self._quick)
        trained = [train(kind, self._cache, _tell) for kind in kinds]
        rows, empty = self._cache / "rows.f64", self._cache / "empty.onnx"
        make_rows(SCORED_ROWS, seed=21).astype("<f8").tofile(rows)
        write_empty(empty)
        peers_python = self._install_peers() if self._peers else None
        for each in trained:
            begin = time.monotonic()
            with pinned(cores()[0]):
                self._compare(compare, each, rows, empty)
                self._measure_peers(each, rows, peers_python)
            self._compare_with_bars(each.kind)
            _tell(f"{each.kind.name}: measured in {time.monotonic() - begin:.0f} s")
        return self._findings

    def _compare(self, program: Path, trained: Trained, rows: Path, empty: Path) -> None:
        """Run the program that measures without Python."""
        model = trained.kind.name
        command: list[str | Path] = [
            program,
            "--onnxruntime",
            _library("onnxruntime", "capi/libonnxruntime.*"),
        ]
        command += ["--margin", trained.margin, "--bundle", trained.bundle, "--empty", empty, "--rows", rows]
        command += ["--features", str(FEATURES), "--sizes", ",".join(map(str, CALL_ROWS))]
        command += ["--rounds", str(self._rounds), "--round-us", str(self._round_us)]
        if trained.kind.library in _LIBRARIES:
            library = _library(*_LIBRARIES[trained.kind.library])
            command += [f"--{trained.kind.library.lower()}", library, "--model", trained.model]
        for line in _run(command).splitlines():
            told = json.loads(line)
            if "forms" in told:
                self._findings.loads.append(Load(model=model, **told))
            else:
                self._findings.timings.append(Timing(model=model, **told))

    def _measure_peers(self, trained: Trained, rows: Path, peers_python: Path | None) -> None:
        model = trained.kind.name
        left_out = self._findings.left_out.setdefault(model, {})
        for peer, python in self._peers_of(trained.kind, peers_python):
            if python is None:
                left_out[peer] = "not installed"
                continue
            folder = trained.model.parent
            seconds = self._round_us / 1e6
            script = Path(__file__).parent / "kernel_peers.py"
            arguments = [peer, trained.model, rows, FEATURES, self._rounds, seconds, folder]
            told = ask_peer([python, script, *map(str, arguments)])
            if "missing" in told:
                left_out[peer] = told["missing"]
            else:
                self._findings.timings.append(Timing(model=model, runs_on=peer, rows=BATCH, **told))
            _tell(f"{model}: {peer} {left_out.get(peer, 'measured')}")

    @staticmethod
    def _peers_of(kind: Kind, peers_python: Path | None) -> Iterator[tuple[str, Path | None]]:
        """The libraries that are measured from Python, each with its interpreter."""
        if kind.library == "scikit-learn":
            yield kind.library, Path(sys.executable)
        for peer in PEERS:
            yield peer, peers_python

    def _compare_with_bars(self, kind: Kind) -> None:
        def of(rows: int, runs_on: str, **wanted: str) -> list[float]:
            return self._findings.times(kind.name, rows, runs_on, **wanted)

        def trees(rows: int, processor: str = "") -> list[float]:
            processor = processor or self._findings.loads[-1].processor
            return of(rows, "kernel", form="chosen", processor=processor)

        def operator(rows: int) -> list[float]:
            # Of a run of one row, a fifth has nothing to do with the trees.
            runs = zip(
                of(rows, "onnxruntime", graph="trees"), of(rows, "onnxruntime", graph="empty"), strict=True
            )
            return [run - empty for run, empty in runs]

        for rows, bound in ((1, kind.once), (BATCH, kind.batch)):
            name = f"{kind.name}: {rows_text(rows)}, onnxruntime's TreeEnsemble / kernel"
            self._bar(name, operator(rows), trees(rows), bound)
        if kind.against_library is not None:
            name = f"{kind.name}: {rows_text(BATCH)}, {kind.library} / kernel"
            self._bar(name, of(BATCH, kind.library), trees(BATCH), kind.against_library)
        if kind.name == KINDS[0].name:
            for rows, processor, bound in ((1, "avx2", 12), (BATCH, "avx2", 13), (BATCH, "plain", 9)):
                name = f"{kind.name}: {rows_text(rows)}, onnxruntime's TreeEnsemble / kernel with {processor}"
                self._bar(name, operator(rows), trees(rows, processor), bound)
        for peer in PEERS:
            times = of(BATCH, peer)
            own = of(BATCH, "kernel", graph="bundle") if peer in _WHOLE else trees(BATCH)
            # No round of a peer has a round of the kernel beside it.
            middle = [statistics.median(own)] * len(times)
            self._bar(f"{kind.name}: {rows_text(BATCH)}, {peer} / kernel", times, middle, 1)
        for load in self._findings.loads:
            if load.model == kind.name == BOUNDED:
                memory = max(load.trees_bytes, load.resident_bytes) / 1e6
                self._findings.bars += [
                    Bar(name=f"{BOUNDED}: MB in memory", values=[memory], at_most=100),
                    Bar(name=f"{BOUNDED}: seconds to load", values=[load.load_clock_seconds], at_most=5),
                ]

    def _bar(self, name: str, rival: list[float], kernel: list[float], bound: float) -> None:
        """How many times longer a rival takes than the kernel, in each round; no bar where one is missing."""
        if not rival or not kernel:
            return
        pairs = zip(rival, kernel, strict=True)
        bar = Bar(name=name, values=[one / other for one, other in pairs], at_least=bound)
        self._findings.bars.append(bar)
        _tell(f"{bar.name}: {bar.median:.3g} ({bar.target})")

    def _install_peers(self) -> Path:
        """An environment with what installs of the other libraries; its interpreter."""
        folder = self._cache / "peers"
        python = folder / "bin" / "python"
        _tell("installing the other libraries")
        # The last run may have been interrupted anywhere. What is there already is not installed again.
        whole = folder / "whole"
        if not whole.exists():
            venv.create(folder, clear=True, with_pip=True)
            whole.touch()
        same = [f"{name}=={version(name)}" for name in _SAME_AS_HERE]
        for packages in (same, *_PEER_PACKAGES):
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            result = subprocess.run(pip, capture_output=True, text=True, check=False)
            if result.returncode:
                _tell(f"{' '.join(packages)} does not install")
        return python

    def _conditions(self) -> dict[str, str]:
        names = ("onnxruntime", "xgboost-cpu", "lightgbm", "scikit-learn")
        told = {
            "Models": f"classifiers over {FEATURES} numbers, trees × depth for XGBoost, trees × leaves"
            " for LightGBM; the forest's trees grow until their leaves are pure",
            "Rows": f"{SCORED_ROWS:,} different ones, none of which was trained on; {MISSING_SHARE:.0%} of"
            " the values are missing",
            "Times": f"processor time of the thread; {self._rounds} rounds of at least {self._round_us:,} µs,"
            " in turn; a ratio is of two times in one round",
            "Times of libraries from Python": "processor time of all threads of a process on the same core,"
            " after the others; a ratio is of one round to the median of the kernel's; oneDAL gives"
            " probabilities, so its ratio is to the kernel's run of the bundle's graph, and the others' to"
            " that of the trees",
            "Threads": "one; onnxruntime does not spin, and reads the rows where they are; XGBoost and"
            " LightGBM by their C APIs, other libraries from Python",
            "Proof": "the sums of all rows by each form have the library's bits (of the forest: all forms"
            " have the same)",
            "Machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()};"
            " compare what stands in one table, not with those of other machines or days",
            "Releases": ", ".join(f"{name} {version(name)}" for name in names),
        }
        if self._quick:
            told = {
                "Quick": "a smoke test on small models, to be measured again: **the numbers mean nothing**"
            } | told
        return told


def _library(package: str, pattern: str) -> Path:
    """A shared library of an installed package."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        for path in sorted(Path(folder).glob(pattern)):
            return path
    raise click.ClickException(f"{package} has no {pattern}")


def _build(*, optimized: bool) -> Path:
    """Build the program that measures; without optimization of its own it is only for tests."""
    profile = ["--release"] if optimized else []
    _run(
        [
            "cargo",
            "build",
            "--quiet",
            "--locked",
            "--package",
            "scorewire_kernel",
            "--example",
            "compare",
            *profile,
        ]
    )
    return ROOT / "target" / ("release" if optimized else "debug") / "examples" / "compare"


def ask_peer(command: list[Any], seconds: float = SLOWEST_SECONDS) -> dict[str, Any]:
    """What the script of a peer tells; under "missing", why there are no times of it."""
    # Compilers that it has started end with it: they would slow what is measured next.
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"missing": f"takes more than {seconds:g} s"}
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        last = (errors.splitlines() or [""])[-1]
        return {"missing": f"ended with {process.returncode}: {last[:200]}"}
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


def _run(command: list[Any]) -> str:
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SLOWEST_SECONDS
    )
    if result.returncode:
        raise click.ClickException(f"{' '.join(map(str, command))}: {result.stderr}")
    return result.stdout


def _tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()

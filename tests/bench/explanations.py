"""Measures contributions beside the libraries' own in one run: `python -m tests.bench.explanations`.

The models are those of `tests.bench.kernels`, trained once and kept in build/bench/kernels. The kernel is
measured by a program without Python, the libraries from Python, each in a process of its own with one thread,
in alternated rounds over different rows. Contributions are first compared with the library's. With --newer,
a newer release of XGBoost is measured by the interpreter of an environment that has it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import lightgbm
import numpy as np
import xgboost

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
)
from tests.bench.measure import cores, pinned
from tests.bench.tables import Bar, bar_lines
from tests.kernel.covered_trees import CoveredTrees, of_lightgbm, of_xgboost

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
CACHE = ROOT / "build" / "bench" / "kernels"
BATCH = 1_000
# How many times faster than the library, and than a newer XGBoost: one row, and a batch.
_BARS = {"XGBoost 100x6": ((80, 400), (25, 100))}
_OTHERS = ((20, None), (None, None))
_COMPARED = 200
# A multiple of the largest contribution: XGBoost computes and adds in float.
_TOLERANCE = {"XGBoost": 1e-4, "LightGBM": 1e-12}


@dataclass(slots=True, kw_only=True)
class Explained:
    """The results of one model: microseconds a row by what ran and by rows in a call, one for each round."""

    model: str
    description: str
    bytes: int
    load_seconds: float
    largest_difference: float
    us_per_row: dict[str, dict[int, list[float]]] = field(default_factory=dict)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="A smoke test: small models; its numbers mean nothing.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=RESULTS)
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), default=CACHE)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--round-ms", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--model", "only", multiple=True, help="Only models whose names begin so; may be given twice.")
@click.option("--newer", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(
    *,
    quick: bool,
    output: Path,
    cache: Path,
    rounds: int,
    round_ms: int,
    only: tuple[str, ...],
    newer: Path | None,
) -> None:
    kinds = [kind for kind in KINDS if kind.library != "scikit-learn"]
    kinds = [kind for kind in kinds if not only or kind.name.startswith(only)]
    if quick:
        kinds, rounds, round_ms = [small(kind) for kind in kinds], 1, 1
    cache.mkdir(parents=True, exist_ok=True)
    program = _build(optimized=not quick)
    make_rows(SCORED_ROWS, seed=21).astype("<f8").tofile(cache / "rows.f64")
    results, bars = [], []
    for kind in kinds:
        trained = train(kind, cache, _tell)
        with pinned(cores()[0]):
            result = _measure(
                trained, program, cache / "rows.f64", rounds=rounds, seconds=round_ms / 1e3, newer=newer
            )
        results.append(result)
        bars += _bars(kind, result)
        _tell(f"{kind.name}: measured")
    output.mkdir(parents=True, exist_ok=True)
    told = _to_markdown(results, bars, rounds=rounds, quick=quick)
    (output / "explanations.md").write_text(told, encoding="utf-8")
    raw = {"results": [asdict(result) for result in results], "bars": [asdict(bar) for bar in bars]}
    (output / "explanations.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    click.echo(told)


def _measure(
    trained: Trained, program: Path, rows: Path, *, rounds: int, seconds: float, newer: Path | None
) -> Explained:
    trees, difference = _compare(trained)
    folder = trained.model.parent
    files = [folder / name for name in ("covered.onnx", "nodes.f64", "leaves.f64")]
    files[0].write_bytes(trees.graph())
    np.array(trees.node_covers, "<f8").tofile(files[1])
    np.array(trees.leaf_covers, "<f8").tofile(files[2])
    peer = Path(__file__).parent / "explanation_peer.py"
    last = [str(rows), str(FEATURES), str(seconds)]
    commands = {"kernel": [str(program), *map(str, files), *last]}
    commands[trained.kind.library] = [sys.executable, str(peer), str(trained.model), *last]
    if newer is not None and trained.kind.library == "XGBoost":
        commands["newer XGBoost"] = [str(newer), str(peer), str(trained.model), *last]
    with ExitStack() as stack:
        running = {name: stack.enter_context(_started(command)) for name, command in commands.items()}
        told = {name: json.loads(process.stdout.readline()) for name, process in running.items()}
        names = {name: f"{name.split()[-1]} {told[name]['release']}" for name in running if name != "kernel"}
        names["kernel"] = "kernel"
        kernel = {name: told["kernel"][name] for name in ("description", "bytes", "load_seconds")}
        result = Explained(model=trained.kind.name, largest_difference=difference, **kernel)
        result.us_per_row = {names[name]: {1: [], BATCH: []} for name in running}
        for _ in range(rounds):
            for count in (1, BATCH):
                for name, process in running.items():
                    # A library takes up to half a minute for a batch of the larger models.
                    if count == BATCH and name != "kernel" and trained.kind.name not in _BARS:
                        continue
                    process.stdin.write(f"{count}\n")
                    process.stdin.flush()
                    took = json.loads(process.stdout.readline())["us_per_row"]
                    result.us_per_row[names[name]][count].append(took)
    return result


@contextmanager
def _started(command: list[str]) -> Iterator[Any]:
    """A process that measures, with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process


def _compare(trained: Trained) -> tuple[CoveredTrees, float]:
    """The trees, and the largest difference from the library's contributions: within its own error."""
    import scorewire_kernel as kernel

    rows = make_rows(_COMPARED, seed=22)
    if trained.kind.library == "XGBoost":
        booster = xgboost.Booster(model_file=trained.model)
        matrix = xgboost.DMatrix(rows, feature_names=booster.feature_names)
        trees, wanted = of_xgboost(booster), booster.predict(matrix, pred_contribs=True)
    else:
        fitted = lightgbm.Booster(model_file=trained.model)
        trees, wanted = of_lightgbm(fitted), np.asarray(fitted.predict(rows, pred_contrib=True))
    explain = kernel.Contributions(trees.graph(), [trees.term()], FEATURES, 1)
    _, values = explain.run([trees.rows(rows)])
    difference = float(np.abs(values[:, 0] - wanted[:, :-1]).max())
    # Tables have floats, too.
    bound = max(_TOLERANCE[trained.kind.library] * float(np.abs(wanted).max()), 1e-6)
    if difference > bound:
        raise click.ClickException(f"{trained.kind.name}: contributions differ by {difference:g}")
    return trees, difference


def _bars(kind: Kind, result: Explained) -> list[Bar]:
    bars = []
    for rival, bounds in zip(list(result.us_per_row)[1:], _BARS.get(kind.name, _OTHERS), strict=False):
        for count, bound in zip((1, BATCH), bounds, strict=True):
            if bound is not None:
                pairs = zip(result.us_per_row[rival][count], result.us_per_row["kernel"][count], strict=True)
                what = f"{kind.name}: {_rows_text(count)}, {rival} / kernel"
                bars.append(Bar(name=what, values=[one / other for one, other in pairs], at_least=bound))
    if kind.name in _BARS:
        bars.append(Bar(name=f"{kind.name}: seconds to load", values=[result.load_seconds], at_most=1))
    return bars


def _to_markdown(results: list[Explained], bars: list[Bar], *, rounds: int, quick: bool) -> str:
    lines = ["# Contributions beside the libraries' own", ""]
    if quick:
        lines += ["- A smoke test on small models: **the numbers mean nothing**"]
    lines += [
        f"- Models: classifiers over {FEATURES} numbers, trees × depth for XGBoost, trees × leaves for"
        " LightGBM",
        f"- Rows: {SCORED_ROWS:,} different ones, none of which was trained on; {MISSING_SHARE:.0%} of the"
        " values are missing",
        f"- Times: processor time, one thread; {rounds} rounds, in turn; a ratio is of two times in one"
        " round",
        "- Calls: the kernel from Rust, with the rows where they are; libraries from Python, XGBoost with its"
        " matrix of one row made in the call and that of many rows before it",
        f"- Machine: {os.cpu_count()} cores, {platform.machine()}, {platform.system()}; compare what stands"
        " in one table, not with those of other machines or days",
        "",
        *bar_lines(bars),
        "",
        "| model | method | seconds to load | largest difference from the library |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {one.model} | {one.description} | {one.load_seconds:.3f} | {one.largest_difference:.1e} |"
        for one in results
    ]
    lines += ["", "Microseconds a row; medians, and the spread of the rounds.", ""]
    lines += [f"| model | runs on | 1 row | {_rows_text(BATCH)} |", "|---|---|---|---|"]
    for one in results:
        for name, by_rows in one.us_per_row.items():
            cells = " | ".join(_spread(times) for times in by_rows.values())
            lines.append(f"| {one.model} | {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _spread(times: list[float]) -> str:
    if not times:
        return "–"
    return f"{statistics.median(times):,.4g} ({min(times):,.4g} to {max(times):,.4g})"


def _rows_text(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _build(*, optimized: bool) -> Path:
    """Build the program that measures the kernel; without optimization of its own it is only for tests."""
    profile = ["--release"] if optimized else []
    package = ["--package", "scorewire_kernel", "--example", "explain"]
    command = ["cargo", "build", "--quiet", "--locked", *package, *profile]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "target" / ("release" if optimized else "debug") / "examples" / "explain"


def _tell(what: str) -> None:
    click.echo(what, err=True)


if __name__ == "__main__":
    main()

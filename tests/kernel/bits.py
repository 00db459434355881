"""Compares the kernel with the libraries, bit for bit: `python -m tests.kernel.bits`.

For each family of trees it fits a model, and scores hard rows with the library and with
the kernel. It prints a table, which `--output` also writes to a file, below the conditions.
`--against onnxruntime` runs the same graphs in onnxruntime instead.
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from scorewire_contract.scoring import RunGraph
from scorewire_training.export.parity.exactness import in_runs_of_any_size
from scorewire_training.export.runtime import open_graph
from tests.families import make_data
from tests.kernel.comparing import Comparison, Differences, Outcome
from tests.kernel.families import FAMILIES

_RELEASES = ("xgboost-cpu", "lightgbm", "scikit-learn", "numpy", "onnxruntime", "scorewire-kernel")
_HEAD = "| family | claimed exact | rows | differing margins | differing outputs | worst ulp |"


def main() -> int:
    """Print the table; returns 1 if a family that is expected to be exact differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.bits", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each family")
    parser.add_argument("--sample", type=int, default=5_000, help="rows that models are fitted on")
    parser.add_argument("--size", type=int, default=60, help="trees of each ensemble")
    parser.add_argument("--form", help="the form in which trees are scored")
    parser.add_argument("--against", choices=("kernel", "onnxruntime"), default="kernel", help="what scores")
    parser.add_argument("--family", default="", help="only families whose names have this text")
    parser.add_argument("--output", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    data = make_data(arguments.sample)
    chosen = [family for family in FAMILIES if arguments.family in family.name]

    def open_(graph: bytes) -> tuple[RunGraph, str]:
        if arguments.against == "onnxruntime":
            return open_graph(graph), "onnxruntime"
        return open_kernel(graph, arguments.form)

    # A form takes only some families; without one, all that are exact must run.
    may_be_refused = arguments.form is not None or arguments.against == "onnxruntime"
    lines, wrong = [_HEAD, "|---|---|---|---|---|---|"], 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        whole = progress.add_task("families", total=len(chosen))
        part = progress.add_task("", total=arguments.rows)
        for family in chosen:
            progress.reset(part, description=family.name, total=arguments.rows)
            try:
                comparison = Comparison(family, data, arguments.size)
                outcome = comparison.run(
                    open_, arguments.rows, lambda done: progress.update(part, completed=done)
                )
                line = _line(family.name, outcome, is_exact=comparison.is_exact)
                wrong += comparison.is_exact and outcome.differ
            except ValueError as error:
                wrong += not may_be_refused
                line = f"| {family.name} | not run: {error} | | | | |"
            lines.append(line)
            progress.console.print(line, soft_wrap=True, highlight=False, markup=False)
            progress.advance(whole)
    text = "\n".join(lines) + "\n"
    if arguments.output:
        arguments.output.write_text(_conditions(arguments) + text, encoding="utf-8")
    sys.stdout.write(text)
    return int(wrong > 0)


def _conditions(arguments: argparse.Namespace) -> str:
    """The beginning of the file: what was compared, and where."""
    form = arguments.form or "the ones that the kernel chooses by measurement"
    told = {
        "Command": "`python -m tests.kernel.bits`",
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Models": f"{arguments.size} trees in each ensemble, fitted on {arguments.sample:,} rows",
        "Rows": f"{arguments.rows:,} of each family: thresholds and their neighbours, NaN, infinities, zeros"
        " of both signs, denormals",
        "Scored by": f"the kernel; forms: {form}" if arguments.against == "kernel" else "onnxruntime",
        "Processor": _processor(),
        "Releases": ", ".join(f"{name} {version(name)}" for name in _RELEASES),
        "System": f"Python {platform.python_version()}, {platform.system()}, {' '.join(platform.libc_ver())}",
    }
    return (
        "# Bits of the libraries\n\n" + "".join(f"- {name}: {text}\n" for name, text in told.items()) + "\n"
    )


def _processor() -> str:
    """The name of the processor, and what the kernel may use of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    found = set(told.get("flags", "").split())
    vectors = [name for name in ("avx2", "avx512f", "avx512vbmi") if name in found]
    return ", ".join([told.get("model name", platform.machine()), *vectors])


def open_kernel(graph: bytes, form: str | None = None) -> tuple[RunGraph, str]:
    """Open a graph in the kernel.

    Raises:
        UnsupportedError: the graph does not run there.
    """
    from scorewire_kernel import Program

    program = Program(graph, form)
    return in_runs_of_any_size(program.run), program.description


def _line(name: str, outcome: Outcome, *, is_exact: bool) -> str:
    kinds = [outcome.outputs] + ([outcome.margins] if outcome.margins else [])
    margins = "" if outcome.margins is None else _count(outcome.margins)
    worst = max(kind.ulps for kind in kinds)
    claim = "yes" if is_exact else "no"
    cells = [name, claim, f"{outcome.rows:,}", margins, _count(outcome.outputs), f"{worst:,}"]
    return f"| {' | '.join(cells)} |"


def _count(differences: Differences) -> str:
    return f"{differences.rows:,}"


if __name__ == "__main__":
    sys.exit(main())

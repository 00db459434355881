"""Measures explained calls beside calls without an explanation: `python -m tests.bench.explained_calls`.

The native generator runs on one core and the native engine on another, with 100 trees of depth 6 over 30
columns. The rows differ in every call. Each round measures all kinds of calls in turn. The generator compares
every score with the fitted model's, and checks that base and contributions add up to the margin.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import click

from scorewire import Explain
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.explained import explained
from tests.bench import servers
from tests.bench.call_loads import APART, ONE, PIPELINED, CallLoads
from tests.bench.measure import cores, pinned
from tests.bench.scored_model import DEPTH, FEATURES, TREES, make_model
from tests.bench.tables import Sample

RESULTS = Path(__file__).parent / "results" / "explained_calls.md"
_DIFFERENT_CALLS = 5_000
_BATCH_ROWS, _BATCHES = 1_000, 5
_SHAPES = (PIPELINED, APART, ONE)
_TITLES = (
    "connections × in flight",
    "calls",
    "calls/s",
    "processor time of a call, µs",
    "of it the explanation, µs",
    "median latency, µs",
)


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=1.5, show_default=True, help="Length of one load."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS)
def main(rounds: int, seconds: float, output: Path) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=20_000)
        server_core, generator_core = cores()
        with pinned(server_core):
            server = stack.enter_context(servers.engine("native", folder, folder / "models"))
        loads = CallLoads(model, generator_core, seconds)
        single = model.calls(rows_per_call=1, count=_DIFFERENT_CALLS)
        batches = model.calls(rows_per_call=_BATCH_ROWS, count=_BATCHES)
        kinds: dict[str, Callable[[list[PreparedCall]], list[PreparedCall]]] = {
            "not explained": lambda calls: calls,
            "all columns": lambda calls: explained(calls, Explain()),
            "5 columns": lambda calls: explained(calls, Explain(top_k=5)),
        }
        found: dict[tuple[str, str], list[Sample]] = {}
        for _ in range(rounds):
            for shape in _SHAPES:
                for kind, of in kinds.items():
                    sample = loads.closed(server, of(single), shape)
                    found.setdefault((shape.name, kind), []).append(sample)
            for kind, of in kinds.items():
                sample = loads.closed(server, of(batches), ONE, name=f"{_BATCH_ROWS:,} rows")
                found.setdefault((f"{_BATCH_ROWS:,} rows", kind), []).append(sample)
    page = _page(found, rounds, seconds)
    output.write_text(page, encoding="utf-8")
    click.echo(page)


def _page(found: dict[tuple[str, str], list[Sample]], rounds: int, seconds: float) -> str:
    lines = [
        "# Explained calls",
        "",
        f"One core for the engine, one for the generator; {TREES} trees of depth {DEPTH} over",
        f"{FEATURES} columns; {rounds} rounds of {seconds:g} s, all kinds of calls in turn. Medians, with",
        "the smallest and the largest.",
        "",
        f"| {' | '.join(_TITLES)} |",
        "|---" * len(_TITLES) + "|",
    ]
    for (load, kind), samples in found.items():
        plain = found[load, "not explained"]
        more = [one.processor_us - other.processor_us for one, other in zip(samples, plain, strict=True)]
        cells = (
            _spread([each.calls_per_second for each in samples], ",.0f"),
            _spread([each.processor_us for each in samples], ",.2f"),
            "" if samples is plain else _spread(more, ",.2f"),
            _spread([each.p50_us for each in samples], ",.0f"),
        )
        lines.append(f"| {load} | {kind} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    main()

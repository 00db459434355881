"""Sends many mutated requests to a live server: `python -m tests.property.fuzz --calls 10000`.

Half of the requests go to Predict, and half to PredictStream. Prints counts of calls
by status code and, if there was a wrong response, the smallest request that got one.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.processes import serving
from tests.property.judge import ALLOWED, FLAGS, Judge
from tests.property.oracle import write_models
from tests.property.requests import stream_messages, unary_messages

_METHODS = ("Predict", "PredictStream")
# Examples from one seed; further rounds have other seeds, so that they do not repeat the first one.
_ROUND = 500


def _run(judge: Callable[[Any], object], requests: st.SearchStrategy[Any], examples: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def run(request: Any) -> None:
        judge(request)

    run()


def fuzz(calls: int, seed: int) -> Judge:
    """Judge at least `calls` calls.

    Raises:
        AssertionError: a response was wrong, or the server's log has an internal error.
    """
    seeds = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_models(folder / "models")
        with serving(folder, folder / "models", *FLAGS) as server:
            judge = Judge(server.address)
            for judge_one, requests, method in (
                (judge.judge_unary, unary_messages, "Predict"),
                (judge.judge_stream, st.lists(stream_messages, min_size=1, max_size=8), "PredictStream"),
            ):
                while (left := (calls + 1) // 2 - _total(judge, method)) > 0:
                    _run(judge_one, requests, min(left, _ROUND), seeds.getrandbits(32))
            judge.close()
            faults = server.log("call failed by a fault of the server")
            assert faults == [], faults
    return judge


def _total(judge: Judge, method: str) -> int:
    return sum(count for (each, _), count in judge.counts.items() if each == method)


@click.command()
@click.option("--calls", default=10_000, show_default=True, help="Smallest number of calls.")
@click.option("--seed", default=None, type=int, help="Seed of the requests; random by default.")
def main(calls: int, seed: int | None) -> None:
    """Send mutated requests to a live server, and print counts of the outcomes."""
    seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    click.echo(f"seed {seed}")
    judge = fuzz(calls, seed)
    click.echo(f"{'status':<22}" + "".join(f"{method:>15}" for method in _METHODS))
    for code in sorted(ALLOWED, key=lambda code: code.value[0]):
        click.echo(f"{code.name:<22}" + "".join(f"{judge.counts[method, code]:>15,}" for method in _METHODS))
    click.echo(f"{'total':<22}" + "".join(f"{_total(judge, method):>15,}" for method in _METHODS))
    click.echo(f"good calls after them, all answered right: {judge.good_calls:,}")


if __name__ == "__main__":
    main()

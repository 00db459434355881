"""Runs the scenarios at full size on a server under load, and prints the result of each.

The scenarios are: 100 swaps and 20 rollbacks; damaged bundles; 32 callers that load
and unload versions; a shadow that gets copies of all calls, and its cost for callers
(measured by h2load); the split of a million keys; 50 servers that are killed while
they receive changes; hostile bundles; 100 changes of keys, certificates and the access
file; and, only on request, a soak of calls and cancellations while releases are published.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import click
import numpy as np
from scipy.stats import bootstrap

from tests.bench import h2load
from tests.bench.measure import cores, pinned
from tests.operations.hostility import load_hostile
from tests.operations.rotation import revoke, rotate
from tests.operations.scenarios import (
    contend,
    corrupt,
    kill,
    moves,
    publish,
    serve,
    shadow_costs,
    shares,
    swap,
)
from tests.operations.soak import soak
from tests.processes import ServerProcess

_SCENARIOS = ("swaps", "damage", "contention", "shadow", "shares", "kills", "hostile", "rotations")
_SERVERLESS = ("shares", "kills", "hostile", "rotations")
_SOAK = "soak"
_MORE_VERSIONS = {"contention": ("1.1.0", "1.2.0", "1.3.0", "1.4.0"), "shadow": ("2.0.0-rc.1",)}
# About a fifth of an engine's capacity, so that there is capacity to spare.
_SHADOW_INTERVALS_MS = {"reference": 2.5, "native": 0.5}
# Rounds are short and many, because disturbances of a machine come and go; two consecutive
# rounds share most of a disturbance.
_SHADOW_ROUND_MS = 1000


@click.command(help=__doc__)
@click.option("--engine", type=click.Choice(["reference", "native"]), default="reference", show_default=True)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    type=click.Choice([*_SCENARIOS, _SOAK]),
    help="Scenario to run; may be repeated.  [default: all but soak]",
)
@click.option("--swaps", default=100, show_default=True)
@click.option("--rollbacks", default=20, show_default=True)
@click.option("--callers", default=32, show_default=True)
@click.option("--calls", default=200, show_default=True, help="Calls of each caller.")
@click.option("--kills", default=50, show_default=True)
@click.option("--rotations", default=100, show_default=True, help="A third of each kind.")
@click.option("--revocations", default=20, show_default=True)
@click.option("--pairs", default=60, show_default=True, help="Pairs of rounds, with a shadow and without.")
@click.option(
    "--rate", default=200.0, show_default=True, help="Calls per second, and stream messages per second."
)
@click.option("--rounds", default=90, show_default=True, help="Rounds of a soak, each with a new release.")
@click.option("--soak-calls", default=200_000, show_default=True, help="Calls of h2load in each round.")
@click.option("--soak-cancels", default=2000, show_default=True, help="Cancelled calls in each round.")
def main(
    *,
    engine: str,
    scenarios: tuple[str, ...],
    swaps: int,
    rollbacks: int,
    callers: int,
    calls: int,
    kills: int,
    rotations: int,
    revocations: int,
    pairs: int,
    rate: float,
    rounds: int,
    soak_calls: int,
    soak_cancels: int,
) -> None:
    wanted = scenarios or _SCENARIOS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, scenario in enumerate(each for each in wanted if each not in _SERVERLESS):
            models = folder / str(number) / "models"
            publish(models, "1.0.0")
            for version in _MORE_VERSIONS.get(scenario, ()):
                publish(models, version)
            core = cores()[0] if scenario == "shadow" else None
            with pinned(core), serve(folder / str(number), models, engine, "--log-level", "error") as server:
                if scenario == "swaps":
                    told = asyncio.run(swap(server, models, swaps=swaps, rollbacks=rollbacks, rate=rate))
                    click.echo(
                        f"{swaps} swaps, {rollbacks} rollbacks: {told.seen.calls:,} calls, 0 failed, 0 wrong,"
                        f" by {len(told.seen.versions)} versions; memory {told.memory_growth:+.1%}"
                    )
                elif scenario == "damage":
                    reasons = asyncio.run(corrupt(server, models, rate=rate))
                    click.echo(f"{len(reasons)} damaged bundles: all refused, 1.0.0 answered throughout")
                elif scenario == _SOAK:
                    place = folder / str(number)
                    soaked = asyncio.run(
                        soak(server, models, place, rounds=rounds, calls=soak_calls, cancels=soak_cancels)
                    )
                    low, high = (edge(soaked.resident_bytes) >> 20 for edge in (min, max))
                    click.echo(
                        f"{rounds} releases took over: {soaked.calls + soaked.seen.calls:,} calls, 0 failed,"
                        f" {soaked.cancels:,} cancelled, resident {low} to {high} MB"
                    )
                elif scenario == "shadow":
                    _tell_of_shadow(server, folder / str(number), engine, pairs)
                else:
                    versions = ["1.1.0", "1.2.0", "1.3.0"]
                    ended = asyncio.run(
                        contend(server, callers=callers, calls=calls, versions=versions, seed=1)
                    )
                    click.echo(
                        f"{callers} callers x {calls}: {dict(Counter(ended))}, and the final state fits"
                    )
        if "kills" in wanted:
            models = folder / "kills" / "models"
            for version in ("1.0.0", "1.1.0"):
                publish(models, version)
            acknowledged = kill(folder / "kills", models, engine, kills=kills, seed=1)
            click.echo(f"{kills} kills: {acknowledged:,} changes acknowledged, 0 lost")
        if "hostile" in wanted:
            (folder / "hostile").mkdir()
            refused, served = asyncio.run(load_hostile(folder / "hostile", engine))
            click.echo(f"{refused + served:,} hostile bundles: {refused:,} refused, the others can serve")
        if "rotations" in wanted:
            _tell_of_rotations(folder, engine, rotations, revocations)
    if "shares" in wanted:
        _tell_of_shares(1_000_000)


def _tell_of_shares(keys: int) -> None:
    split = {"1.0.0": 90, "1.1.0": 10}
    for weights in (split, {"1.0.0": 1, "1.1.0": 1, "1.2.0": 1}):
        counts, p_value = shares(keys, weights)
        click.echo(f"shares of {keys:,} keys by {weights}: {counts}, chi-square p = {p_value:.3f}")
    after = {"1.0.0": 80, "1.1.0": 20}
    click.echo(f"keys that move from {split} to {after}: {moves(keys, split, after)}")


def _tell_of_rotations(folder: Path, engine: str, rotations: int, revocations: int) -> None:
    keys, certificates = -(-rotations // 3), (rotations + 1) // 3
    files = rotations - keys - certificates
    counts = {"keys": keys, "certificates": certificates, "files": files}
    seen = asyncio.run(rotate(folder / "rotations", engine, **counts))
    click.echo(f"{rotations} rotations {counts}: {seen.calls:,} calls, 0 failed")
    seen = asyncio.run(revoke(folder / "revocations", engine, times=revocations))
    click.echo(
        f"{revocations} revocations on calls and open streams; {seen.calls:,} calls of others, 0 failed"
    )


def _tell_of_shadow(server: ServerProcess, folder: Path, engine: str, pairs: int) -> None:
    if h2load.missing():
        click.echo(f"shadow: not measured, {h2load.HOW_TO_INSTALL}")
        return
    interval_ms = _SHADOW_INTERVALS_MS[engine]
    calls = round(_SHADOW_ROUND_MS / interval_ms)
    costs = shadow_costs(server, folder, rounds=pairs, calls=calls, interval_ms=interval_ms)
    for name, ratios in costs.items():
        spread = bootstrap((ratios,), np.median, method="percentile", rng=1).confidence_interval
        click.echo(
            f"shadow of all calls, one each {interval_ms:g} ms: {name} of the callers over that without one,"
            f" median of {len(ratios)} pairs {np.median(ratios):.3f}"
            f" (95 % from {spread.low:.3f} to {spread.high:.3f})"
        )


if __name__ == "__main__":
    main()

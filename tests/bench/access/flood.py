"""A flood of tokens whose keys nobody knows, and honest callers beside it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import click

from scorewire_loadtest.pacing import Constant
from scorewire_loadtest.plan import OpenLoop
from scorewire_loadtest.results import Results
from tests.access_files import Issuer, Key, write_access
from tests.bench.access.callers import SUBJECT, Bench, Caller
from tests.bench.measure import pinned
from tests.bench.servers import Server
from tests.bench.tables import Bar
from tests.jwks_server import JwksServer, serving_jwks
from tests.processes import TIMEOUT_SECONDS

# Calls a second of each honest caller.
RATE = 2_000.0
TIMEOUT_S = 1.0
COOLDOWN_SECONDS = 2.0
LEAST_RATE = 0.9
AIM = 100_000
# Another address than that of the honest callers.
SOURCE = "127.0.0.2"
_LEAD_SECONDS = 1.0
# The endpoint notes a request later than the server makes it, and not always equally late.
_LEAST_GAP = 0.9


def measure(bench: Bench) -> list[Bar]:
    """Print what honest callers keep of their rate, and how often the endpoint was asked."""
    key, issuer = Key.make(), Issuer.make()
    with serving_jwks(issuer.jwks()) as endpoint:
        file = write_access(
            bench.folder / "flood" / "access.toml",
            {
                "by-key": {"predict": ["*"], "keys": [key.entry()]},
                "by-token": {"predict": ["*"], "tokens": [{"issuer": issuer.name, "subject": SUBJECT}]},
            },
            issuers=[issuer.entry(endpoint.url, cooldown_seconds=COOLDOWN_SECONDS)],
        )
        with bench.server("flood", "--access", file) as server:
            honest = {
                "API key": Caller(server, key.text),
                "JWT that is remembered": Caller(server, issuer.token(SUBJECT, seconds=24 * 3600)),
            }
            return _measure(bench, server, honest, endpoint)


def _measure(bench: Bench, server: Server, honest: dict[str, Caller], endpoint: JwksServer) -> list[Bar]:
    _together(bench, honest)
    pairs: dict[str, list[tuple[Results, Results]]] = {name: [] for name in honest}
    flooded: list[float] = []
    ended: Counter[str] = Counter()
    asked = len(endpoint.asked_at)
    for _ in range(bench.rounds):
        alone = _together(bench, honest)
        with _flood(bench, server, ended, flooded):
            beside = _together(bench, honest)
        for name in honest:
            pairs[name].append((alone[name], beside[name]))
    click.echo("\n| honest caller | calls/s, alone | beside the flood | ratio | p99 µs, alone | beside |")
    click.echo("|---|---|---|---|---|---|")
    bars = []
    for name, found in pairs.items():
        ratios = [there.calls_per_second / here.calls_per_second for here, there in found]
        cells = [
            f"{statistics.median(run.calls_per_second for run in runs):,.0f}"
            for runs in zip(*found, strict=True)
        ]
        cells.append(f"{statistics.median(ratios):.3f}")
        cells += [
            f"{statistics.median(run.latency_us[99.0] for run in runs):,.0f}"
            for runs in zip(*found, strict=True)
        ]
        click.echo(f"| {name} | {' | '.join(cells)} |")
        bars.append(Bar(name=f"rate beside random kids, {name}", values=ratios, at_least=LEAST_RATE))
    gaps = [after - before for before, after in pairwise(endpoint.asked_at)]
    click.echo(
        f"\nrandom kids a second, one address: {statistics.median(flooded):,.0f} (aim: {AIM:,});"
        f" in all {dict(ended)}\nJWKS endpoint: asked {len(endpoint.asked_at) - asked} times in"
        f" {bench.rounds} floods, least gap {min(gaps, default=float('inf')):.2f} s,"
        f" cool-down {COOLDOWN_SECONDS:g} s"
    )
    assert not ended["answered"], "a forged token was taken"
    if gaps:
        name = "least time between two fetches of the keys, in cool-downs"
        bars.append(Bar(name=name, values=[min(gaps) / COOLDOWN_SECONDS], at_least=_LEAST_GAP))
    return bars


def _together(bench: Bench, honest: dict[str, Caller]) -> dict[str, Results]:
    """The honest callers' loads, at the same time."""
    found: dict[str, Results] = {}

    def run(name: str, caller: Caller) -> None:
        found[name] = bench.load(caller, OpenLoop(Constant(RATE), 1024), timeout_s=TIMEOUT_S)

    threads = [threading.Thread(target=run, args=each) for each in honest.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@contextmanager
def _flood(bench: Bench, server: Server, ended: Counter[str], rates: list[float]) -> Iterator[None]:
    """Random keys in another process while the block runs, and somewhat longer."""
    seconds = bench.seconds + _LEAD_SECONDS
    module = "tests.bench.access.random_kids"
    command = [sys.executable, "-m", module, server.address, "--source", SOURCE, f"--seconds={seconds}"]
    with pinned(bench.core):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        yield
        told, _ = process.communicate(timeout=seconds + TIMEOUT_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    counts = json.loads(told)
    rates.append(counts["refused"] / counts.pop("seconds"))
    ended.update(counts)

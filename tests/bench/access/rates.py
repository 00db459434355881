"""Rates and medians with credentials, next to those without `--access`."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from scorewire import TLS
from scorewire_loadtest.plan import ClosedLoop
from tests.bench.access import indexed
from tests.bench.access.callers import SUBJECT, Bench, Caller, Identities, median_us
from tests.bench.servers import Server
from tests.bench.tables import Bar
from tests.certificates import make_certificates

LEAST_RATIO = 0.97
MOST_ADDED_US = 1.0
# Connections, and calls in flight on each.
LOADS = ((1, 64), (64, 1))
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Speed:
    """One load: calls a second, and the time of the server for a call, which other work changes little."""

    rate: float
    core_us: float


@dataclass(frozen=True, slots=True)
class Case:
    """Calls with a credential, compared with the same calls without access control."""

    name: str
    without: Caller
    caller: Caller
    has_bar: bool = True


def measure(bench: Bench) -> list[Bar]:
    """Print the tables of rates and of medians."""
    with ExitStack() as stack:
        cases = _start(bench, stack)
        return [*_rates(bench, cases), *_indexed(bench, cases), *_medians(bench, cases)]


def _start(bench: Bench, stack: ExitStack) -> list[Case]:
    identities = Identities.write(bench.folder / "rates", open={"metrics": True})
    certificates = make_certificates(bench.folder)
    tls = TLS.from_files(root_certificates=certificates.authority)
    shown = TLS.from_files(
        root_certificates=certificates.authority,
        certificate_chain=certificates.client,
        private_key=certificates.client_key,
    )
    access = ("--access", identities.file)
    mutual = (*access, "--tls-client-ca", certificates.authority)
    plain = Caller(stack.enter_context(bench.server("plain")))
    again = Caller(stack.enter_context(bench.server("plain-again")))
    asking = stack.enter_context(bench.server("asking", *access))
    encrypted = Caller(stack.enter_context(bench.server("tls", *certificates.server_flags())), tls=tls)
    verified = stack.enter_context(bench.server("mtls", *certificates.server_flags(), *mutual))
    token = identities.issuer.token(SUBJECT, seconds=24 * 3600)
    by_key, by_token = Caller(asking, identities.key.text), Caller(asking, token)
    return [
        Case("no access, another process", plain, again, has_bar=False),
        Case("API key", plain, by_key),
        Case("API key, also shown to the server without access", Caller(plain.server, by_key.token), by_key),
        Case("JWT that is remembered", plain, by_token),
        Case("JWT, also shown to the server without access", Caller(plain.server, token), by_token),
        Case("mTLS", encrypted, Caller(verified, tls=shown)),
    ]


def _rates(bench: Bench, cases: list[Case]) -> list[Bar]:
    bars = []
    columns = ("calls", "connections", "in flight on each", "calls/s, without", "with", "ratio", "rounds")
    columns += ("µs of the server's core, without", "with")
    click.echo(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for case in cases:
        for connections, in_flight in LOADS:
            load = ClosedLoop(connections * in_flight)

            def measure_one(caller: Caller, load: ClosedLoop = load, connections: int = connections) -> Speed:
                return _speed(bench, caller, load, connections)

            pairs = _in_turn(bench, case, measure_one)
            ratios = [there.rate / here.rate for here, there in pairs]
            rates = " | ".join(
                f"{statistics.median(one.rate for one in each):,.0f}" for each in zip(*pairs, strict=True)
            )
            costs = " | ".join(
                f"{statistics.median(one.core_us for one in each):.2f}" for each in zip(*pairs, strict=True)
            )
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            click.echo(
                f"| {case.name} | {connections} | {in_flight} | {rates} | {statistics.median(ratios):.3f} |"
                f" {spread} | {costs} |"
            )
            if case.has_bar:
                name = f"calls/s, {case.name}: {connections} x {in_flight}"
                bars.append(Bar(name=name, values=ratios, at_least=LEAST_RATIO))
    return bars


def _indexed(bench: Bench, cases: list[Case]) -> list[Bar]:
    bars = []
    click.echo(
        f"\n| token in HPACK's table, 1 x {indexed.IN_FLIGHT} | calls/s, without | with | ratio | rounds |"
    )
    click.echo("|---|---|---|---|---|")
    for case in cases:
        if case.caller.tls is not None or case.without.token is not None:
            continue
        pairs = _in_turn(bench, case, lambda caller: indexed.rate(bench, caller))
        ratios = [there / here for here, there in pairs]
        rates = " | ".join(f"{statistics.median(each):,.0f}" for each in zip(*pairs, strict=True))
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        click.echo(f"| {case.name} | {rates} | {statistics.median(ratios):.3f} | {spread} |")
        if case.has_bar:
            name = f"calls/s, {case.name}, in HPACK's table"
            bars.append(Bar(name=name, values=ratios, at_least=LEAST_RATIO))
    return bars


def _speed(bench: Bench, caller: Caller, load: ClosedLoop, connections: int) -> Speed:
    assert caller.server.answered is not None
    before, (calls_before, _) = _core_seconds(caller.server), caller.server.answered()
    rate = bench.whole(caller, load, connections=connections).calls_per_second
    after, (calls_after, _) = _core_seconds(caller.server), caller.server.answered()
    return Speed(rate, (after - before) / (calls_after - calls_before) * 1e6)


def _core_seconds(server: Server) -> float:
    """The time of a server's threads on a core so far; the system counts nanoseconds."""
    times = (
        path.read_text(encoding="ascii") for path in Path(f"/proc/{server.pid}/task").glob("*/schedstat")
    )
    return sum(int(line.split()[0]) for line in times) / 1e9


def _medians(bench: Bench, cases: list[Case]) -> list[Bar]:
    bars = []
    click.echo("\n| calls, 1 in flight | median µs, without | with | added | rounds |\n|---|---|---|---|---|")
    for case in cases:
        pairs = _in_turn(bench, case, lambda caller: median_us(bench.whole(caller, ClosedLoop(1))))
        added = [there - here for here, there in pairs]
        medians = " | ".join(f"{statistics.median(each):.2f}" for each in zip(*pairs, strict=True))
        spread = f"{min(added):+.2f} to {max(added):+.2f}"
        click.echo(f"| {case.name} | {medians} | {statistics.median(added):+.2f} | {spread} |")
        if case.has_bar:
            name = f"µs added to the median, {case.name}"
            bars.append(Bar(name=name, values=added, at_most=MOST_ADDED_US))
    return bars


def _in_turn(bench: Bench, case: Case, measure_one: Callable[[Caller], _T]) -> list[tuple[_T, _T]]:
    """Measure without and with, in an order that alternates between rounds."""
    measure_one(case.without), measure_one(case.caller)
    pairs = []
    for number in range(bench.rounds):
        if number % 2:
            without = measure_one(case.without)
            pairs.append((without, measure_one(case.caller)))
        else:
            with_it = measure_one(case.caller)
            pairs.append((measure_one(case.without), with_it))
    return pairs

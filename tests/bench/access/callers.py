"""Servers with and without `--access`, and the callers of the benches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from scorewire import TLS
from scorewire_loadtest.calls import PreparedCall
from scorewire_loadtest.plan import ClosedLoop, OpenLoop
from scorewire_loadtest.results import Results
from scorewire_loadtest.target import Target
from tests.access_files import Issuer, Key, write_access
from tests.bench import native_load
from tests.bench.h2load import LoadError
from tests.bench.measure import pinned
from tests.bench.scored_model import NAME, ScoredModel
from tests.bench.servers import Server, engine

DIFFERENT_CALLS = 4096
SUBJECT = "service-shop"
# Two beginnings and a name that do not fit before the one that does, as an access file may have them.
PATTERNS = ["game-*", "shop-*", "churn", f"{NAME[:3]}*"]
# Limits that no load here reaches, so that they cost what they cost and refuse nothing.
AMPLE = {
    "calls_per_second": 1e8,
    "calls_burst": 1e8,
    "rows_per_second": 1e9,
    "rows_burst": 1e9,
    "max_in_flight": 100_000,
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A server, and how one calls it."""

    server: Server
    token: str | None = field(default=None, repr=False)
    tls: TLS | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement needs.

    Attributes:
        folder: for files of the bench.
        model: the model under load.
        calls: calls of one row each, which all differ.
        rounds: how often each pair is measured.
        seconds: the length of one load.
        server_core: the core of the servers.
        core: the core of the generators.
        quick: whether it is a smoke test.
    """

    folder: Path
    model: ScoredModel
    calls: Sequence[PreparedCall]
    rounds: int
    seconds: float
    server_core: int | None
    core: int | None
    quick: bool

    @contextmanager
    def server(self, name: str, *options: str | Path) -> Iterator[Server]:
        """A native engine with one thread, on the core of the servers."""
        models = self.model.bundle.path.parents[1]
        with pinned(self.server_core):
            started = engine("native", self.folder / name, models, *options)
            server = started.__enter__()
        try:
            yield server
        finally:
            started.__exit__(*sys.exc_info())

    def load(
        self,
        caller: Caller,
        load: ClosedLoop | OpenLoop,
        *,
        connections: int = 1,
        seconds: float | None = None,
        calls: Sequence[PreparedCall] | None = None,
        timeout_s: float = 60.0,
    ) -> Results:
        """Make calls by the native generator, some of which may fail.

        Raises:
            LoadError: an answer was wrong.
        """
        return native_load.run_once(
            target_of(caller),
            self.model,
            calls or self.calls,
            load,
            connections=connections,
            seconds=self.seconds if seconds is None else seconds,
            core=self.core,
            timeout_s=timeout_s,
        )

    def whole(self, caller: Caller, load: ClosedLoop | OpenLoop, *, connections: int = 1) -> Results:
        """Make calls, all of which must be answered; for longer if the machine was so busy that none was.

        Raises:
            LoadError: a call failed, or an answer was wrong, or none came.
        """
        target = target_of(caller)
        return native_load.run(
            target,
            self.model,
            self.calls,
            load,
            connections=connections,
            seconds=self.seconds,
            core=self.core,
        )


def target_of(caller: Caller) -> Target:
    """Where calls of a caller go, and with which credentials."""
    token = caller.token
    return Target(caller.server.address, caller.tls, None if token is None else lambda: token)


def median_us(results: Results) -> float:
    """The median of the latencies, interpolated within its bucket of the histogram, which is 1 µs wide."""
    buckets = HdrHistogram.decode(results.histogram)
    left = buckets.get_total_count() / 2
    for step in buckets.get_recorded_iterator():
        count = step.count_at_value_iterated_to
        if count >= left:
            low = buckets.get_lowest_equivalent_value(step.value_iterated_to)
            high = buckets.get_highest_equivalent_value(step.value_iterated_to) + 1
            return float(low + (high - low) * left / count)
        left -= count
    raise LoadError("no call was answered")


@dataclass(frozen=True, slots=True)
class Identities:
    """A caller by each kind of credential, and the access file that knows them."""

    file: Path
    key: Key
    issuer: Issuer

    @classmethod
    def write(cls, folder: Path, *, certificate_dns: str = "client.example", **more: Any) -> Identities:
        """Write an access file in which every caller has patterns for rights, and ample limits."""
        key, issuer = Key.make(), Issuer.make()
        folder.mkdir(parents=True, exist_ok=True)
        jwks = folder / "jwks.json"
        jwks.write_text(issuer.jwks_text(), encoding="utf-8")
        rights = {"predict": PATTERNS, **AMPLE}
        principals: dict[str, dict[str, Any]] = {
            "by-key": {**rights, "keys": [key.entry()]},
            "by-token": {**rights, "tokens": [{"issuer": issuer.name, "subject": SUBJECT}]},
            "by-certificate": {**rights, "certificates": [{"dns": certificate_dns}]},
        }
        file = write_access(folder / "access.toml", principals, issuers=[issuer.entry(jwks.name)], **more)
        return cls(file, key, issuer)

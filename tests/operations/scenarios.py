"""Scenarios of what operators do under load; each checks that no call was affected."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from grpc import aio
from scipy.stats import chisquare

from scorewire import Client, ScorewireError
from scorewire_proto.v1 import models_pb2
from scorewire_server.engine import split
from tests import http2
from tests.bench.h2load import paced_latencies_us
from tests.bench.measure import cores, pinned
from tests.bundles import write_sum_bundle
from tests.operations.corruption import damages
from tests.operations.load import MODEL, Operator, Seen, offset_of, request, under_load
from tests.processes import ServerProcess, serving, wait_until

_SERVING, _REFUSED, _UNLOADED = (
    models_pb2.VERSION_STATE_SERVING,
    models_pb2.VERSION_STATE_REFUSED,
    models_pb2.VERSION_STATE_UNLOADED,
)


def publish(models: Path, version: str) -> Path:
    """Write the bundle of a version in one step; its scores tell the version."""
    return write_sum_bundle(models, version=version, offset=offset_of(version))


def serve(folder: Path, models: Path, engine: str, *flags: str) -> Any:
    """A server that scans its folder often."""
    return serving(
        folder,
        models,
        "--engine",
        engine,
        "--watch",
        "poll",
        "--watch-seconds",
        "0.1",
        "--control",
        "on",
        *flags,
    )


def resident(server: ServerProcess) -> int:
    """Resident bytes of the server and its child processes."""
    process = psutil.Process(server.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


@dataclass(frozen=True, slots=True)
class Swaps:
    """The result of swaps and rollbacks."""

    seen: Seen
    memory_growth: float


def assert_unhurt(seen: Seen) -> None:
    """Check that every call was answered by the version that the response names."""
    assert not seen.failed, seen.failed
    assert not seen.wrong, seen.wrong[:5]
    assert seen.calls


async def swap(server: ServerProcess, models: Path, *, swaps: int, rollbacks: int, rate: float) -> Swaps:
    """Publish releases one after the other, remove old ones, and sometimes roll back."""
    every = max(1, swaps // rollbacks)
    resident_before = 0
    async with under_load(server.address, rate=rate) as (operator, seen):
        for number in range(1, swaps + 1):
            publish(models, f"1.{number}.0")
            await operator.until_default(f"1.{number}.0")
            if number % every == 0 and number // every <= rollbacks:
                await operator.Rollback(model=MODEL)
                assert (await operator.status()).default_version == f"1.{number - 1}.0"
                await operator.SetSplit(model=MODEL)
                await operator.until_default(f"1.{number}.0")
            if number > 2:
                shutil.rmtree(models / MODEL / f"1.{number - 3}.0")
                await operator.until_state(f"1.{number - 3}.0", None)
            if number == swaps // 5:
                resident_before = resident(server)
        growth = resident(server) / resident_before - 1
    assert_unhurt(seen)
    assert len(seen.versions) >= swaps // 2
    return Swaps(seen, growth)


async def corrupt(server: ServerProcess, models: Path, *, rate: float) -> dict[str, str]:
    """Publish damaged bundles, which must be refused; returns the reasons by the kind of damage."""
    reasons = {}
    async with under_load(server.address, rate=rate) as (operator, seen):
        for number, (name, damage) in enumerate(damages(), start=1):
            version = f"9.{number}.0"
            # Damaged elsewhere first, so that the damaged bundle appears in one step.
            scratch = models.parent / "scratch"
            path = publish(scratch, version)
            damage(path)
            path.rename(models / MODEL / version)
            reasons[name] = await operator.until_state(version, _REFUSED)
            assert reasons[name], name
            shutil.rmtree(models / MODEL / version)
            await operator.until_state(version, None)
    assert_unhurt(seen)
    assert set(seen.versions) == {"1.0.0"}
    return reasons


@dataclass(frozen=True, slots=True)
class _Done:
    begin: float
    end: float
    loads: bool


async def contend(
    server: ServerProcess, *, callers: int, calls: int, versions: list[str], seed: int
) -> dict[str, int]:
    """Load and unload the same versions from many callers at once; returns counts of the outcomes.

    The final state must be that of a last acknowledged call: a call after whose end
    no other call began.
    """
    done: dict[str, list[_Done]] = {version: [] for version in versions}
    ended = {"OK": 0}
    loop = asyncio.get_running_loop()

    async def caller(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        async with aio.insecure_channel(
            server.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            operator = Operator(channel)
            for _ in range(calls):
                version, loads = draw.choice(versions), draw.random() < 0.5
                call = operator.LoadVersion if loads else operator.UnloadVersion
                begin = loop.time()
                try:
                    await call(model=MODEL, version=version)
                except aio.AioRpcError as error:
                    ended[error.code().name] = ended.get(error.code().name, 0) + 1
                else:
                    ended["OK"] += 1
                    done[version].append(_Done(begin, loop.time(), loads))

    await asyncio.gather(*(caller(number) for number in range(callers)))
    async with aio.insecure_channel(server.address) as channel:
        operator = Operator(channel)
        for version, calls_done in done.items():
            last_begin = max(each.begin for each in calls_done)
            wanted = {_SERVING if each.loads else _UNLOADED for each in calls_done if each.end >= last_begin}
            if wanted == {_UNLOADED}:
                await operator.until_state(version, _UNLOADED)
            told = {each.version: each.state for each in (await operator.status()).versions}
            assert told[version] in wanted, (version, told, wanted)
    return ended


def kill(folder: Path, models: Path, engine: str, *, kills: int, seed: int) -> int:
    """Kill servers while they receive changes, one start after the other.

    Each start must have every acknowledged change, and at most the one change that
    was in flight in addition. Returns how many changes were acknowledged.
    """
    draw = random.Random(seed)
    acknowledged, kept, tried = 0, {}, {}
    for number in range(kills + 1):
        with serve(folder / f"start-{number}", models, engine) as server, Client(server.address) as client:
            found = dict(client.model(MODEL).status.routing.aliases)
            assert found in (kept, tried), (found, kept, tried)
            kept = found
            if number == kills:
                break
            killer = threading.Timer(draw.uniform(0.0, 0.5), server.signal, [signal.SIGKILL])
            killer.start()
            with suppress(ScorewireError):
                while True:
                    alias, version = f"a{acknowledged % 50}", draw.choice(["1.0.0", "1.1.0"])
                    tried = {**kept, alias: version}
                    client.set_alias(MODEL, alias, version)
                    acknowledged, kept = acknowledged + 1, tried
            killer.join()
            server.wait()
    return acknowledged


def shadow_costs(
    server: ServerProcess, folder: Path, *, rounds: int, calls: int, interval_ms: float
) -> dict[str, list[float]]:
    """Ratios of latency quantiles with all calls copied to a shadow, and without, in alternating rounds.

    The server has the versions 1.0.0, which answers, and 2.0.0-rc.1, which gets the
    copies. It should run on a core of its own, so that copies do not slow the generator
    down. Calls are sent at fixed times, with idle time between them.
    """
    _, core = cores()
    message = folder / "message"
    data = request(0).SerializeToString()
    message.write_bytes(http2.message(data))
    quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    ratios: dict[str, list[float]] = {name: [] for name in quantiles}
    with Client(server.address) as client:
        for number in range(rounds):
            found = {}
            for shadow in ("2.0.0-rc.1", None) if number % 2 else (None, "2.0.0-rc.1"):
                client.set_shadow(MODEL, shadow)
                before = _copies(client)
                with pinned(core):
                    took = paced_latencies_us(
                        server.address, message, calls=calls, interval_ms=interval_ms, folder=folder
                    )
                found[shadow] = np.quantile(took, list(quantiles.values()))
                wait_until(lambda: _copies(client) - before == (calls if shadow else 0), "all copies")  # noqa: B023 - used at once
            for name, ratio in zip(quantiles, found["2.0.0-rc.1"] / found[None], strict=True):
                ratios[name].append(float(ratio))
    return ratios


def _copies(client: Client) -> int:
    return sum(each.calls + each.dropped for each in client.statistics(MODEL) if each.shadow)


def shares(keys: int, weights: dict[str, int]) -> tuple[dict[str, int], float]:
    """The number of keys that each version of a split gets, and its p-value under the weights."""
    found = Counter(_picks(keys, weights))
    expected = [keys * weight / sum(weights.values()) for weight in weights.values()]
    counts = {version: found[version] for version in weights}
    return counts, float(chisquare(list(counts.values()), expected).pvalue)


def moves(keys: int, before: dict[str, int], after: dict[str, int]) -> dict[tuple[str, str], int]:
    """The number of keys that move between versions when weights change."""
    pairs = Counter(zip(_picks(keys, before), _picks(keys, after), strict=True))
    return {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}


def _picks(keys: int, weights: dict[str, int]) -> Iterator[str]:
    """The version that each key gets."""
    versions = list(weights)
    targets = [(split.seed_of(MODEL, version), weight) for version, weight in weights.items()]
    for key in range(keys):
        yield versions[split.pick(split.point_of(f"customer-{key}"), targets)]

"""Measures what the SDK adds to grpcio: `python -m tests.bench.sdk`.

One server runs on one core, and the clients run on the other. A call of grpcio, whose request is ready
as bytes and whose response stays bytes, and a call of the SDK with a dict follow each other, so that a
change of the machine's speed affects both, and neither finds the caches as it left them. The table has
medians. Streams and frames are only measured by themselves.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import click
import grpc
import grpc.aio

from scorewire import AsyncClient, Client
from scorewire._codec import Codec, Route
from scorewire._methods import GET_MODEL, PREDICT
from scorewire._models import model_from
from scorewire_proto.v1 import models_pb2
from tests.bench import servers
from tests.bench.measure import cores, pinned
from tests.bench.scored_model import NAME, ScoredModel, make_model

# Calls in a round.
TURN = 100
THREADS = 8
FRAME_ROWS = 5_000
_TIMEOUT_SECONDS = 10.0


@click.command(help=__doc__)
@click.option("--engine", type=click.Choice(["native", "reference"]), default="native", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--rows", type=click.IntRange(min=1), default=100_000, show_default=True, help="In a stream.")
@click.option("--quick", is_flag=True, help="A smoke test: one short round, whose numbers are meaningless.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(engine: str, rounds: int, rows: int, quick: bool, as_json: bool) -> None:
    if quick:
        rounds, rows = 1, 1_000
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        model = make_model(folder / "models", train_rows=1_000 if quick else 20_000)
        server_core, client_core = cores()
        with pinned(server_core):
            server = stack.enter_context(servers.engine(engine, folder, folder / "models"))
        stack.enter_context(pinned(client_core))
        found = measure(server.address, model, rounds=rounds, rows=rows)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo("| load | grpcio with bytes | SDK | SDK / grpcio |\n|---|---|---|---|")
    for load, numbers in found.items():
        cells = [f"{numbers[key]:,.4g}" if key in numbers else "" for key in ("grpcio", "sdk", "ratio")]
        click.echo(f"| {load} | {' | '.join(cells)} |")


def measure(address: str, model: ScoredModel, *, rounds: int, rows: int) -> dict[str, dict[str, float]]:
    """All measurements by load: of grpcio, of the SDK, and the ratio."""
    call = model.calls(rows_per_call=1, count=1)[0]
    names = [feature.name for feature in model.bundle.manifest.schema.features]
    row = dict(zip(names, model.rows[0].tolist(), strict=True))
    found = {}
    with grpc.insecure_channel(address) as channel, Client(address) as client:
        raw = channel.unary_unary(PREDICT.path)
        asked = models_pb2.GetModelRequest(model=NAME).SerializeToString()
        told = models_pb2.GetModelResponse.FromString(channel.unary_unary(GET_MODEL.path)(asked))
        problem = call.expectation.problem(PREDICT.response.FromString(raw(call.request)))
        assert not problem, problem
        assert client.predict(NAME, row).error is None

        def bare() -> object:
            return raw(call.request, timeout=_TIMEOUT_SECONDS)

        def full() -> object:
            return client.predict(NAME, row)

        found["one row, us a call"] = _in_turn(bare, full, rounds)
        with ThreadPoolExecutor(THREADS) as pool:
            pairs = [(_threaded(pool, bare), _threaded(pool, full)) for _ in range(rounds)]
            found[f"one row, {THREADS} threads, us a call"] = _medians(*zip(*pairs, strict=True))
        found["one row, asyncio, us a call"] = asyncio.run(_asynchronous(address, call.request, row, rounds))
        codec, route = Codec(model_from(told)), Route(model=NAME, version="")
        response = raw(call.request)
        found["one row, encoding alone, us"] = _each(lambda: codec.row_request(route, codec.encode(row)))
        found["one row, decoding alone, us"] = _each(
            lambda: codec.decode_row(PREDICT.response.FromString(response))
        )
        table = [dict(zip(names, each, strict=True)) for each in model.rows.tolist()]
        dicts = [table[i % len(table)] for i in range(rows)]
        matrix = model.rows.take(range(FRAME_ROWS), axis=0, mode="wrap")
        frames = [matrix] * max(1, rows // FRAME_ROWS)
        found[f"a stream of {rows:,} dicts, s"] = {
            "sdk": _seconds(lambda: _drain(client.predict_stream(NAME, dicts)))
        }
        found[f"a stream of {len(frames)} arrays of {FRAME_ROWS:,} rows, s"] = {
            "sdk": _seconds(lambda: _drain(client.predict_stream(NAME, frames)))
        }
        found[f"predict of a list of {FRAME_ROWS:,} dicts, s"] = {
            "sdk": _seconds(lambda: client.predict(NAME, dicts[:FRAME_ROWS]))
        }
    return found


def _in_turn(bare: Callable[[], object], full: Callable[[], object], rounds: int) -> dict[str, float]:
    """Microseconds of single calls of both kinds, one after the other."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds * TURN):
        for call, kept in zip((bare, full), times, strict=True):
            begin = time.perf_counter()
            call()
            kept.append((time.perf_counter() - begin) * 1e6)
    return _medians(*times)


def _medians(bare: Sequence[float], full: Sequence[float]) -> dict[str, float]:
    below, above = statistics.median(bare), statistics.median(full)
    return {"grpcio": below, "sdk": above, "ratio": above / below}


def _each(call: Callable[[], object]) -> dict[str, float]:
    """Microseconds of something that makes no call."""
    count = 20 * TURN
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return {"sdk": (time.perf_counter() - begin) / count * 1e6}


def _threaded(pool: ThreadPoolExecutor, call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for done in [pool.submit(lambda: [call() for _ in range(TURN)]) for _ in range(THREADS)]:
        done.result()
    return (time.perf_counter() - begin) / (THREADS * TURN) * 1e6


async def _asynchronous(address: str, request: bytes, row: dict[str, Any], rounds: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        client = await stack.enter_async_context(AsyncClient(address))
        raw = channel.unary_unary(PREDICT.path)

        def bare() -> Awaitable[object]:
            return raw(request, timeout=_TIMEOUT_SECONDS)

        def full() -> Awaitable[object]:
            return client.predict(NAME, row)

        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds * TURN):
            for call, kept in zip((bare, full), times, strict=True):
                begin = time.perf_counter()
                await call()
                kept.append((time.perf_counter() - begin) * 1e6)
        return _medians(*times)


def _seconds(load: Callable[[], object]) -> float:
    load()
    begin = time.perf_counter()
    load()
    return time.perf_counter() - begin


def _drain(results: Any) -> None:
    for result in results:
        assert result.version


if __name__ == "__main__":
    main()

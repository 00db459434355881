"""Messages that wait for their model are taken from the limits of their principals once, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from scorewire_proto.v1 import prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.access import (
    AccessOptions,
    AccessTable,
    Credential,
    Grant,
    Patterns,
    Principal,
    PrincipalLimits,
    Rate,
    Right,
)
from scorewire_server.engine.factory import choose_engine
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles
from tests.scorewire_server.engine.running import MESSAGE, RunningEngine, failure_of, until
from tests.scorewire_server.models import snapshot_of

KEY = "scorewire_00000001_" + 64 * "1"
SLOW = Rate(0.001, 2)
LIMITS = PrincipalLimits(calls=SLOW, rows=SLOW, in_flight=10)
SHOP = Principal("shop", {Right.PREDICT: Patterns(prefixes=("",))}, LIMITS)
METADATA = (("authorization", f"Bearer {KEY}"),)


async def _verify(_: Credential) -> Grant | None:
    return None


@asynccontextmanager
async def _running(engine: str) -> AsyncIterator[RunningEngine]:
    keys = {sha256(KEY.encode()).digest(): Grant(SHOP)}
    access = AccessOptions(
        table=AccessTable(principals={SHOP.name: SHOP}, keys=keys),
        verify=_verify,
        refused=lambda *_: None,
        audited=frozenset(),
    )
    made = choose_engine(engine).make(Settings(listen="127.0.0.1:0"), [], access=access)
    made.publish(snapshot_of(), loading=True)
    running = RunningEngine(made, await made.start())
    try:
        yield running
    finally:
        await running.channel.close()
        await made.stop(0)


async def test_a_message_that_waits_for_its_model_is_taken_once(engine: str, tmp_path: Path) -> None:
    path = bundles.write_sum_bundle(tmp_path)
    kind = choose_engine(engine)
    record = load(BundleFolder(path, path.parent.name, path.name), lambda graph: kind.open_session(graph, 1))
    assert record.loaded is not None, record.reason
    async with _running(engine) as running:
        statistics = lambda: running.engine.statistics.principals["shop"]  # noqa: E731 - one expression
        unary = asyncio.ensure_future(running.unary(metadata=METADATA))
        stream = running.stream(metadata=METADATA)
        await stream.write(MESSAGE)
        await until(lambda: statistics().calls == 2)
        # Each of these has the messages read again.
        for _ in range(5):
            running.engine.publish(snapshot_of(), loading=True)
            await asyncio.sleep(0)
        running.engine.publish(snapshot_of(record.loaded))
        assert prediction_pb2.PredictResponse.FromString(await unary).version == "1.0.0"
        answer = prediction_pb2.PredictStreamResponse.FromString(await stream.read())
        assert answer.HasField("response")
        counts = statistics()
        assert (counts.calls, counts.rows, sum(counts.refused.values())) == (2, 2, 0)
        assert (await failure_of(running.unary(metadata=METADATA))).reason == "CALLER_LIMIT"
        await stream.done_writing()

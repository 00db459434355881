"""What the predictor hands to the records, and the choice of what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from scorewire_contract.bundle import Bundle
from scorewire_contract.patterns import Patterns
from scorewire_contract.records.identity import PredictionId
from scorewire_contract.records.rows import KEPT
from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.engine import split
from scorewire_server.engine.access import Principal, Right
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.encodings.methods import METHODS, PredictionMethod, typed_method
from scorewire_server.engine.interpreted.predictor import Limits, Predictor
from scorewire_server.engine.interpreted.recording import RecordLanes, choose
from scorewire_server.engine.peer import Peer
from scorewire_server.engine.recording import Sources
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Shadow, Snapshot
from scorewire_server.engine.statistics import RouteKey
from scorewire_server.errors import CallError
from scorewire_server.settings import Settings
from tests.conformance.wire import sum_request
from tests.scorewire_server.engine.recorded import START, SUM, NotedLane, source_of
from tests.scorewire_server.engine.running import TYPED_PATH, until
from tests.scorewire_server.models import Gate, loaded_version, snapshot_of, zeros

PREDICT, PREDICT_STREAM = METHODS[:2]
INFER = next(each for each in METHODS if each.path.endswith("/ModelInfer"))
PEER = Peer("[::1]:4711")
SHOP = Principal("shop", {Right.PREDICT: Patterns(prefixes=("",))})
ALL = {RouteKey("sum", "1.0.0", ""): source_of()}
BAD_ROW = sum_request([float("nan"), 1.0], ["PL"])
TYPED = typed_method(TYPED_PATH, "sum", 1, (("scorewire-routing-key", "typed"),))
SHADOW_KEY = RouteKey("sum", "2.0.0", "", shadow=True)


class Recorded:
    """A predictor, and what it hands to two lanes."""

    def __init__(self, **limits: int) -> None:
        self.answers, self.shadows = NotedLane(0), NotedLane(1)
        lanes = RecordLanes(self.answers, self.shadows)
        self.predictor = Predictor(Limits.of(Settings(**limits)), ThreadPoolExecutor(1), lanes)

    async def answer(
        self, method: PredictionMethod, data: bytes, principal: Principal | None = None
    ) -> bytes:
        context = CallContext(method.path, peer=PEER, principal=principal)
        return await self.predictor.answer(method, context, data)

    async def predict(
        self, request: prediction_pb2.PredictRequest, principal: Principal | None = None
    ) -> prediction_pb2.PredictResponse:
        data = await self.answer(PREDICT, request.SerializeToString(), principal)
        return prediction_pb2.PredictResponse.FromString(data)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    recorded = Recorded()
    yield recorded
    recorded.predictor.close()


def shadowed(version: LoadedVersion, shadow: LoadedVersion) -> Snapshot:
    """A snapshot in which every prediction is copied to a shadow."""
    routing = Routing(split=((version.version, 1),), shadow=Shadow(shadow.version, 1.0))
    return snapshot_of(version, shadow, sum=routing)


def with_shadow(source: Sources) -> Sources:
    return {**source, SHADOW_KEY: source_of(replace(SUM, source=2, version="2.0.0", kind="shadow"))}


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize(("keep_errors", "keep_shadowed"), [(False, False), (False, True), (True, False)])
def test_errors_and_shadowed_predictions_are_kept_where_the_policy_says_so(
    error: bool, copied: bool, keep_errors: bool, keep_shadowed: bool
) -> None:
    source = source_of(share=0.0, keep_errors=keep_errors, keep_shadowed=keep_shadowed)
    always = (error and keep_errors) or (copied and keep_shadowed)
    assert choose(source, "key", error=error, shadowed=copied) == (KEPT if always else None)
    assert choose(replace(source, share=1.0), "key", error=error, shadowed=copied) == 0


def test_a_key_decides_for_itself_and_calls_without_a_key_are_sampled_at_random() -> None:
    source = source_of(share=0.3, by_key=True)

    def sampled(key: str) -> bool:
        return choose(source, key, error=False, shadowed=False) == 0

    for key in (f"customer-{i}" for i in range(100)):
        assert all(sampled(key) == split.samples(key, 0.3) for _ in range(10))
    assert 2_500 < sum(sampled("") for _ in range(10_000)) < 3_500
    by_chance = replace(source, by_key=False)
    found = sum(choose(by_chance, "k", error=False, shadowed=False) == 0 for _ in range(10_000))
    assert 2_500 < found < 3_500


async def test_a_record_has_what_is_known_of_the_prediction(recorded: Recorded, sum_bundle: Bundle) -> None:
    recorded.predictor.publish(snapshot_of(loaded_version(sum_bundle, zeros)), sources=ALL)
    request = sum_request([1.0, 2.0, 3.0, float("nan")], ["PL", ""], row_count=2, routing_key="customer")
    first, second = [await recorded.predict(request) for _ in range(2)]
    assert first.prediction_id == "019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000-0"
    assert second.prediction_id == "019aa1b2-c3d4-7e5f-8a9b-0c1d2e3f0000-1"
    record = recorded.answers.records[1]
    assert (record.flags, record.row_count) == (0, 2)
    assert (record.caller, record.principal, record.routing_key) == ("::1", "", "customer")
    assert record.source is ALL[RouteKey("sum", "1.0.0", "")]
    assert record.numbers.tobytes() == np.array(request.rows.numbers, "<f8").tobytes()
    assert list(record.texts) == ["PL", ""]
    assert (record.server_us, record.model_us) == (second.server_time_us, second.model_time_us)
    assert [error.row for error in record.scores.errors] == [error.row for error in second.errors]
    assert record.message_bytes == len(request.SerializeToString())
    assert record.original is None


@pytest.mark.parametrize("share", [1.0, 0.0])
async def test_only_predictions_of_recorded_routes_are_offered(
    recorded: Recorded, sum_bundle: Bundle, share: float
) -> None:
    sources = {RouteKey("sum", "1.0.0", "1.0.0"): source_of(share=share)}
    recorded.predictor.publish(snapshot_of(loaded_version(sum_bundle, zeros)), sources=sources)
    assert (await recorded.predict(sum_request())).prediction_id == ""
    named = await recorded.predict(sum_request(version="1.0.0"))
    assert bool(named.prediction_id) == bool(share)
    assert len(recorded.answers.records) == bool(share)
    assert recorded.answers.left_out == ([] if share else [1])


async def test_a_call_that_fails_has_no_record_and_leaves_no_gap(sum_bundle: Bundle) -> None:
    recorded = Recorded(max_message_bytes=1024)
    recorded.predictor.publish(snapshot_of(loaded_version(sum_bundle, zeros)), sources=ALL)
    assert TYPED is not None
    tensors = inference_pb2.ModelInferRequest(model_name="sum")
    tensors.inputs.add(name="x0", datatype="FP64", shape=[1, 1]).contents.fp64_contents.append(float("nan"))
    too_long = sum_request([1.0] * 400, [""] * 200, row_count=200)
    for method, data in (
        (PREDICT, b"\xff"),
        (PREDICT, sum_request(model="other").SerializeToString()),
        # A row's error fails the call; so does an answer that is too long.
        (TYPED, b""),
        (INFER, tensors.SerializeToString()),
        (PREDICT, too_long.SerializeToString()),
    ):
        with pytest.raises(CallError):
            await recorded.answer(method, data)
    assert recorded.answers.records == recorded.answers.left_out == []
    answer = await recorded.predict(BAD_ROW)
    assert answer.errors
    assert answer.prediction_id.endswith("-0")
    assert len(recorded.answers.records) == 1
    recorded.predictor.close()


async def test_a_prediction_keeps_the_source_of_its_route_when_others_are_published(
    recorded: Recorded, sum_bundle: Bundle
) -> None:
    gate = Gate()
    recorded.predictor.publish(snapshot_of(loaded_version(sum_bundle, gate.run, row_ns=1e9)), sources=ALL)
    call = asyncio.ensure_future(recorded.predict(sum_request()))
    assert await asyncio.to_thread(gate.entered.acquire, timeout=60)
    recorded.predictor.publish(snapshot_of())
    gate.open.set()
    assert (await call).prediction_id.endswith("-0")
    assert len(recorded.answers.records) == 1


async def test_a_typed_call_is_recorded_with_the_key_of_its_metadata(
    recorded: Recorded, sum_bundle: Bundle
) -> None:
    assert TYPED is not None
    recorded.predictor.publish(snapshot_of(loaded_version(sum_bundle, zeros)), sources=ALL)
    version = loaded_version(sum_bundle, zeros)
    row = version.typed._row(x0=1.0, x1=2.0, country="PL")
    data = await recorded.answer(TYPED, row.SerializeToString())
    prediction = version.typed._prediction.FromString(data)
    assert prediction.prediction_id == f"{recorded.answers.name}-0"
    (record,) = recorded.answers.records
    assert (record.routing_key, list(record.texts)) == ("typed", ["PL"])


async def test_a_shadows_record_points_to_its_original(recorded: Recorded, sum_bundle: Bundle) -> None:
    version = loaded_version(sum_bundle, zeros)
    shadow = replace(version, version="2.0.0")
    policy = source_of(share=0.0, keep_shadowed=True)
    sources = with_shadow({RouteKey("sum", "1.0.0", ""): policy})
    recorded.predictor.publish(shadowed(version, shadow), sources=sources)
    for key in ("a", "b"):
        assert (await recorded.predict(sum_request(routing_key=key), SHOP)).prediction_id
    await until(lambda: len(recorded.shadows.records) == 2)
    for sequence, record in enumerate(recorded.shadows.records):
        assert record.source is sources[SHADOW_KEY]
        assert (record.flags, record.original) == (KEPT, PredictionId(START, 0, sequence))
        assert (record.caller, record.principal, record.routing_key) == ("::1", "shop", "ab"[sequence])
        assert recorded.answers.records[sequence].principal == "shop"
        assert record.numbers.tolist() == recorded.answers.records[sequence].numbers.tolist()


async def test_a_copy_of_a_prediction_without_a_record_has_none(
    recorded: Recorded, sum_bundle: Bundle
) -> None:
    version = loaded_version(sum_bundle, zeros)
    sources = with_shadow({RouteKey("sum", "1.0.0", ""): source_of(share=0.0)})
    recorded.predictor.publish(shadowed(version, replace(version, version="2.0.0")), sources=sources)
    assert not (await recorded.predict(sum_request())).prediction_id
    assert TYPED is not None
    with pytest.raises(CallError):
        await recorded.answer(TYPED, b"")
    # The typed call failed after its rows were scored, so it is copied, but has no record.
    await until(lambda: len(recorded.shadows.left_out) == 2)
    assert recorded.shadows.records == recorded.answers.records == []
    assert recorded.answers.left_out == [1]

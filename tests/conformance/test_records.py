"""What an engine records: each answer names its record, and the spool has what was answered."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pytest
from grpc import aio

from scorewire_contract.records.hashing import hash_number, hash_text
from scorewire_contract.records.identity import PredictionId, new_start
from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import errors_pb2, models_pb2, prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine import split
from scorewire_server.engine.access import AccessOptions
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.recording import NO_SOURCES, RecordedSource, RecordOptions, Sources
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Shadow, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.loading.loader import load
from scorewire_server.records.policy import ModelPolicy, Policy
from scorewire_server.records.sources import SourceNumbers, sources_of
from scorewire_server.settings import Settings
from tests import bundles
from tests.conformance import inference
from tests.conformance.typed import TypedMessages
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.keyed import key_access, with_key
from tests.recorded import Recorded, Spool, read_spool

NAN = float("nan")
MISSING = errors_pb2.ERROR_REASON_MISSING_VALUE
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of `sum`, and models with classes and with texts."""
    folder = tmp_path_factory.mktemp("models")
    return [
        bundles.write_sum_bundle(folder),
        bundles.write_sum_bundle(folder, version="1.1.0", offset=100.0),
        bundles.write_classifier_bundle(folder),
        bundles.write_tensor_bundle(folder),
    ]


class Recording:
    """A running engine that records, and a channel to it."""

    def __init__(
        self, engine: Any, channel: aio.Channel, folder: Path, loaded: dict[str, LoadedVersion]
    ) -> None:
        self.engine = engine
        self.channel = channel
        self.folder = folder
        self.loaded = loaded
        self._numbers = SourceNumbers()

    def publish(self, policy: ModelPolicy | None = None, routing: Routing | None = None) -> Sources:
        """Serve all versions, and record by a policy."""
        snapshot = build_snapshot(
            [
                VersionRecord(each.model, each.version, models_pb2.VERSION_STATE_SERVING, loaded=each)
                for each in self.loaded.values()
            ],
            {"sum": routing or Routing(split=(("1.0.0", 1),))},
        )
        policies = Policy(default=policy or ModelPolicy(), hash_key=KEY)
        sources = sources_of(snapshot, policies, self._numbers)
        self.engine.publish(snapshot, sources=sources)
        return sources

    async def call(self, path: str, request: Any, **options: Any) -> bytes:
        method: Any = self.channel.unary_unary(path)
        answer: bytes = await method(request.SerializeToString(), timeout=60, **options)
        return answer

    async def stream(self, path: str, requests: Iterable[Any], **options: Any) -> list[bytes]:
        stream: Any = self.channel.stream_stream(path)(
            iter([request.SerializeToString() for request in requests]), timeout=60, **options
        )
        return [answer async for answer in stream]

    async def predict(self, *arguments: Any, **fields: Any) -> prediction_pb2.PredictResponse:
        answer = await self.call(PREDICT, sum_request(*arguments, **fields))
        return prediction_pb2.PredictResponse.FromString(answer)

    async def stop(self) -> Spool:
        """Stop the engine, which answers all calls first, and read its spool."""
        await self.channel.close()
        await self.engine.stop(20)
        spool = read_spool(self.folder)
        counts = self.engine.records
        assert spool.is_closed
        assert not counts.problem
        assert counts.buffered == 0
        assert counts.offered == counts.sampled_out + sum(counts.dropped.values()) + counts.spooled
        assert counts.spooled == sum(map(len, spool.predictions.values()))
        assert counts.sampled_out == sum(ledger.sampled_out.rows for ledger in spool.ledgers)
        if not any(counts.dropped.values()):
            assert_no_gaps(spool)
        return spool


def assert_no_gaps(spool: Spool) -> None:
    """Each writer has given its numbers one after the other, and each has a record."""
    found = Counter(identity.writer for identity in spool.predictions)
    for writer, ledger in enumerate(spool.ledgers):
        assert ledger.next_sequence == found[writer] == ledger.spooled.predictions
        sequences = {identity.sequence for identity in spool.predictions if identity.writer == writer}
        assert sequences == set(range(found[writer]))


Start = Callable[..., Awaitable[Recording]]


@pytest.fixture
async def start(engine: str, models: list[Path], tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an engine that records everything."""
    running: list[Recording] = []

    async def start_one(
        *,
        ring_bytes: int = 8 << 20,
        policy: ModelPolicy | None = None,
        access: AccessOptions | None = None,
        **settings: Any,
    ) -> Recording:
        kind = choose_engine(engine)
        folder = tmp_path / f"records-{len(running)}"
        made = kind.make(
            Settings(**({"listen": "127.0.0.1:0", "threads": 2} | settings)),
            [],
            RecordOptions(folder=folder, start=new_start(), ring_bytes=ring_bytes, free_bytes=0),
            access=access,
        )
        loaded = {}
        for path in models:
            record = load(
                BundleFolder(path, path.parent.name, path.name), partial(kind.open_session, threads=1)
            )
            assert record.loaded is not None, record.reason
            loaded[f"{path.parent.name}/{path.name}"] = record.loaded
        address = (await made.start()).replace("[::]", "127.0.0.1")
        channel = aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        running.append(Recording(made, channel, folder, loaded))
        running[-1].publish(policy)
        return running[-1]

    yield start_one
    for each in running:
        await each.channel.close()
        await each.engine.stop(0)


def bits(values: Any) -> bytes:
    """The bits of numbers, whatever their nesting."""
    return np.asarray(values, dtype="<f8").tobytes()


def assert_answered(
    spool: Spool, request: prediction_pb2.PredictRequest, answer: prediction_pb2.PredictResponse
) -> Recorded:
    """The record that an answer names has what was asked and what was answered, bit for bit."""
    record = spool.predictions[PredictionId.parse(answer.prediction_id)]
    assert (record.source.model, record.source.version) == (answer.model, answer.version)
    assert record.source.route == request.version
    assert (record.caller, record.principal, record.routing_key) == ("127.0.0.1", "", request.routing_key)
    assert (record.server_us, record.model_us) == (answer.server_time_us, answer.model_time_us)
    assert len(record) == answer.row_count
    assert bits(record.numbers) == bits(request.rows.numbers)
    assert [text for row in record.texts for text in row] == list(request.rows.texts)
    for output, found in zip(answer.outputs, record.outputs, strict=True):
        if output.texts:
            assert [text for row in found for text in row] == list(output.texts)
        else:
            assert bits(found) == bits(output.numbers)
    assert record.errors == [(error.row, error.reason, error.feature) for error in answer.errors]
    return record


async def test_every_method_names_its_record(start: Start) -> None:
    running = await start()
    typed = TypedMessages(running.loaded["sum/1.0.0"])
    row = {"x0": 1.0, "x1": 2.0, "country": "de"}
    tensors = inference.infer_request("sum", inference.sum_tensors())
    message = prediction_pb2.PredictStreamRequest(correlation_id=7, request=sum_request())
    before = time()
    told = [prediction_pb2.PredictResponse.FromString(await running.call(PREDICT, sum_request()))]
    told += [
        prediction_pb2.PredictStreamResponse.FromString(answer).response
        for answer in await running.stream(PREDICT_STREAM, [message] * 2)
    ]
    named = [answer.prediction_id for answer in told]
    one = typed.prediction.FromString(await running.call(f"{typed.path}/Predict", typed.row(**row)))
    named.append(one.prediction_id)
    streamed = await running.stream(f"{typed.path}/PredictStream", [typed.row(**row)] * 2)
    named += [typed.prediction.FromString(answer).prediction_id for answer in streamed]
    infer = inference_pb2.ModelInferResponse.FromString(await running.call(inference.INFER, tensors))
    infers = [
        inference_pb2.ModelStreamInferResponse.FromString(answer).infer_response
        for answer in await running.stream(inference.STREAM, [tensors] * 2)
    ]
    named += [each.parameters["prediction_id"].string_param for each in (infer, *infers)]
    batch = typed.predictions.FromString(
        await running.call(f"{typed.path}/PredictBatch", typed.rows(rows=[row, {"x1": 1.0}, row]))
    )
    (of_batch,) = {each.prediction_id for each in batch.predictions}
    spool = await running.stop()
    for answer in told:
        assert_answered(spool, sum_request(), answer)
    assert set(named) | {of_batch} == set(map(str, spool.predictions))
    assert len(named) == 9
    for identity, record in spool.predictions.items():
        assert before - 1 < record.time_us / 1e6 < time() + 1
        assert record.server_us >= record.model_us
        if str(identity) == of_batch:
            assert record.texts == [["de"], [""], ["de"]]
            assert bits(record.numbers) == bits([[1, 2], [NAN, 1], [1, 2]])
            assert bits(record.outputs) == bits([[[4], [NAN], [4]]])
            assert record.errors == [(1, MISSING, "x0")]
        else:
            assert (record.numbers, record.texts) == ([[1.0, 2.0]], [["de"]])
            assert (record.outputs, record.errors) == ([[[4.0]]], [])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_callers_by_ipv4_are_known_by_it_where_both_families_are_served(start: Start) -> None:
    running = await start(listen="[::]:0")
    halves = inference.infer_request("sum", inference.sum_tensors() | {"x0": ("FP16", [1, 1], (1.0,))})
    await running.predict()
    await running.call(inference.INFER, halves)
    spool = await running.stop()
    assert [record.caller for record in spool.predictions.values()] == ["127.0.0.1"] * 2


async def test_large_batches_are_recorded_row_by_row(start: Start) -> None:
    running = await start()
    count = 10_000
    numbers = np.random.default_rng(1).normal(size=2 * count)
    numbers[:-1:14] = NAN
    texts = ["de" * (i % 40) for i in range(count)]
    request = sum_request(numbers.tolist(), texts, row_count=count, routing_key="batch")
    answers = await asyncio.gather(*(running.call(PREDICT, request) for _ in range(3)))
    spool = await running.stop()
    assert len(spool.predictions) == len(answers)
    for answer in map(prediction_pb2.PredictResponse.FromString, answers):
        record = assert_answered(spool, request, answer)
        assert record.parts > 1
        assert len(record.errors) > count // 10


async def test_outputs_of_all_kinds_are_recorded(start: Start) -> None:
    running = await start()
    rows = prediction_pb2.Rows(row_count=3, numbers=[0.5, NAN, -3.0])
    classes = prediction_pb2.PredictRequest(model="classes", rows=rows)
    rows = prediction_pb2.Rows(
        row_count=4, numbers=[1, -2, 3, 0.5, 5, NAN, 7, 8], texts=["ß", "b", "", "日本" * 50]
    )
    texts = prediction_pb2.PredictRequest(model="tensors", rows=rows)
    answers = [
        (request, prediction_pb2.PredictResponse.FromString(await running.call(PREDICT, request)))
        for request in (classes, texts, texts)
    ]
    # Of tensors the caller may ask for some; the record has all.
    tensors = inference.infer_request(
        "tensors", {"pair": ("INT32", [1, 2], [3, 4]), "word": ("BYTES", [1], ["ß"])}
    )
    tensors.outputs.add(name="twice")
    infer = inference_pb2.ModelInferResponse.FromString(await running.call(inference.INFER, tensors))
    spool = await running.stop()
    for request, answer in answers:
        assert assert_answered(spool, request, answer).errors
    record = spool.predictions[PredictionId.parse(infer.parameters["prediction_id"].string_param)]
    assert record.outputs == [[[6.0, 8.0]], [["ß"]]]


async def test_tensors_of_every_form_are_recorded(start: Start) -> None:
    """The native engine has the control plane read forms that few callers use."""
    running = await start()
    tensors = inference.sum_tensors((1.0, 5.0), (2.0, 6.0), ("de", "pe"))
    usual = inference.infer_request("sum", tensors)
    usual.parameters["routing_key"].string_param = "key"
    halves = tensors | {"x0": ("FP16", [2, 1], (1.0, 5.0))}
    unusual = inference.infer_request("sum", halves)
    unusual.parameters["routing_key"].string_param = "key"
    named = []
    for request in (usual, unusual, unusual):
        answer = inference_pb2.ModelInferResponse.FromString(await running.call(inference.INFER, request))
        named.append(answer.parameters["prediction_id"].string_param)
        assert inference.told(answer) == {"value": [4.0, 13.0]}
    spool = await running.stop()
    for record in (spool.predictions[PredictionId.parse(name)] for name in named):
        assert (record.caller, record.routing_key, record.errors) == ("127.0.0.1", "key", [])
        assert (record.numbers, record.texts) == ([[1.0, 2.0], [5.0, 6.0]], [["de"], ["pe"]])
        assert record.outputs == [[[4.0], [13.0]]]


async def test_calls_that_fail_have_no_record_and_leave_no_gap(start: Start) -> None:
    running = await start(max_message_bytes=1 << 16)
    typed = TypedMessages(running.loaded["sum/1.0.0"])
    long = sum_request([1.0, 2.0] * 100, [""] * 100, row_count=100)
    infer = inference.infer_request("sum", inference.sum_tensors((NAN,)))
    # The answers to these are longer than allowed.
    rows = prediction_pb2.Rows(row_count=5_000, numbers=[0.5] * 5_000)
    many = prediction_pb2.PredictRequest(model="classes", rows=rows)
    many_tensors = inference.infer_request("classes", {"x": ("FP64", [5_000, 1], [0.5] * 5_000)})
    answers = []
    for path, failing in (
        (PREDICT, sum_request(model="nobody")),
        (PREDICT, sum_request([1.0])),
        (f"{typed.path}/Predict", typed.row(x1=1.0)),
        (inference.INFER, infer),
        (PREDICT, many),
        (inference.INFER, many_tensors),
    ):
        answers.append(await running.predict())
        with pytest.raises(aio.AioRpcError):
            await running.call(path, failing)
    answers.append(prediction_pb2.PredictResponse.FromString(await running.call(PREDICT, long)))
    spool = await running.stop()
    assert {answer.prediction_id for answer in answers} == set(map(str, spool.predictions))
    assert len(answers) == 7


async def test_a_share_of_the_routing_keys_is_recorded(start: Start) -> None:
    running = await start(policy=ModelPolicy(share=0.3, sample_by="routing_key"))
    keys = [f"customer-{i}" for i in range(200)]
    typed = TypedMessages(running.loaded["sum/1.0.0"])
    kept = Counter[str]()
    for key in keys:
        answer = await running.predict(routing_key=key)
        row = typed.row(x0=1.0)
        metadata = (("scorewire-routing-key", key),)
        prediction = typed.prediction.FromString(
            await running.call(f"{typed.path}/Predict", row, metadata=metadata)
        )
        assert bool(answer.prediction_id) == prediction.HasField("prediction_id") == split.samples(key, 0.3)
        kept[key] += 2 * bool(answer.prediction_id)
    spool = await running.stop()
    assert Counter(record.routing_key for record in spool.predictions.values()) == +kept
    assert not any(record.kept for record in spool.predictions.values())
    assert {record.source.share for record in spool.predictions.values()} == {0.3}
    assert running.engine.records.sampled_out == 2 * len(keys) - kept.total()


async def test_calls_without_a_key_are_recorded_at_random(start: Start) -> None:
    running = await start(policy=ModelPolicy(share=0.5, sample_by="routing_key"))
    answers = [await running.predict() for _ in range(300)]
    named = {answer.prediction_id for answer in answers} - {""}
    # Fails by chance less than once in 10^9 runs.
    assert 95 < len(named) < 205
    assert named == set(map(str, (await running.stop()).predictions))


async def test_rows_with_errors_are_kept_and_marked(start: Start) -> None:
    running = await start(policy=ModelPolicy(share=0.0, keep_errors=True))
    good, bad = await running.predict(), await running.predict([NAN, 1.0, 1.0, 2.0], ["", ""], 2)
    assert not good.prediction_id
    spool = await running.stop()
    (record,) = spool.predictions.values()
    assert str(*spool.predictions) == bad.prediction_id
    assert record.kept
    assert record.errors == [(0, MISSING, "x0")]
    assert running.engine.records.sampled_out == 1


def name_of(answer: inference_pb2.ModelInferResponse) -> PredictionId:
    return PredictionId.parse(answer.parameters["prediction_id"].string_param)


async def test_every_record_has_the_principal_that_called(start: Start) -> None:
    """Of unary calls, messages of streams, typed calls, and what the native engine has Python answer."""
    running = await start(access=key_access("shop", "game"))
    running.publish(routing=Routing(split=(("1.0.0", 1),), shadow=Shadow("1.1.0", 1.0)))
    typed = TypedMessages(running.loaded["sum/1.0.0"])
    tensors = inference.sum_tensors()
    halves = inference.infer_request("sum", tensors | {"x0": ("FP16", [1, 1], (1.0,))})
    expected: dict[PredictionId, str] = {}
    for name in ("shop", "game", "shop"):
        options: Any = {"metadata": [with_key(name)]}
        one = await running.call(PREDICT, sum_request(), **options)
        named = [PredictionId.parse(prediction_pb2.PredictResponse.FromString(one).prediction_id)]
        messages = [prediction_pb2.PredictStreamRequest(request=sum_request())] * 2
        for data in await running.stream(PREDICT_STREAM, messages, **options):
            answer = prediction_pb2.PredictStreamResponse.FromString(data)
            named.append(PredictionId.parse(answer.response.prediction_id))
        row = typed.row(x0=1.0, x1=2.0, country="de")
        data = await running.call(f"{typed.path}/Predict", row, **options)
        named.append(PredictionId.parse(typed.prediction.FromString(data).prediction_id))
        for request in (inference.infer_request("sum", tensors), halves):
            data = await running.call(inference.INFER, request, **options)
            named.append(name_of(inference_pb2.ModelInferResponse.FromString(data)))
        expected |= dict.fromkeys(named, name)
        # The shadow takes a bounded number of copies.
        rows = 2 * len(expected)
        await _until(lambda rows=rows: running.engine.records.offered == rows)
    spool = await running.stop()
    copies = {each.original: each.principal for each in spool.predictions.values() if each.source.is_shadow}
    found = {
        identity: each.principal for identity, each in spool.predictions.items() if not each.source.is_shadow
    }
    assert found == copies == expected


async def test_principals_are_recorded_as_the_policy_says(start: Start) -> None:
    running = await start(access=key_access("shop"))
    options: Any = {"metadata": [with_key("shop")]}
    for treatment in ("drop", "hash", "keep"):
        running.publish(ModelPolicy(principal=treatment))
        await running.call(PREDICT, sum_request(routing_key=treatment), **options)
    spool = await running.stop()
    found = {each.routing_key: each.principal for each in spool.predictions.values()}
    assert found == {"drop": "", "hash": hash_text("shop", KEY), "keep": "shop"}


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_a_shadow_s_record_names_the_original(start: Start, share: float) -> None:
    running = await start()
    policy = ModelPolicy(share=share, keep_shadowed=True)
    running.publish(policy, Routing(split=(("1.0.0", 1),), shadow=Shadow("1.1.0", 1.0)))
    requests = [sum_request([float(i), 2.0], ["de"], routing_key=f"key-{i}") for i in range(5)]
    halves = inference.infer_request("sum", inference.sum_tensors() | {"x0": ("FP16", [1, 1], (1.0,))})
    answers = []
    for i, request in enumerate(requests):
        answers.append(prediction_pb2.PredictResponse.FromString(await running.call(PREDICT, request)))
        await _until(lambda i=i: running.engine.records.offered == 2 * (i + 1))
    unusual = inference_pb2.ModelInferResponse.FromString(await running.call(inference.INFER, halves))
    await _until(lambda: running.engine.records.offered == 2 * (len(requests) + 1))
    spool = await running.stop()
    originals = {identity for identity, each in spool.predictions.items() if not each.source.is_shadow}
    names = [answer.prediction_id for answer in answers]
    assert originals == set(
        map(PredictionId.parse, [*names, unusual.parameters["prediction_id"].string_param])
    )
    copies = {each.original: each for each in spool.predictions.values() if each.source.is_shadow}
    assert copies.keys() == originals
    for original, copy in copies.items():
        assert original is not None
        record = spool.predictions[original]
        assert (record.kept, copy.kept) == (share == 0,) * 2
        assert (record.source.kind, copy.source.kind) == ("default", "shadow")
        assert copy.source.version == "1.1.0"
        assert (copy.numbers, copy.texts) == (record.numbers, record.texts)
        assert (copy.caller, copy.routing_key) == (record.caller, record.routing_key)
        assert copy.outputs == [[[record.outputs[0][0][0] + 100.0]]]


async def test_a_shadow_of_a_prediction_that_is_left_out_is_left_out_too(start: Start) -> None:
    running = await start()
    running.publish(ModelPolicy(share=0.0), Routing(shadow=Shadow("1.0.0", 1.0)))
    for _ in range(3):
        assert not (await running.predict()).prediction_id
    await _until(lambda: running.engine.records.offered == 6)
    assert not (await running.stop()).predictions
    assert running.engine.records.sampled_out == 6


async def test_what_the_policy_hides_is_not_in_the_spool(start: Start) -> None:
    features: Any = {"x0": "hash", "x1": "drop", "country": "hash"}
    running = await start()
    running.publish(
        ModelPolicy(caller="drop", routing_key="hash", features=features), Routing(split=(("1.0.0", 1),))
    )
    await running.predict([1.5, 7.25, NAN, 7.25], ["secret-country", ""], 2, routing_key="secret-key")
    (record,) = (await running.stop()).predictions.values()
    assert record.caller == ""
    assert record.routing_key == hash_text("secret-key", KEY)
    assert record.source.texts == ("x0", "country")
    assert record.texts == [[hash_number(1.5, KEY), hash_text("secret-country", KEY)], ["", ""]]
    content = b"".join(path.read_bytes() for path in running.folder.rglob("*.segment"))
    for hidden in (b"secret", struct.pack("<d", 7.25), struct.pack("<d", 1.5), b"127.0.0.1"):
        assert hidden not in content


async def test_a_route_without_a_source_is_not_recorded(start: Start) -> None:
    running = await start()
    snapshot = build_snapshot(
        [VersionRecord("sum", "1.0.0", models_pb2.VERSION_STATE_SERVING, loaded=running.loaded["sum/1.0.0"])]
    )
    running.engine.publish(snapshot, sources=NO_SOURCES)
    assert not (await running.predict()).prediction_id
    assert not (await running.stop()).predictions
    assert running.engine.records.offered == 0


async def test_a_call_that_does_not_fit_is_counted_and_leaves_its_number(start: Start) -> None:
    running = await start(ring_bytes=1 << 16)
    count = 10_000
    first = await running.predict()
    large = await running.predict([1.0, 2.0] * count, ["de"] * count, count)
    assert large.row_count == count
    assert large.prediction_id
    last = await running.predict([1.0, 2.0] * 2, ["de"] * 2, 2)
    spool = await running.stop()
    assert set(map(str, spool.predictions)) == {first.prediction_id, last.prediction_id}
    counts = running.engine.records
    assert (counts.dropped["too_large"], counts.spooled) == (count, 3)
    given = sum(ledger.next_sequence for ledger in spool.ledgers)
    assert given == len(spool.predictions) + 1


async def test_calls_at_the_same_time_are_all_recorded(start: Start) -> None:
    running = await start()
    requests = [
        sum_request([i, 0.5] * (1 + i % 3), ["de"] * (1 + i % 3), row_count=1 + i % 3) for i in range(600)
    ]
    answers = await asyncio.gather(*(running.call(PREDICT, request) for request in requests))
    spool = await running.stop()
    assert len(spool.predictions) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        assert_answered(spool, request, prediction_pb2.PredictResponse.FromString(answer))


async def test_policies_that_change_during_calls_lose_no_record_and_are_forgotten(
    start: Start, engine: str
) -> None:
    running = await start()
    halves = inference.sum_tensors((1.0,), (2.0,), ("de",)) | {"x0": ("FP16", [1, 1], (1.0,))}
    unusual = inference.infer_request("sum", halves)
    named: list[str] = []
    stopped = False

    async def call() -> None:
        while not stopped:
            named.append((await running.predict()).prediction_id)
            answer = await running.call(inference.INFER, unusual)
            found = inference_pb2.ModelInferResponse.FromString(answer)
            named.append(found.parameters["prediction_id"].string_param)

    callers = [asyncio.create_task(call()) for _ in range(4)]
    seen: list[weakref.ref[RecordedSource]] = []
    for days in range(1, 201):
        seen += map(weakref.ref, running.publish(ModelPolicy(retention_days=days)).values())
        await running.predict()
    stopped = True
    await asyncio.gather(*callers)
    published = running.publish()
    gc.collect()
    assert len(seen) == 200 * len(published)
    await running.predict()
    # The reference engine's spool keeps a few.
    most = 0 if engine == "native" else 256
    await _until(lambda: sum(source() is not None for source in seen) <= most)
    spool = await running.stop()
    assert set(named) <= set(map(str, spool.predictions))
    assert len(spool.predictions) == len(named) + 201
    assert len({record.source.retention_days for record in spool.predictions.values()}) > 100


async def test_all_that_was_answered_before_the_stop_is_in_the_spool(start: Start) -> None:
    running = await start()
    answered: list[bytes] = []

    async def call_until_it_stops() -> None:
        while True:
            answered.append(await running.call(PREDICT, sum_request()))

    callers = [asyncio.create_task(call_until_it_stops()) for _ in range(4)]
    await _until(lambda: len(answered) > 100)
    await running.engine.stop(20)
    await running.channel.close()
    await asyncio.gather(*callers, return_exceptions=True)
    spool = await running.stop()
    named = {prediction_pb2.PredictResponse.FromString(answer).prediction_id for answer in answered}
    assert named <= set(map(str, spool.predictions))


async def test_an_engine_that_was_never_started_leaves_a_closed_spool(engine: str, tmp_path: Path) -> None:
    options = RecordOptions(folder=tmp_path, start=new_start(), free_bytes=0)
    made = choose_engine(engine).make(Settings(listen="127.0.0.1:0"), [], options)
    await made.stop(0)
    await made.stop(0)

    assert read_spool(tmp_path).is_closed


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - engines have no events for what they count
            await asyncio.sleep(0.001)

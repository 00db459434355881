"""What an engine traces: which calls, and what each span says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import time_ns
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2

from scorewire_proto.v1 import prediction_pb2
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.tracing import MAX_STATE_BYTES, TraceCounts
from scorewire_server.settings import Settings
from tests import bundles
from tests.conformance import inference
from tests.conformance.traced import (
    SAMPLED,
    SCORED,
    SPAN,
    TRACE,
    Start,
    Traced,
    assert_nested,
    stages,
    starting,
)
from tests.conformance.typed import TypedMessages
from tests.conformance.wire import PREDICT, PREDICT_STREAM, sum_request
from tests.keyed import key_access, with_key

UNSAMPLED = ("traceparent", f"00-{TRACE}-{SPAN}-00")
NAN = float("nan")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of `sum`, and a model with classes."""
    folder = tmp_path_factory.mktemp("models")
    return [
        bundles.write_sum_bundle(folder),
        bundles.write_sum_bundle(folder, version="1.1.0", offset=100.0),
        bundles.write_classifier_bundle(folder),
    ]


@pytest.fixture
async def start(engine: str, models: list[Path], tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(engine, models, tmp_path) as start:
        yield start


async def test_a_traced_call_has_the_stages_that_it_passed(start: Start) -> None:
    running = await start()
    before = time_ns()
    await running.predict(SAMPLED, version="best", numbers=[1.0, 2.0, NAN, 2.0], texts=["", ""], row_count=2)
    call, after = running.one(), time_ns()
    assert (call.kind, call.method) == ("call", PREDICT[1:])
    assert (call.trace_id.hex(), call.parent_id.hex(), call.remote) == (TRACE, SPAN, True)
    assert len(call.span_id) == 8
    assert call.span_id not in {bytes(8), call.parent_id}
    assert stages(call) == SCORED
    assert_nested(call, before, after)
    assert (call.code, call.reason, call.error) == (code_pb2.OK, "", False)
    assert (call.model, call.version, call.route) == ("sum", "1.1.0", "best")
    assert (call.rows, call.row_errors, call.run_calls) == (2, 1, -1)
    assert call.prediction_id == ""


async def test_rows_that_all_have_errors_are_not_run(start: Start) -> None:
    running = await start()
    await running.predict(SAMPLED, numbers=[NAN, 2.0], texts=[""])
    call = running.one()
    assert stages(call) == ["decode", "route", "encode"]
    assert (call.rows, call.row_errors) == (1, 1)


async def test_a_large_call_is_traced_through_its_thread(start: Start) -> None:
    running = await start()
    rows, before = 100_000, time_ns()
    await running.predict(SAMPLED, numbers=[1.0, 2.0] * rows, texts=["de"] * rows, row_count=rows)
    call = running.one()
    assert stages(call) == SCORED
    assert_nested(call, before, time_ns())
    assert call.rows == rows


VALID = [
    f"00-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-03",
    f"00-{TRACE}-{SPAN}-ff",
    f"01-{TRACE}-{SPAN}-01",
    f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be",
    f"cc-{TRACE}-{SPAN}-01-",
]
INVALID = [
    "",
    "00",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01-",
    f"00-{TRACE}-{SPAN}-01-more",
    f"cc-{TRACE}-{SPAN}-01.more",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE}-{SPAN.upper()}-01",
    f"0A-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-0A",
    f"00-{TRACE}-{SPAN}-1",
    f"00-{TRACE}-{SPAN}",
    f"00_{TRACE}_{SPAN}_01",
    f"00-{TRACE[1:]}-{SPAN}0-01",
]


async def test_a_traceparent_decides_only_if_it_is_valid(start: Start) -> None:
    """By the share that is drawn, a call without a valid traceparent begins a trace of its own."""
    for share in (0.0, 1.0):
        running = await start(share=share)
        for value in VALID:
            await running.predict(("traceparent", value))
            call = running.one()
            assert (call.trace_id.hex(), call.parent_id.hex()) == (TRACE, SPAN), value
            await running.predict(("traceparent", f"{value[:53]}00{value[55:]}"))
            assert running.take() == [], value
        for metadata in [*((("traceparent", value),) for value in INVALID), ()]:
            await running.predict(*metadata)
            calls = running.take()
            assert len(calls) == share, metadata
            for call in calls:
                assert call.trace_id.hex() != TRACE
                assert any(call.trace_id)
                assert (call.parent_id, call.remote, call.state) == (b"", False, "")


async def test_a_share_of_the_calls_without_traceparent_is_traced(start: Start) -> None:
    running = await start(share=0.5)
    await asyncio.gather(*(running.predict() for _ in range(400)))
    calls = running.take()
    assert 100 < len(calls) < 300
    assert len({call.trace_id for call in calls}) == len({call.span_id for call in calls}) == len(calls)


async def test_the_tracestate_is_kept_up_to_its_bound(start: Start) -> None:
    running = await start()

    async def state(*values: str) -> str:
        await running.predict(SAMPLED, *(("tracestate", value) for value in values))
        return running.one().state

    assert await state() == ""
    assert await state("a=1,b=2") == "a=1,b=2"
    assert await state("a=1", "b=2", "c=3") == "a=1,b=2,c=3"
    whole = f"a={'x' * 251},b={'y' * 256}"
    assert len(whole) == MAX_STATE_BYTES
    assert await state(whole) == whole
    assert await state(f"a={'x' * 252},b={'y' * 256}") == f"a={'x' * 252}"
    assert await state(whole, "c=3") == whole
    for invalid in ("z" * 1000, "A=1", "a=1,a=2", "a", ",".join(f"k{n}=" for n in range(33))):
        assert await state(invalid) == ""


async def test_a_failed_call_tells_its_code_and_its_reason(start: Start) -> None:
    running = await start()
    cases = [
        (sum_request(model="nobody"), "NOT_FOUND", "MODEL_NOT_FOUND", "", ["decode"]),
        (sum_request(version="9.9.9"), "NOT_FOUND", "VERSION_NOT_FOUND", "", ["decode"]),
        (sum_request(row_count=0), "INVALID_ARGUMENT", "INVALID_REQUEST", "1.0.0", ["decode", "route"]),
        (
            sum_request(schema_fingerprint="0" * 16),
            "FAILED_PRECONDITION",
            "SCHEMA_MISMATCH",
            "1.0.0",
            ["decode", "route"],
        ),
    ]
    for request, code, name, version, passed in cases:
        assert (await running.fail(PREDICT, request.SerializeToString())).name == code
        call = running.one()
        assert code_pb2.Code.Name(call.code) == code
        assert (call.reason, call.error) == (name, False)
        assert (call.version, call.rows, call.row_errors) == (version, -1, -1)
        assert stages(call) == passed, name
    await running.fail(PREDICT, b"\xff")
    call = running.one()
    assert (code_pb2.Code.Name(call.code), stages(call)) == ("INVALID_ARGUMENT", [])
    assert call.reason == "MALFORMED_MESSAGE"


async def test_each_message_of_a_stream_has_a_span_below_that_of_the_stream(start: Start) -> None:
    running = await start()
    requests = [sum_request(), sum_request(model="nobody"), sum_request(version="1.1.0")]
    messages = [
        prediction_pb2.PredictStreamRequest(correlation_id=n, request=request).SerializeToString()
        for n, request in enumerate(requests)
    ]
    before = time_ns()
    assert len(await running.stream(PREDICT_STREAM, messages, SAMPLED, ("tracestate", "a=1"))) == 3
    *calls, stream = await running.take_some(4)
    after = time_ns()
    assert (stream.kind, stream.method, stream.code) == ("call", PREDICT_STREAM[1:], code_pb2.OK)
    assert (stream.parent_id.hex(), stream.remote, stages(stream)) == (SPAN, True, [])
    for call in calls:
        assert (call.kind, call.method, call.state) == ("message", stream.method, "a=1")
        assert (call.trace_id, call.parent_id, call.remote) == (stream.trace_id, stream.span_id, False)
        assert_nested(call, before, after)
        assert stream.begin_ns <= call.begin_ns
        assert call.end_ns <= stream.end_ns
    assert [call.version for call in calls] == ["1.0.0", "", "1.1.0"]
    assert [stages(call) for call in calls] == [SCORED, ["decode"], SCORED]
    assert [call.reason for call in calls] == ["", "MODEL_NOT_FOUND", ""]
    assert len({call.span_id for call in [stream, *calls]}) == 4
    assert await running.stream(PREDICT_STREAM, messages, UNSAMPLED)
    assert running.take() == []


async def test_every_kind_of_call_is_traced(start: Start) -> None:
    running = await start()
    service = TypedMessages(running.loaded[0])
    path = f"{service.path}/Predict"
    tensors = inference.infer_request("sum", inference.sum_tensors()).SerializeToString()
    # What the native engine does not read itself, Python answers.
    halves = {**inference.sum_tensors(), "x0": ("FP16", [1, 1], [1.0])}
    half = inference.infer_request("sum", halves).SerializeToString()
    nobody = inference.infer_request("nobody", inference.sum_tensors()).SerializeToString()
    await running.call(path, service.row(x0=1.0, x1=2.0, country="de").SerializeToString(), SAMPLED)
    await running.call(inference.INFER, tensors, SAMPLED)
    await running.call(inference.INFER, half, SAMPLED)
    await running.fail(inference.INFER, nobody)
    calls = sorted(await running.take_some(4), key=lambda call: call.begin_ns)
    typed, infer, forwarded, failed = calls
    assert [call.method for call in calls] == [path[1:], *[inference.INFER[1:]] * 3]
    for call in (typed, infer, forwarded):
        assert sorted(stages(call)) == sorted(SCORED)
        assert (call.model, call.version, call.rows, call.row_errors) == ("sum", call.version, 1, 0)
        assert (call.trace_id.hex(), call.parent_id.hex(), call.remote) == (TRACE, SPAN, True)
    assert (failed.trace_id.hex(), failed.parent_id.hex(), failed.remote) == (TRACE, SPAN, True)
    assert code_pb2.Code.Name(failed.code) == "NOT_FOUND"


async def test_messages_of_tensors_have_spans_below_that_of_their_stream(start: Start) -> None:
    running = await start()
    plain = inference.sum_tensors()
    halves = {**plain, "x0": ("FP16", [1, 1], [1.0])}
    requests = [inference.infer_request("sum", each) for each in (plain, halves, plain)]
    messages = [request.SerializeToString() for request in requests]
    assert len(await running.stream(inference.STREAM, messages, SAMPLED)) == 3
    calls = await running.take_some(4)
    (stream,) = [call for call in calls if call.kind == "call"]
    for call in calls:
        assert call.method == inference.STREAM[1:]
        if call is not stream:
            assert (call.parent_id, call.trace_id) == (stream.span_id, stream.trace_id)
            assert (call.rows, call.code) == (1, code_pb2.OK)


async def test_a_traced_call_names_its_principal(start: Start) -> None:
    running = await start(access=key_access("shop", "game"))
    halves = {**inference.sum_tensors(), "x0": ("FP16", [1, 1], [1.0])}
    half = inference.infer_request("sum", halves)
    message = prediction_pb2.PredictStreamRequest(request=sum_request()).SerializeToString()
    for name in ("shop", "game"):
        metadata = (SAMPLED, with_key(name))
        await running.predict(*metadata)
        await running.call(inference.INFER, half.SerializeToString(), *metadata)
        assert len(await running.stream(PREDICT_STREAM, [message] * 2, *metadata)) == 2
        assert await running.stream(PREDICT_STREAM, [], *metadata) == []
        assert len(await running.stream(inference.STREAM, [half.SerializeToString()], *metadata)) == 1
        calls = await running.take_some(8)
        kinds = ["call"] * 5 + ["message"] * 3
        assert sorted((call.kind, call.principal) for call in calls) == [(kind, name) for kind in kinds]


async def test_a_call_that_is_refused_for_its_credential_names_no_principal(start: Start) -> None:
    running = await start(access=key_access("shop"))
    assert await running.fail(PREDICT, sum_request().SerializeToString()) is grpc.StatusCode.UNAUTHENTICATED
    call = running.one()
    assert (call.code, call.principal) == (code_pb2.UNAUTHENTICATED, "")
    assert (stages(call), call.model) == ([], "")


async def test_a_traced_prediction_names_its_record(start: Start) -> None:
    running = await start(records=True)
    before = time_ns()
    answer = await running.predict(SAMPLED)
    call = running.one()
    assert stages(call) == [*SCORED, "record"]
    assert_nested(call, before, time_ns())
    assert call.prediction_id == answer.prediction_id != ""


async def test_calls_whose_rows_share_a_run_say_so(start: Start, engine: str) -> None:
    """The reference engine runs each call for itself; the native engine takes together what came together."""
    running = await start()

    async def together() -> list[Traced]:
        await asyncio.gather(*(running.predict(SAMPLED) for _ in range(200)))
        return running.take()

    calls = await together()
    if engine == "reference":
        assert {call.run_calls for call in calls} == {-1}
        return
    async with asyncio.timeout(60):
        while not (shared := [call for call in calls if call.run_calls != -1]):
            calls = await together()
    runs: dict[tuple[int, int], list[int]] = {}
    for call in shared:
        ((begin_ns, end_ns),) = [(begin, end) for name, begin, end in call.stages if name == "run"]
        runs.setdefault((begin_ns, end_ns), []).append(call.run_calls)
    for counts in runs.values():
        assert counts == [len(counts)] * len(counts)


async def test_callers_cannot_have_more_calls_traced_than_the_limit(start: Start) -> None:
    running = await start(per_second=3)
    await asyncio.gather(*(running.predict(SAMPLED) for _ in range(60)))
    calls, counts = running.take(), running.engine.traces.counts
    assert 3 <= len(calls) < 60
    assert len(calls) + counts.limited == 60


async def test_messages_of_a_stream_count_for_the_limit(start: Start) -> None:
    running = await start(per_second=1)
    message = prediction_pb2.PredictStreamRequest(request=sum_request()).SerializeToString()
    assert len(await running.stream(PREDICT_STREAM, [message] * 20, SAMPLED)) == 20
    calls = await running.take_some(1)
    counts = running.engine.traces.counts
    assert calls[-1].kind == "call"
    assert len(calls) + counts.limited == 21
    assert counts.limited


async def test_a_full_queue_loses_calls_and_counts_them(start: Start) -> None:
    running = await start(waiting=2)
    for _ in range(5):
        await running.predict(SAMPLED)
    counts: TraceCounts = running.engine.traces.counts
    each = 1 + len(SCORED)
    assert counts == TraceCounts(sampled=5 * each, dropped=3 * each, waiting=2 * each, limited=0)
    assert len(running.take()) == 2
    await running.predict(SAMPLED)
    assert len(running.take()) == 1


async def test_a_stream_that_its_caller_leaves_ends_as_cancelled(start: Start, engine: str) -> None:
    running = await start()
    stream: Any = running.channel.stream_stream(PREDICT_STREAM)(metadata=(SAMPLED,))
    await stream.write(prediction_pb2.PredictStreamRequest(request=sum_request()).SerializeToString())
    await stream.read()
    stream.cancel()
    calls = await running.take_some(2)
    codes = {call.kind: call.code for call in calls}
    assert codes["message"] == code_pb2.OK
    # grpc.aio tells its handlers of it only sometimes.
    known = {code_pb2.CANCELLED} | ({code_pb2.OK} if engine == "reference" else set())
    assert codes["call"] in known


async def test_a_stream_that_is_ended_for_its_age_says_so(start: Start) -> None:
    running = await start(max_stream_seconds=0.1)
    stream: Any = running.channel.stream_stream(PREDICT_STREAM)(metadata=(SAMPLED,))
    assert await stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (call,) = await running.take_some(1)
    assert (call.kind, call.code) == ("call", code_pb2.DEADLINE_EXCEEDED)


async def test_an_engine_without_traces_has_none(engine: str) -> None:
    made = choose_engine(engine).make(Settings(listen="127.0.0.1:0", threads=1), [])
    assert made.traces is None
    await made.stop(0)

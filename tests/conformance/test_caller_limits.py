"""Limits of principals on both engines.

The rates are so low that nothing comes back during a test, so that nothing depends on time.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from scorewire_proto.inference import inference_pb2
from scorewire_proto.v1 import models_pb2, prediction_pb2
from scorewire_server.access.keys import ApiKey, make_key
from scorewire_server.engine.interpreted.failures import caller_limit, permission_denied
from scorewire_server.errors import to_status
from tests import bundles
from tests.conformance.inference import INFER, STREAM, infer_request, sum_tensors
from tests.conformance.wire import (
    PREDICT,
    PREDICT_STREAM,
    TIMEOUT_SECONDS,
    Failure,
    Wire,
    failure_of,
    sum_request,
    values,
)
from tests.metrics_page import documented_metrics, told_metrics
from tests.processes import ServerProcess, serving, wait_until

LOAD_VERSION = "/scorewire.v1.ModelService/LoadVersion"
LIST_MODELS = "/scorewire.v1.ModelService/ListModels"
BURST = 3
# One in 1000 seconds.
SLOW = 0.001
LIMITS = {
    "calls": f"calls_per_second = {SLOW}\ncalls_burst = {BURST}",
    "stream": f"calls_per_second = {SLOW}\ncalls_burst = {BURST}",
    "tensors": f"calls_per_second = {SLOW}\ncalls_burst = {BURST}",
    "malformed": f"calls_per_second = {SLOW}\ncalls_burst = {BURST}",
    "control": f"calls_per_second = {SLOW}\ncalls_burst = {BURST}",
    "kept": f"calls_per_second = {SLOW}\ncalls_burst = {BURST}",
    "rows": f"rows_per_second = {SLOW}\nrows_burst = 10",
    "forwarded": f"rows_per_second = {SLOW}\nrows_burst = 10",
    "invalid": f"rows_per_second = {SLOW}\nrows_burst = 10",
    "open": "max_in_flight = 1",
    "denied": "",
    "free": "",
    "observer": "",
}
RIGHTS = {"denied": 'predict = ["other-*"]', "observer": 'observe = ["*"]'}


class Callers:
    """A server with an access file, and a key of each principal."""

    def __init__(self, server: ServerProcess, path: Path, keys: dict[str, ApiKey]) -> None:
        self.server = server
        self.path = path
        self.keys = keys

    def metadata(self, name: str) -> dict[str, Any]:
        """The options of a call of a principal."""
        return {"metadata": (("authorization", f"Bearer {self.keys[name].text}"),)}

    def counts(self, name: str) -> tuple[float, float, dict[str, float]]:
        """The calls, the rows and the refused calls of a principal."""
        samples = self.samples()
        refused = {
            dict(labels)["cause"]: count
            for (sample, labels), count in samples.items()
            if sample == "scorewire_principal_refused_total" and dict(labels)["principal"] == name and count
        }
        label = frozenset({("principal", name)})
        calls, rows = (samples[f"scorewire_principal_{kind}_total", label] for kind in ("calls", "rows"))
        return calls, rows, refused

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return self.server.metrics()


@pytest.fixture(scope="module")
def callers(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    folder = tmp_path_factory.mktemp("callers")
    bundles.write_sum_bundle(folder / "models")
    keys = {name: make_key() for name in LIMITS}
    path = folder / "access.toml"
    path.write_text(_access(keys), encoding="utf-8")
    flags = ("--engine", engine, "--access", str(path))
    with serving(folder, folder / "models", *flags) as server:
        yield Callers(server, path, keys)


@pytest.fixture
def limited(callers: Callers) -> Iterator[Wire]:
    wire = Wire(callers.server.address)
    with wire.channel:
        yield wire


def _access(keys: dict[str, ApiKey]) -> str:
    parts = ["[open]\nmetrics = true"]
    for name, key in keys.items():
        rights = RIGHTS.get(name, 'predict = ["*"]')
        parts.append(f"[principals.{name}]\n{rights}\n{LIMITS.get(name, '')}")
        parts.append(f'[[principals.{name}.keys]]\nid = "{key.id}"\nsha256 = "{key.sha256}"')
    return "\n".join(parts)


def _retry_ms(status: status_pb2.Status | None) -> int:
    """The milliseconds until a caller may try again, which the last detail tells."""
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert status.details[-1].Unpack(retry)
    return retry.retry_delay.ToMilliseconds()


def _assert_limited(failure: Failure) -> int:
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failure.reason == "CALLER_LIMIT"
    retry_ms = _retry_ms(failure.status)
    # The bytes that Python makes.
    assert failure.status == to_status(caller_limit(retry_ms / 1000))
    return retry_ms


def test_calls_are_refused_once_the_burst_is_used(callers: Callers, limited: Wire) -> None:
    options = callers.metadata("calls")
    for _ in range(BURST):
        assert values(limited.predict(sum_request(), **options))
    for _ in range(2):
        retry_ms = _assert_limited(limited.predict_failure(sum_request(), **options))
        assert 900_000 < retry_ms <= 1_000_000
    # A call that would fail for other reasons is refused before it is read.
    _assert_limited(limited.failure(PREDICT, b"\xff", **options))
    _assert_limited(limited.predict_failure(sum_request(model="nobody"), **options))
    assert callers.counts("calls") == (BURST, BURST, {"calls": 4})
    # Others have limits of their own.
    assert values(limited.predict(sum_request(), **callers.metadata("free")))


def test_the_messages_of_a_stream_get_their_refusals_by_id(callers: Callers, limited: Wire) -> None:
    requests = [
        prediction_pb2.PredictStreamRequest(correlation_id=number, request=sum_request())
        for number in range(1, BURST + 3)
    ]
    answers = limited.predict_stream(requests, **callers.metadata("stream"))
    assert [answer.correlation_id for answer in answers] == [1, 2, 3, 4, 5]
    assert all(values(answer.response) for answer in answers[:BURST])
    for answer in answers[BURST:]:
        retry_ms = _retry_ms(answer.error)
        assert 900_000 < retry_ms <= 1_000_000
        assert answer.error == to_status(caller_limit(retry_ms / 1000))
    assert callers.counts("stream") == (BURST, BURST, {"calls": 2})


def test_streams_of_tensors_get_their_refusals_by_id(callers: Callers, limited: Wire) -> None:
    requests = [
        infer_request("sum", sum_tensors(), id=f"request {number}").SerializeToString()
        for number in range(BURST + 1)
    ]
    answers = [
        inference_pb2.ModelStreamInferResponse.FromString(answer)
        for answer in limited.stream(requests, STREAM, **callers.metadata("tensors"))
    ]
    assert [answer.infer_response.id for answer in answers] == [f"request {n}" for n in range(BURST + 1)]
    assert [bool(answer.error_message) for answer in answers] == [False] * BURST + [True]
    assert answers[-1].error_message == str(caller_limit(1))


def test_messages_that_cannot_be_read_count_as_calls(callers: Callers, limited: Wire) -> None:
    options = callers.metadata("malformed")
    for _ in range(BURST):
        assert limited.failure(PREDICT, b"\xff", **options).reason == "MALFORMED_MESSAGE"
    _assert_limited(limited.failure(PREDICT, b"\xff", **options))
    answers = limited.stream([b"\xff"], **options)
    try:
        (answer,) = answers
    except grpc.RpcError as error:
        _assert_limited(failure_of(error))
    else:
        response = prediction_pb2.PredictStreamResponse.FromString(answer)
        assert _retry_ms(response.error) > 0
    assert callers.counts("malformed") == (BURST, 0, {"calls": 2})


def test_control_calls_count_as_calls(callers: Callers, limited: Wire) -> None:
    options = callers.metadata("control")
    for _ in range(BURST):
        listed = models_pb2.ListModelsResponse.FromString(limited.call(LIST_MODELS, b"", **options))
        assert [model.name for model in listed.models] == ["sum"]
    _assert_limited(limited.failure(LIST_MODELS, b"", **options))
    _assert_limited(limited.predict_failure(sum_request(), **options))
    assert callers.counts("control") == (BURST, 0, {"calls": 2})


@pytest.mark.parametrize("tensors", [False, True], ids=["own messages", "tensors"])
def test_rows_may_leave_a_debt(callers: Callers, limited: Wire, tensors: bool) -> None:
    # No engine reads this datatype on its hot path.
    name, each = ("forwarded", 2) if tensors else ("rows", 2)
    options = callers.metadata(name)

    def data(rows: int) -> bytes:
        if tensors:
            x0 = ("FP16", [rows, 1], [1.0] * rows)
            return infer_request(
                "sum", {**sum_tensors(x1=[2.0] * rows, country=["de"] * rows), "x0": x0}
            ).SerializeToString()
        return sum_request([1.0, 2.0] * rows, ["de"] * rows, row_count=rows).SerializeToString()

    path = INFER if tensors else PREDICT
    limited.call(path, data(each), **options)
    # More than are left.
    limited.call(path, data(90), **options)
    retry_ms = _assert_limited(limited.failure(path, data(1), **options))
    assert 80_000_000 < retry_ms <= 83_000_000
    assert callers.counts(name) == (3, 92, {"rows": 1})


def test_rows_of_refused_requests_are_not_taken(callers: Callers, limited: Wire) -> None:
    options = callers.metadata("invalid")
    wrong = sum_request([1.0] * 3, ["de"] * 50, row_count=50)
    for _ in range(3):
        assert limited.predict_failure(wrong, **options).code == grpc.StatusCode.INVALID_ARGUMENT
    assert values(limited.predict(sum_request(), **options))
    # A row that cannot be scored fails in Python on the native engine.
    unknown = infer_request("sum", sum_tensors(x0=[float("nan")]))
    limited.failure(INFER, unknown.SerializeToString(), **options)
    assert callers.counts("invalid") == (5, 2, {})


def test_an_open_stream_counts_as_one_call_until_it_ends(callers: Callers, limited: Wire) -> None:
    options = callers.metadata("open")
    requests: queue.Queue[bytes | None] = queue.Queue()
    call = limited.both_stream(PREDICT_STREAM)(iter(requests.get, None), timeout=TIMEOUT_SECONDS, **options)
    message = prediction_pb2.PredictStreamRequest(request=sum_request()).SerializeToString()
    for _ in range(3):
        requests.put(message)
        assert values(prediction_pb2.PredictStreamResponse.FromString(next(call)).response)
    assert _assert_limited(limited.predict_failure(sum_request(), **options)) == 50
    assert _assert_limited(limited.failure(LIST_MODELS, b"", **options)) == 50
    with pytest.raises(grpc.RpcError) as second:
        next(limited.stream([message], **options))
    assert _assert_limited(failure_of(second.value)) == 50
    assert callers.counts("open")[2] == {"in_flight": 3}
    requests.put(None)
    assert list(call) == []

    def is_free() -> bool:
        try:
            return bool(values(limited.predict(sum_request(), **options)))
        except grpc.RpcError:
            return False

    wait_until(is_free, "the stream's place")
    assert values(limited.predict(sum_request(), **options))
    limited.call(LIST_MODELS, b"", **options)
    assert values(limited.predict(sum_request(), **options))


@pytest.mark.parametrize("model", ["sum", "nobody"])
def test_missing_rights_are_counted_and_take_a_call(callers: Callers, limited: Wire, model: str) -> None:
    options = callers.metadata("denied")
    before = callers.counts("denied")
    failure = limited.predict_failure(sum_request(model=model), **options)
    assert failure.status == to_status(permission_denied())
    half = infer_request(model, {**sum_tensors(), "x0": ("FP16", [1, 1], [1.0])}).SerializeToString()
    failure = limited.failure(INFER, half, **options)
    assert failure.status == to_status(permission_denied())
    # A control call, too.
    failure = limited.failure(LOAD_VERSION, b"", **options)
    assert failure.status == to_status(permission_denied())
    after = callers.counts("denied")
    assert after[0] - before[0] == 3
    assert after[2]["denied"] - before[2].get("denied", 0) == 3


def test_refused_credentials_are_counted(callers: Callers, limited: Wire) -> None:
    def refused() -> dict[str, float]:
        return {
            dict(labels)["cause"]: count
            for (sample, labels), count in callers.samples().items()
            if sample == "scorewire_credentials_refused_total"
        }

    before = refused()
    assert limited.predict_failure(sum_request()).code == grpc.StatusCode.UNAUTHENTICATED
    unknown = (("authorization", f"Bearer {make_key().text}"),)
    assert limited.predict_failure(sum_request(), metadata=unknown).code == grpc.StatusCode.UNAUTHENTICATED
    basic = (("authorization", "Basic x"),)
    assert limited.predict_failure(sum_request(), metadata=basic).code == grpc.StatusCode.UNAUTHENTICATED
    after = refused()
    assert set(after) == {
        "missing", "malformed", "unknown", "token", "certificate", "expired", "address", "busy",
    }  # fmt: skip
    rise = {cause: count - before[cause] for cause, count in after.items() if count != before[cause]}
    assert rise == {"missing": 1, "unknown": 1, "malformed": 1}


def test_every_metric_of_callers_is_on_the_page(callers: Callers, limited: Wire) -> None:
    limited.predict(sum_request(), **callers.metadata("free"))
    with urlopen(f"http://{callers.server.metrics_address}/metrics", timeout=TIMEOUT_SECONDS) as response:
        told = told_metrics(response.read().decode())
    documented = documented_metrics()
    assert {name: documented.get(name) for name in told} == told
    wanted = {
        "scorewire_principal_calls_total",
        "scorewire_principal_rows_total",
        "scorewire_principal_refused_total",
        "scorewire_credentials_refused_total",
        "scorewire_access_reloads_total",
    }
    assert wanted <= told.keys()


def test_what_was_taken_stays_taken_when_the_file_changes(callers: Callers, limited: Wire) -> None:
    options = callers.metadata("kept")
    for _ in range(BURST - 1):
        assert values(limited.predict(sum_request(), **options))
    added = make_key()
    keys = {name: key for name, key in callers.keys.items() if name != "observer"}
    callers.path.write_text(_access({**keys, "added": added}), encoding="utf-8")
    metadata = {"metadata": (("authorization", f"Bearer {added.text}"),)}

    def is_added() -> bool:
        try:
            return bool(values(limited.predict(sum_request(), **metadata)))
        except grpc.RpcError:
            return False

    wait_until(is_added, "the new key")
    assert values(limited.predict(sum_request(), **options))
    _assert_limited(limited.predict_failure(sum_request(), **options))
    assert callers.counts("kept") == (BURST, BURST, {"calls": 1})
    # Principals that the file has no more are not told of.
    principals = {dict(labels).get("principal") for _, labels in callers.samples()} - {None}
    assert principals == {*keys, "added"}

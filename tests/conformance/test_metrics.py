"""Metrics count calls, and callers cannot add labels."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from scorewire_proto.v1 import prediction_pb2
from tests.conformance.inference import infer, infer_request
from tests.conformance.typed import TypedService
from tests.conformance.wire import PREDICT, Wire, sum_request
from tests.http2 import Connection, call
from tests.metrics_page import documented_metrics, told_metrics
from tests.processes import ServerProcess, wait_until

CALLS = 'scorewire_calls_total{code="OK",method="Predict",model="sum",version="1.1.0"}'
ROWS = 'scorewire_rows_total{model="sum",version="1.1.0"}'
ERRORS = (
    'scorewire_errors_total{code="NOT_FOUND",method="Predict",model="",reason="MODEL_NOT_FOUND",version=""}'
)
ROW_ERRORS = 'scorewire_row_errors_total{model="sum",reason="MISSING_VALUE",version="1.1.0"}'
STAGES = ("decode", "model", "encode")


def _scrape(server: ServerProcess) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_calls_rows_and_errors_are_counted(server: ServerProcess, wire: Wire) -> None:
    wire.predict(sum_request())
    before = _scrape(server)
    wire.predict(sum_request([1.0, 2.0, float("nan"), 2.0], ["", ""], row_count=2))
    for name in ("nobody", "somebody"):
        wire.predict_failure(sum_request(model=name))
    after = _scrape(server)
    change = {name: after[name] - before.get(name, 0.0) for name in after}
    assert change[CALLS] == 1
    assert change[ROWS] == 2
    assert change[ERRORS] == 2
    assert change[ROW_ERRORS] == 1
    for stage in STAGES:
        assert change[f'scorewire_{stage}_seconds_count{{model="sum",version="1.1.0"}}'] == 1
    assert after["scorewire_in_flight"] == 0
    assert not any("nobody" in name for name in after)


@dataclass(frozen=True)
class Calls:
    """Calls of one kind: what they do, and by what each of them is counted.

    `reasons` has the code and the reason of each call that fails; the others are OK.
    """

    make: Callable[[Wire], object]
    method: str
    version: tuple[str, str] = ("", "")
    answered: int = 0
    reasons: tuple[tuple[str, str], ...] = ()


def _fails(**fields: Any) -> Callable[[Wire], object]:
    return lambda wire: wire.predict_failure(sum_request(**fields))


def _stream(wire: Wire) -> None:
    requests = [sum_request(), sum_request(model="nobody"), sum_request(row_count=2), sum_request()]
    messages = (prediction_pb2.PredictStreamRequest(request=request) for request in requests)
    assert len(wire.predict_stream(messages)) == len(requests)


NOT_FOUND, INVALID = "NOT_FOUND", "INVALID_ARGUMENT"
SUM = ("sum", "1.1.0")
SERVICE = "scorewire.models.sum.v1.SumService"
EACH = {
    "one": Calls(lambda wire: wire.predict(sum_request()), "Predict", SUM, 1),
    "another version": Calls(
        lambda wire: wire.predict(sum_request(version="1.0.0")), "Predict", ("sum", "1.0.0"), 1
    ),
    "no model": Calls(_fails(model=""), "Predict", reasons=((INVALID, "INVALID_REQUEST"),)),
    "unknown model": Calls(_fails(model="nobody"), "Predict", reasons=((NOT_FOUND, "MODEL_NOT_FOUND"),)),
    "unknown version": Calls(_fails(version="9.9.9"), "Predict", reasons=((NOT_FOUND, "VERSION_NOT_FOUND"),)),
    "refused version": Calls(
        _fails(version="3.0.0"), "Predict", reasons=(("UNAVAILABLE", "VERSION_UNAVAILABLE"),)
    ),
    "malformed": Calls(
        lambda wire: wire.failure(PREDICT, b"\xff"), "Predict", reasons=((INVALID, "MALFORMED_MESSAGE"),)
    ),
    "no rows": Calls(_fails(row_count=0), "Predict", SUM, reasons=((INVALID, "INVALID_REQUEST"),)),
    "too many rows": Calls(
        lambda wire: wire.predict_failure(sum_request([1.0] * 4002, [""] * 2001, row_count=2001)),
        "Predict",
        SUM,
        reasons=(("RESOURCE_EXHAUSTED", "TOO_MANY_ROWS"),),
    ),
    "another schema": Calls(
        _fails(schema_fingerprint="0" * 16),
        "Predict",
        SUM,
        reasons=(("FAILED_PRECONDITION", "SCHEMA_MISMATCH"),),
    ),
    "tensors": Calls(
        lambda wire: infer(wire, infer_request("classes", {"x": ("FP64", [1, 1], [1.0])})),
        "ModelInfer",
        ("classes", "1.0.0"),
        1,
    ),
    "typed": Calls(
        lambda wire: TypedService(wire, SERVICE).predict(x0=1.0, x1=2.0, country="de"), "TypedPredict", SUM, 1
    ),
    "typed, without a feature": Calls(
        lambda wire: wire.failure(f"/{SERVICE}/Predict", b""),
        "TypedPredict",
        SUM,
        reasons=((INVALID, "INVALID_REQUEST"),),
    ),
    "typed, in a batch": Calls(
        lambda wire: TypedService(wire, SERVICE).predict_batch({"x0": 1.0}, {"x0": 2.0}),
        "TypedPredictBatch",
        SUM,
        1,
    ),
    "typed, in a stream": Calls(
        lambda wire: TypedService(wire, SERVICE).predict_stream({"x0": 1.0}, {"x0": 2.0}),
        "TypedPredictStream",
        SUM,
        2,
    ),
    # No engine reads this datatype on its hot path.
    "tensors that are read in Python": Calls(
        lambda wire: infer(wire, infer_request("classes", {"x": ("FP16", [1, 1], [1.0])})),
        "ModelInfer",
        ("classes", "1.0.0"),
        1,
    ),
}


@pytest.mark.parametrize("name", EACH)
def test_a_call_is_counted_once_with_its_version_method_and_code(
    server: ServerProcess, wire: Wire, name: str
) -> None:
    calls = EACH[name]
    model, version = calls.version
    called = {"model": model, "version": version, "method": calls.method}
    expected: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def expect(sample: str, **labels: str) -> None:
        expected[sample, frozenset({**called, **labels}.items())] += 1

    for _ in range(calls.answered):
        expect("scorewire_calls_total", code="OK")
    for code, reason in calls.reasons:
        expect("scorewire_calls_total", code=code)
        expect("scorewire_errors_total", code=code, reason=reason)
    for _ in range(calls.answered + len(calls.reasons)):
        expect("scorewire_call_seconds_count")
    assert _counted_calls(server, lambda: calls.make(wire)) == expected


def test_each_message_of_a_stream_is_counted(server: ServerProcess, wire: Wire) -> None:
    found = _counted_calls(server, lambda: _stream(wire))
    labels = [
        {"model": "sum", "version": "1.1.0", "code": "OK"},
        {"model": "sum", "version": "1.1.0", "code": INVALID},
        {"model": "", "version": "", "code": NOT_FOUND},
    ]
    counts = [
        found["scorewire_calls_total", frozenset({**each, "method": "PredictStream"}.items())]
        for each in labels
    ]
    assert counts == [2, 1, 1]
    durations = {key: count for key, count in found.items() if key[0] == "scorewire_call_seconds_count"}
    assert sum(durations.values()) == sum(counts)


def _counted_calls(
    server: ServerProcess, make: Callable[[], object]
) -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
    """What the counters of calls rise by while calls are made."""
    names = ("scorewire_calls_total", "scorewire_errors_total", "scorewire_call_seconds_count")

    def counts() -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
        return Counter({key: round(count) for key, count in server.metrics().items() if key[0] in names})

    before = counts()
    make()
    return counts() - before


def test_every_metric_is_documented_with_its_labels(engine: str, server: ServerProcess, wire: Wire) -> None:
    wire.predict(sum_request([1.0, 2.0, float("nan"), 2.0], ["", ""], row_count=2))
    wire.predict_failure(sum_request(model="nobody"))
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=60) as response:
        told = told_metrics(response.read().decode())
    documented = documented_metrics()
    assert {name: documented.get(name) for name in told} == told
    of_tls = {name for name in documented if "_tls_" in name}
    of_transport = {"scorewire_buffered_bytes", "scorewire_connections", "scorewire_limits_met_total"}
    of_records = {name for name in documented if "_record_" in name}
    of_traces = {name for name in documented if "_traces_" in name}
    of_access = {name for name in documented if re.search("_(principal|credentials|access|audit)_", name)}
    others = of_transport if engine == "reference" else set()
    assert documented.keys() - told.keys() == of_tls | of_records | of_traces | of_access | others


def test_refused_versions_are_shown(server: ServerProcess) -> None:
    samples = _scrape(server)
    assert samples['scorewire_versions{model="sum",state="REFUSED",version="3.0.0"}'] == 1
    assert samples['scorewire_versions{model="sum",state="SERVING",version="1.1.0"}'] == 1


def test_failing_calls_add_one_series_a_reason(server: ServerProcess, wire: Wire) -> None:
    with pytest.raises(grpc.RpcError):
        wire.predict(sum_request(model="first"))
    before = set(_scrape(server))
    for i in range(50):
        wire.predict_failure(sum_request(model=f"model-{i}"))
    assert set(_scrape(server)) == before


def test_calls_that_have_expired_run_no_model(engine: str, server: ServerProcess, wire: Wire) -> None:
    wire.predict(sum_request())
    data = sum_request().SerializeToString()
    before = _scrape(server)
    with Connection(server.address) as connection:
        for begin in range(1, 20_000, 1000):
            # Every second number is the stream id of a client.
            streams = set(range(begin, begin + 1000, 2))
            calls = (call(stream, PREDICT, data, [("grpc-timeout", "1n")]) for stream in sorted(streams))
            connection.send(b"".join(calls))
            for frame in connection.frames():
                if frame.ends:
                    streams.discard(frame.stream)
                if not streams:
                    break
            assert not streams, "the connection ended before its calls"
    after = _scrape(server)
    answered = after[CALLS] - before[CALLS]
    # grpc-core rounds a timeout up to a millisecond, in which the server may answer a few calls.
    assert answered <= (0 if engine == "native" else 1000)
    for name in (ROWS, 'scorewire_model_seconds_count{model="sum",version="1.1.0"}'):
        assert after[name] - before[name] == answered
    wait_until(lambda: not _scrape(server)["scorewire_in_flight"], "nothing to be in flight")

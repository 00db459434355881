"""Metrics count calls, and callers cannot add labels."""

from __future__ import annotations

import urllib.request

import grpc
import pytest

from tests.conformance.wire import PREDICT, Wire, sum_request
from tests.http2 import Connection, call
from tests.processes import ServerProcess, wait_until

CALLS = 'scorewire_calls_total{code="OK",method="Predict"}'
ROWS = 'scorewire_rows_total{model="sum",version="1.1.0"}'
ERRORS = 'scorewire_errors_total{code="NOT_FOUND",method="Predict",reason="MODEL_NOT_FOUND"}'
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

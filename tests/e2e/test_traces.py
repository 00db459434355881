"""A server that traces: its collector gets every span, and nothing else notices it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from scorewire import Client
from scorewire_proto.v1 import prediction_pb2
from tests import otlp
from tests.bundles import write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.conformance.wire import Wire, sum_request
from tests.metrics_page import documented_metrics
from tests.processes import TIMEOUT_SECONDS, ServerProcess, run_command, serving, wait_until

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
WRONG = "traces are not sent as they should be"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_sum_bundle(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def collector() -> Iterator[otlp.Collector]:
    with otlp.collecting() as running:
        yield running


def _counts(server: ServerProcess) -> dict[str, float]:
    """The metrics of traces; those of all causes of drops are summed."""
    counts = dict.fromkeys(("sampled", "sent", "dropped", "waiting", "limited"), 0.0)
    names = set()
    for (name, _), value in server.metrics().items():
        if "_traces_" in name:
            names.add(name)
            counts[name.removeprefix("scorewire_traces_").removesuffix("_total")] += value
    assert names == {name for name in documented_metrics() if "_traces_" in name}
    return counts


def _whole(counts: dict[str, float]) -> bool:
    return counts["sampled"] == counts["sent"] + counts["dropped"] + counts["waiting"]


def _last(server: ServerProcess) -> dict[str, int]:
    """What became of the spans, by the log of a server that has stopped."""
    (line,) = server.log("traces of this start")
    assert line["sampled"] == line["sent"] + line["dropped"]
    return {name: line[name] for name in ("sampled", "sent", "dropped", "limited")}


def _call(server: ServerProcess, times: int, parent: str = PARENT) -> None:
    wire = Wire(server.address)
    with wire.channel:
        for _ in range(times):
            wire.predict(sum_request(), metadata=(("traceparent", parent),))


def test_the_collector_gets_the_spans_while_the_server_runs_and_the_last_when_it_stops(
    engine: str, tmp_path: Path, models: Path, collector: otlp.Collector
) -> None:
    headers = tmp_path / "headers"
    headers.write_text("authorization: Bearer secret-7")
    flags = (
        *("--traces", f"http://{collector.address}", "--traces-share", "0"),
        *("--traces-headers-file", headers, "--traces-service-name", "scores"),
    )
    with serving(tmp_path, models, "--engine", engine, *flags) as server:
        _call(server, 3)
        _call(server, 2, PARENT[:-1] + "0")
        with Client(server.address) as client:
            client.predict("sum", ROW)
        wait_until(lambda: _counts(server)["sent"] == 15, "the spans of three calls")
        counts = _counts(server)
        assert _whole(counts)
        assert (counts["sampled"], counts["waiting"], counts["limited"]) == (15, 0, 0)
        _call(server, 2)
        assert server.stop() == 0
        assert _last(server) == {"sampled": 25, "sent": 25, "dropped": 0, "limited": 0}
        assert "secret-7" not in server.log_text()
        assert not server.log(WRONG)
    assert collector.metadata["authorization"] == "Bearer secret-7"
    roots = [span for span in collector.spans if span.name == "scorewire.v1.PredictionService/Predict"]
    assert len(roots) == 5
    for root in roots:
        assert root.trace_id.hex() == TRACE
        stages = [span.name for span in collector.children(root)]
        assert stages == ["decode", "route", "run", "encode"]
    (resource,) = {
        tuple(sorted(otlp.attributes(group.resource).items()))
        for request in collector.requests
        for group in request.resource_spans
    }
    assert dict(resource)["service.name"] == "scores"


def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    engine: str, tmp_path: Path, models: Path
) -> None:
    with otlp.collecting() as gone:
        address = gone.address
    flags = ("--traces", f"http://{address}", "--traces-share", "1", "--traces-per-second", "1000000")
    with serving(tmp_path, models, "--engine", engine, *flags) as server:
        with Client(server.address) as client:
            for _ in range(50):
                client.predict("sum", ROW)
        server.logged(WRONG)
        counts = _counts(server)
        assert _whole(counts)
        assert counts["sent"] == 0
        assert counts["waiting"] == counts["sampled"] == 250
        assert server.stop() == 0
        last = _last(server)
        assert last["dropped"] == 250
        (line,) = server.log(WRONG)
        assert "UNAVAILABLE" in line["problem"]


def test_a_collector_that_hangs_costs_no_memory_and_no_call(
    tmp_path: Path, models: Path, collector: otlp.Collector
) -> None:
    stopped = threading.Event()

    def hang(*_: object) -> ExportTraceServiceResponse:
        stopped.wait(TIMEOUT_SECONDS)
        return ExportTraceServiceResponse()

    collector.answer = hang
    flags = (
        "--traces",
        f"http://{collector.address}",
        "--traces-share",
        "1",
        "--traces-per-second",
        "100000",
    )
    message = prediction_pb2.PredictStreamRequest(request=sum_request())
    with serving(tmp_path, models, *flags) as server:
        process, wire = psutil.Process(server.pid), Wire(server.address)

        def score(messages: int) -> None:
            assert len(wire.predict_stream([message] * messages)) == messages

        with wire.channel:
            # Once the queue is full, which has room for 65,536 calls, nothing more is kept.
            while not _counts(server)["dropped"]:
                score(10_000)
            before = process.memory_info().rss
            score(20_000)
            assert process.memory_info().rss - before < 8 << 20
        counts = _counts(server)
        assert _whole(counts)
        assert counts["sent"] == 0
        stopped.set()
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--traces", "ftp://host"), "--traces must be a URL like http://HOST:4317"),
        (("--traces", "http://user:secret@host:1"), "--traces must be a URL like http://HOST:4317"),
        (("--traces-headers-file", "x"), "--traces-headers-file needs --traces"),
        (("--traces", "http://h", "--traces-headers-file", "none"), "--traces-headers-file none: No such"),
        (("--traces", "http://h", "--traces-share", "1.5"), "--traces-share is '1.5'; it must be a number"),
    ],
    ids=["scheme", "password", "no collector", "no file", "share"],
)
def test_a_setting_that_cannot_be_used_is_told(models: Path, flags: tuple[str, ...], told: str) -> None:
    ended = run_command("serve", "--models", models, "--listen", "127.0.0.1:0", *flags)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "secret" not in ended.stderr

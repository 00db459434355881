from __future__ import annotations

import urllib.request

import pytest
from google.rpc import code_pb2
from prometheus_client.parser import text_string_to_metric_families

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import errors_pb2, models_pb2
from scorewire_server.engine.port import StartError
from scorewire_server.engine.snapshot import VersionRecord, build_snapshot
from scorewire_server.engine.statistics import BUCKETS_SECONDS, Histogram, Statistics, VersionStatistics
from scorewire_server.metrics import Metrics, MetricsServer

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _scrape(server: MetricsServer) -> Samples:
    with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=20) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_statistics_become_prometheus_families(sum_bundle: Bundle) -> None:
    statistics = Statistics(in_flight=3, streams=2, answered={"Predict": 5, "PredictStream": 0})
    for _ in range(2):
        statistics.count_failure("Predict", code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_MODEL_NOT_FOUND)
    statistics.count_failure("Predict", code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_VERSION_NOT_FOUND)
    counted = statistics.versions["sum", "1.0.0"] = VersionStatistics(
        rows=40, row_errors={errors_pb2.ERROR_REASON_MISSING_VALUE: 4}
    )
    for duration_ns in (4_000, 5_000, 6_000, 10_000_000_000):
        counted.run.add(duration_ns)
    refused = VersionRecord(
        model="sum", version="2.0.0", state=models_pb2.VERSION_STATE_REFUSED, reason="bad"
    )
    metrics = Metrics(lambda: statistics, lambda: build_snapshot([refused]))
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        samples = _scrape(server)
    finally:
        server.close()
    assert samples[_key("scorewire_calls_total", method="Predict", code="OK")] == 5
    assert samples[_key("scorewire_calls_total", method="Predict", code="NOT_FOUND")] == 3
    assert (
        samples[_key("scorewire_errors_total", method="Predict", code="NOT_FOUND", reason="MODEL_NOT_FOUND")]
        == 2
    )
    assert samples[_key("scorewire_in_flight")] == 3
    assert samples[_key("scorewire_streams")] == 2
    version = {"model": "sum", "version": "1.0.0"}
    assert samples[_key("scorewire_rows_total", **version)] == 40
    assert samples[_key("scorewire_row_errors_total", **version, reason="MISSING_VALUE")] == 4
    assert samples[_key("scorewire_model_seconds_bucket", **version, le="5e-06")] == 2
    assert samples[_key("scorewire_model_seconds_bucket", **version, le="1e-05")] == 3
    assert samples[_key("scorewire_model_seconds_bucket", **version, le="2.5")] == 3
    assert samples[_key("scorewire_model_seconds_bucket", **version, le="+Inf")] == 4
    assert samples[_key("scorewire_model_seconds_count", **version)] == 4
    assert samples[_key("scorewire_model_seconds_sum", **version)] == pytest.approx(10.000015)
    assert samples[_key("scorewire_decode_seconds_count", **version)] == 0
    assert samples[_key("scorewire_versions", model="sum", version="2.0.0", state="REFUSED")] == 1


def test_a_duration_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram()
    for bound in BUCKETS_SECONDS:
        histogram.add(round(bound * 1e9))
    assert histogram.counts == [1] * len(BUCKETS_SECONDS) + [0]


def test_a_port_in_use_is_an_error() -> None:
    metrics = Metrics(Statistics, lambda: build_snapshot(()))
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        with pytest.raises(StartError, match="--metrics-port"):
            MetricsServer(metrics, "127.0.0.1", int(server.address.rpartition(":")[2]))
    finally:
        server.close()

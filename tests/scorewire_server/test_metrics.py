from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.rpc import code_pb2
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import errors_pb2, models_pb2
from scorewire_server.certificates import Certificates
from scorewire_server.engine.port import Certificate
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import (
    BUCKETS_SECONDS,
    Histogram,
    Statistics,
    Transport,
    VersionStatistics,
)
from scorewire_server.metrics import Metrics
from scorewire_server.settings import Settings

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _scrape(metrics: Metrics) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
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
    samples = _scrape(Metrics(lambda: statistics, lambda: build_snapshot([refused])))
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


def test_the_certificate_is_shown_where_there_is_one() -> None:
    certificates = Certificates(Settings(), lambda _: None)
    metrics = Metrics(Statistics, lambda: build_snapshot(()), certificates)
    assert not any("tls" in name for name, _ in _scrape(metrics))
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    certificates.shown = Certificate(b"", b"", moment, moment)
    certificates.replaced, certificates.refused = 2, 3
    samples = _scrape(metrics)
    assert samples[_key("scorewire_tls_certificate_expiry_timestamp_seconds")] == moment.timestamp()
    assert samples[_key("scorewire_tls_reloads_total", result="taken")] == 2
    assert samples[_key("scorewire_tls_reloads_total", result="refused")] == 3


def test_the_page_of_metrics_names_each() -> None:
    certificates = Certificates(Settings(), lambda _: None)
    certificates.shown = Certificate(b"", b"", datetime.now(UTC), datetime.now(UTC))
    statistics = Statistics(transport=Transport(0, 0, {}))
    families = Metrics(lambda: statistics, lambda: build_snapshot(()), certificates).collect()
    names = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(scorewire_\w+)", page)) == names

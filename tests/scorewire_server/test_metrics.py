from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.rpc import code_pb2
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scorewire_contract.bundle import Bundle
from scorewire_proto.v1 import errors_pb2, models_pb2
from scorewire_server.certificates import Certificates
from scorewire_server.control.audit import AuditCounts
from scorewire_server.engine.factory import EngineKind
from scorewire_server.engine.port import Certificate
from scorewire_server.engine.recording import RecordCounts
from scorewire_server.engine.runs_on import RunsOn
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.engine.statistics import (
    BUCKETS_SECONDS,
    CREDENTIAL_CAUSES,
    CallKey,
    CallStatistics,
    Histogram,
    PrincipalStatistics,
    Statistics,
    Transport,
    VersionStatistics,
)
from scorewire_server.metrics import Metrics
from scorewire_server.records.records import Records
from scorewire_server.settings import Settings
from scorewire_server.tracing.traces import Traces
from tests.metrics_page import documented_metrics, told_metrics
from tests.scorewire_server.models import loaded_version, snapshot_of, zeros

# The parts that metrics do not use are left out.
ENGINE = EngineKind("reference", "", "1.2.3", None, None, None, None)  # type: ignore[arg-type]
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
    statistics = Statistics(in_flight=3, streams=2)
    answered = statistics.calls[CallKey("sum", "1.0.0", "Predict")] = CallStatistics()
    for _ in range(5):
        answered.count(7_000)
    failed = statistics.calls[CallKey("", "", "Predict")] = CallStatistics()
    for _ in range(2):
        failed.count(2_000, (code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_MODEL_NOT_FOUND))
    failed.count(2_000, (code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_VERSION_NOT_FOUND))
    counted = statistics.versions["sum", "1.0.0"] = VersionStatistics(
        rows=40, row_errors={errors_pb2.ERROR_REASON_MISSING_VALUE: 4}
    )
    for duration_ns in (4_000, 5_000, 6_000, 10_000_000_000):
        counted.run.add(duration_ns)
    refused = VersionRecord(
        model="sum", version="2.0.0", state=models_pb2.VERSION_STATE_REFUSED, reason="bad"
    )
    samples = _scrape(Metrics(ENGINE, lambda: statistics, lambda: build_snapshot([refused])))
    ok = {"model": "sum", "version": "1.0.0", "method": "Predict"}
    unknown = {"model": "", "version": "", "method": "Predict"}
    assert samples[_key("scorewire_calls_total", **ok, code="OK")] == 5
    assert samples[_key("scorewire_calls_total", **unknown, code="NOT_FOUND")] == 3
    assert _key("scorewire_calls_total", **unknown, code="OK") not in samples
    reasons = {"MODEL_NOT_FOUND": 2, "VERSION_NOT_FOUND": 1}
    for reason, count in reasons.items():
        labels = {**unknown, "code": "NOT_FOUND", "reason": reason}
        assert samples[_key("scorewire_errors_total", **labels)] == count
    assert samples[_key("scorewire_call_seconds_bucket", **ok, le="5e-06")] == 0
    assert samples[_key("scorewire_call_seconds_bucket", **ok, le="1e-05")] == 5
    assert samples[_key("scorewire_call_seconds_count", **unknown)] == 3
    assert samples[_key("scorewire_call_seconds_sum", **ok)] == pytest.approx(35e-6)
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
    metrics = Metrics(ENGINE, Statistics, lambda: build_snapshot(()), certificates)
    assert not any("tls" in name for name, _ in _scrape(metrics))
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    certificates.shown = Certificate(b"", b"", moment, moment)
    certificates.replaced, certificates.refused = 2, 3
    samples = _scrape(metrics)
    assert samples[_key("scorewire_tls_certificate_expiry_timestamp_seconds")] == moment.timestamp()
    assert samples[_key("scorewire_tls_reloads_total", result="taken")] == 2
    assert samples[_key("scorewire_tls_reloads_total", result="refused")] == 3


def test_the_engine_and_the_process_are_told() -> None:
    samples = _scrape(Metrics(ENGINE, Statistics, lambda: build_snapshot(())))
    (build,) = (labels for name, labels in samples if name == "scorewire_build_info")
    told = dict(build)
    assert told == {
        "version": version("scorewire-server"),
        "engine": "reference",
        "python_version": platform.python_version(),
        "onnxruntime_version": "1.2.3",
    }
    assert samples[_key("process_start_time_seconds")] > 1_700_000_000
    assert samples[_key("process_open_fds")] > 2


def test_a_scrape_while_a_version_leaves_or_comes_tells_no_count_of_it(sum_bundle: Bundle) -> None:
    # The engine has the other snapshot already, or still. 0 would be a step back from what was told before.
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    samples = _scrape(Metrics(ENGINE, Statistics, lambda: snapshot))
    assert not any(name == "scorewire_calls_total" for name, _ in samples)


def test_what_runs_a_version_is_told_while_it_serves(sum_bundle: Bundle) -> None:
    serving = replace(loaded_version(sum_bundle, zeros), runs_on=RunsOn("kernel", "one ensemble"))
    refused = VersionRecord(model="sum", version="2.0.0", state=models_pb2.VERSION_STATE_REFUSED)
    for snapshot, told in ((snapshot_of(serving), True), (build_snapshot([refused]), False)):
        samples = _scrape(Metrics(ENGINE, Statistics, lambda snapshot=snapshot: snapshot))
        key = _key("scorewire_version_info", model="sum", version="1.0.0", runs_on="kernel")
        assert (samples.get(key) == 1) is told
        assert told or not any(name == "scorewire_version_info" for name, _ in samples)


def test_the_ledger_of_records_becomes_families(tmp_path: Path) -> None:
    counts = RecordCounts(
        offered=100,
        sampled_out=40,
        dropped={"ring_full": 5, "too_large": 0, "spool_full": 3, "disk": 2},
        buffered=10,
        spooled=40,
    )
    records = Records(Settings(records=tmp_path / "records"), lambda: counts, lambda: None)
    samples = _scrape(Metrics(ENGINE, Statistics, lambda: build_snapshot([]), records=records))
    ends = {"offered": 100, "sampled_out": 40, "spooled": 40, "set_aside": 0, "expired": 0}
    for end, count in ends.items():
        assert samples[_key(f"scorewire_record_rows_{end}_total")] == count
    for cause, count in counts.dropped.items():
        assert samples[_key("scorewire_record_rows_dropped_total", cause=cause)] == count
    for state, count in {"buffered": 10, "pending": 40, "stored": 0}.items():
        assert samples[_key("scorewire_record_rows_held", state=state)] == count
    assert samples[_key("scorewire_record_problem")] == 0


def test_the_lines_of_the_audit_are_counted() -> None:
    audit = AuditCounts(written=3, failed=2, left_out=1)
    samples = _scrape(Metrics(ENGINE, Statistics, lambda: build_snapshot([]), audit=audit))
    for result, count in {"written": 3, "failed": 2, "left_out": 1}.items():
        assert samples[_key("scorewire_audit_lines_total", result=result)] == count


def test_the_page_of_metrics_names_each_with_its_labels(sum_bundle: Bundle, tmp_path: Path) -> None:
    records = Records(Settings(records=tmp_path / "records"), RecordCounts, lambda: None)
    certificates = Certificates(Settings(), lambda _: None)
    certificates.shown = Certificate(b"", b"", datetime.now(UTC), datetime.now(UTC))
    snapshot = snapshot_of(loaded_version(sum_bundle, zeros))
    statistics = Statistics(transport=Transport(0, 0, {"flood": 0}))
    call = statistics.calls[CallKey("sum", "1.0.0", "Predict")] = CallStatistics()
    call.count(1, (code_pb2.NOT_FOUND, errors_pb2.ERROR_REASON_MODEL_NOT_FOUND))
    statistics.versions["sum", "1.0.0"] = VersionStatistics(
        row_errors={errors_pb2.ERROR_REASON_MISSING_VALUE: 1}
    )
    traces = Traces(Settings(traces="http://127.0.0.1:4317"), lambda: None)
    statistics.principals["shop"] = PrincipalStatistics()
    statistics.credentials_refused = dict.fromkeys(CREDENTIAL_CAUSES, 0)
    access: Any = SimpleNamespace(replaced=1, refused=0, fetches={("https://login.example/", "ok"): 1})
    metrics = Metrics(
        ENGINE,
        lambda: statistics,
        lambda: snapshot,
        certificates,
        access=access,
        audit=AuditCounts(),
        records=records,
        traces=traces,
    )
    assert told_metrics(generate_latest(metrics.registry).decode()) == documented_metrics()

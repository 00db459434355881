"""Prometheus metrics.

Labels come from loaded versions and fixed lists only, so that no caller can make
the number of series grow.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

import grpc
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from scorewire_contract.service.logs import log_counts
from scorewire_server.access.access import Access
from scorewire_server.certificates import Certificates
from scorewire_server.control.audit import AuditCounts
from scorewire_server.engine.factory import EngineKind
from scorewire_server.engine.port import Certificate
from scorewire_server.engine.snapshot import Snapshot, state_name
from scorewire_server.engine.statistics import BUCKETS_SECONDS, Histogram, Statistics, Transport
from scorewire_server.errors import STATUS_CODES, Code, reason_name
from scorewire_server.records.records import Records
from scorewire_server.tracing.exporter import TraceLedger
from scorewire_server.tracing.traces import Traces

_RECORD_ROWS = {
    "offered": "Rows of all answers of recorded models.",
    "sampled_out": "Rows that the policy left out.",
    "spooled": "Rows that were written to the spool.",
    "set_aside": "Rows in damaged blocks of the spool.",
    "expired": "Rows that were removed from the store when they were as old as the policy says.",
}
_BOUNDS = [*(format(bound, "g") for bound in BUCKETS_SECONDS), "+Inf"]


class Metrics(Collector):
    """Turns an engine's statistics and the states of versions into Prometheus metrics."""

    def __init__(
        self,
        engine: EngineKind,
        statistics: Callable[[], Statistics],
        snapshot: Callable[[], Snapshot],
        certificates: Certificates | None = None,
        *,
        access: Access | None = None,
        audit: AuditCounts | None = None,
        records: Records | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._build_info = _build_info(engine)
        self._statistics = statistics
        self._snapshot = snapshot
        self._certificates = certificates
        self._access = access
        self._audit = audit
        self._records = records
        self._traces = traces
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        # The names that every client library of Prometheus has for a process: process_cpu_seconds_total etc.
        ProcessCollector(registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics. Runs beside the engine's thread, so it copies each table before it walks it."""
        statistics, snapshot = self._statistics(), self._snapshot()
        yield self._build_info
        yield from _collect_calls(statistics)
        yield GaugeMetricFamily(
            "scorewire_in_flight", "Prediction calls being answered.", value=statistics.in_flight
        )
        yield GaugeMetricFamily(
            "scorewire_streams", "Streams of predictions that are open.", value=statistics.streams
        )
        if statistics.transport is not None:
            yield from _collect_transport(statistics.transport)
        yield from _collect_versions(statistics)
        if self._access is not None:
            yield from _collect_principals(statistics)
            yield from _collect_access(self._access)
        if self._audit is not None:
            yield _collect_audit(self._audit)
        yield _collect_states(snapshot)
        yield _collect_runs_on(snapshot)
        yield _collect_missing(snapshot)
        yield from _collect_log()
        if self._certificates is not None and self._certificates.shown is not None:
            yield from _collect_certificates(self._certificates, self._certificates.shown)
        if self._records is not None:
            yield from _collect_records(self._records)
        if self._traces is not None:
            yield from _collect_traces(self._traces.ledger)


def _build_info(engine: EngineKind) -> Metric:
    labels = {
        "version": version("scorewire-server"),
        "engine": engine.name,
        "python_version": platform.python_version(),
        "onnxruntime_version": engine.onnxruntime_version,
    }
    family = GaugeMetricFamily("scorewire_build_info", "What answers calls; always 1.", labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _collect_calls(statistics: Statistics) -> Iterable[Metric]:
    labels = ["model", "version", "method"]
    calls = CounterMetricFamily(
        "scorewire_calls",
        "Prediction calls that ended; each message of a stream counts as one.",
        labels=[*labels, "code"],
    )
    errors = CounterMetricFamily(
        "scorewire_errors", "Prediction calls that failed.", labels=[*labels, "code", "reason"]
    )
    durations = HistogramMetricFamily(
        "scorewire_call_seconds", "Time from a call's arrival to its answer or failure.", labels=labels
    )
    for key, counted in list(statistics.calls.items()):
        by_code: Counter[str] = Counter()
        # A version that serves has this series from its first scrape on, so that a rate misses none of its
        # calls.
        if key.version:
            by_code[grpc.StatusCode.OK.name] = counted.answered
        for (code, reason), count in list(counted.failed.items()):
            errors.add_metric([*key, _code(code), reason_name(reason)], count)
            by_code[_code(code)] += count
        for code_name, count in by_code.items():
            calls.add_metric([*key, code_name], count)
        durations.add_metric([*key], _buckets(counted.durations), counted.durations.sum_ns / 1e9)
    return calls, errors, durations


def _collect_versions(statistics: Statistics) -> Iterable[Metric]:
    labels = ["model", "version"]
    rows = CounterMetricFamily("scorewire_rows", "Rows in answered calls.", labels=labels)
    explained = CounterMetricFamily(
        "scorewire_explained_rows", "Rows in answered calls that asked for an explanation.", labels=labels
    )
    row_errors = CounterMetricFamily(
        "scorewire_row_errors", "Rows that have an error instead of a score.", labels=[*labels, "reason"]
    )
    decode = HistogramMetricFamily(
        "scorewire_decode_seconds", "Time from bytes to a request, by call.", labels=labels
    )
    explain = HistogramMetricFamily(
        "scorewire_explain_seconds", "Time to explain the rows of a call that asks for it.", labels=labels
    )
    run = HistogramMetricFamily("scorewire_model_seconds", "Time in the model, by call.", labels=labels)
    encode = HistogramMetricFamily(
        "scorewire_encode_seconds", "Time from scores to bytes, by call.", labels=labels
    )
    for names, counted in list(statistics.versions.items()):
        rows.add_metric(names, counted.rows)
        explained.add_metric(names, counted.explained_rows)
        for reason, count in list(counted.row_errors.items()):
            row_errors.add_metric([*names, reason_name(reason)], count)
        for family, histogram in (
            (decode, counted.decode),
            (explain, counted.explain),
            (run, counted.run),
            (encode, counted.encode),
        ):
            family.add_metric(names, _buckets(histogram), histogram.sum_ns / 1e9)
    return rows, explained, row_errors, decode, explain, run, encode


def _collect_transport(transport: Transport) -> Iterable[Metric]:
    met = CounterMetricFamily(
        "scorewire_limits_met", "Calls and connections that met a limit of the transport.", labels=["limit"]
    )
    for limit, count in transport.limits.items():
        met.add_metric([limit], count)
    buffered = GaugeMetricFamily(
        "scorewire_buffered_bytes",
        "Bytes of messages that have come and of answers that have not gone.",
        value=transport.buffered_bytes,
    )
    connections = GaugeMetricFamily(
        "scorewire_connections", "Connections that are open.", value=transport.connections
    )
    return buffered, connections, met


def _collect_principals(statistics: Statistics) -> Iterable[Metric]:
    calls = CounterMetricFamily(
        "scorewire_principal_calls",
        "Calls of a principal that its limit let in; each message of a stream of predictions counts as one.",
        labels=["principal"],
    )
    rows = CounterMetricFamily(
        "scorewire_principal_rows",
        "Rows of predictions of a principal that its limit let in.",
        labels=["principal"],
    )
    refused = CounterMetricFamily(
        "scorewire_principal_refused",
        "Calls of a principal that were refused for a missing right or a limit.",
        labels=["principal", "cause"],
    )
    for name, counted in statistics.principals.items():
        calls.add_metric([name], counted.calls)
        rows.add_metric([name], counted.rows)
        for cause, count in counted.refused.items():
            refused.add_metric([name, cause], count)
    credentials = CounterMetricFamily(
        "scorewire_credentials_refused",
        "Calls that were refused, and streams that ended, for their credentials.",
        labels=["cause"],
    )
    for cause, count in statistics.credentials_refused.items():
        credentials.add_metric([cause], count)
    return calls, rows, refused, credentials


def _collect_access(access: Access) -> Iterable[Metric]:
    reloads = CounterMetricFamily(
        "scorewire_access_reloads",
        "Changes of the files that say who may call: taken, or refused since they cannot be used.",
        labels=["result"],
    )
    reloads.add_metric(["taken"], access.replaced)
    reloads.add_metric(["refused"], access.refused)
    fetches = CounterMetricFamily(
        "scorewire_access_key_fetches",
        "How many times the keys of an issuer of tokens were fetched.",
        labels=["issuer", "result"],
    )
    for (issuer, result), count in access.fetches.items():
        fetches.add_metric([issuer, result], count)
    return reloads, fetches


def _collect_audit(audit: AuditCounts) -> Metric:
    lines = CounterMetricFamily(
        "scorewire_audit_lines",
        "Lines for the file of --audit: written, failed since the file cannot be written, or left out beyond"
        " the limit of refused calls.",
        labels=["result"],
    )
    for result, count in (("written", audit.written), ("failed", audit.failed), ("left_out", audit.left_out)):
        lines.add_metric([result], count)
    return lines


def _collect_states(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "scorewire_versions", "Versions by state, 1 for each.", labels=["model", "version", "state"]
    )
    for model in snapshot.models.values():
        for record in model.versions:
            family.add_metric([model.name, record.version, state_name(record.state)], 1)
    return family


def _collect_runs_on(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "scorewire_version_info",
        "What runs the graph of a version that serves; always 1.",
        labels=["model", "version", "runs_on"],
    )
    for model in snapshot.models.values():
        for record in model.versions:
            if record.loaded is not None:
                family.add_metric([model.name, record.version, record.loaded.runs_on.name], 1)
    return family


def _collect_missing(snapshot: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        "scorewire_versions_missing",
        "Versions that a split, an alias or a shadow names and that do not serve, by model.",
        labels=["model"],
    )
    for model in snapshot.models.values():
        family.add_metric([model.name], len(model.missing))
    return family


def _collect_log() -> Iterator[Metric]:
    counts = log_counts()
    yield CounterMetricFamily(
        "scorewire_log_lines_dropped", "Lines of the log that could not be written.", value=counts.dropped
    )
    yield CounterMetricFamily(
        "scorewire_log_lines_suppressed",
        "Lines of the log that were equal to others of the same second.",
        value=counts.suppressed,
    )


def _collect_certificates(certificates: Certificates, shown: Certificate) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "scorewire_tls_certificate_expiry_timestamp_seconds",
        "When the certificate that clients see expires, in seconds since 1970.",
        value=shown.not_after.timestamp(),
    )
    reloads = CounterMetricFamily(
        "scorewire_tls_reloads",
        "Changes of the certificate's files: taken, or refused since they cannot be used.",
        labels=["result"],
    )
    reloads.add_metric(["taken"], certificates.replaced)
    reloads.add_metric(["refused"], certificates.refused)
    yield reloads


def _collect_records(records: Records) -> Iterable[Metric]:
    ledger = records.ledger
    # A family for each count: the sum of a family with "offered" and its parts would mean nothing.
    for end, text in _RECORD_ROWS.items():
        yield CounterMetricFamily(f"scorewire_record_rows_{end}", text, value=getattr(ledger, end))
    dropped = CounterMetricFamily(
        "scorewire_record_rows_dropped",
        "Rows that were lost before they reached the spool.",
        labels=["cause"],
    )
    for cause, count in ledger.dropped.items():
        dropped.add_metric([cause], count)
    held = GaugeMetricFamily(
        "scorewire_record_rows_held",
        "Rows that are in memory (buffered), in the spool (pending) or in the store (stored).",
        labels=["state"],
    )
    for state in ("buffered", "pending", "stored"):
        held.add_metric([state], getattr(ledger, state))
    yield from (dropped, held)
    yield GaugeMetricFamily(
        "scorewire_record_spool_bytes", "Bytes of the spool on disk.", value=records.spool_bytes
    )
    yield GaugeMetricFamily(
        "scorewire_record_problem",
        "1 if something is wrong with records, as the log and GetStatistics tell; else 0.",
        value=bool(ledger.problem),
    )
    yield CounterMetricFamily(
        "scorewire_record_shipper_restarts",
        "How many times the shipper ended by itself and was started again.",
        value=records.shipper_restarts,
    )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    return [(bound, float(count)) for bound, count in zip(_BOUNDS, accumulate(histogram.counts), strict=True)]


def _collect_traces(ledger: TraceLedger) -> Iterable[Metric]:
    yield CounterMetricFamily(
        "scorewire_traces_sampled", "Spans of traced calls that have ended.", value=ledger.sampled
    )
    yield CounterMetricFamily(
        "scorewire_traces_sent", "Spans that the collector has taken.", value=ledger.sent
    )
    dropped = CounterMetricFamily(
        "scorewire_traces_dropped", "Spans that the collector has not got.", labels=["cause"]
    )
    for cause, count in ledger.dropped.items():
        dropped.add_metric([cause], count)
    yield dropped
    yield GaugeMetricFamily("scorewire_traces_waiting", "Spans that are not sent yet.", value=ledger.waiting)
    yield CounterMetricFamily(
        "scorewire_traces_limited",
        "Calls and messages of streams that were not traced, because of --traces-per-second.",
        value=ledger.limited,
    )


def _code(code: Code) -> str:
    return STATUS_CODES[code].name

"""The service: rate, errors, latency, saturation, records, gateway."""

from __future__ import annotations

from deploy.grafana.definitions.panels import Dashboard, Panel, Prometheus, Row, Variable

_VERSION = 'instance=~"$instance", model=~"$model", version=~"$version"'
_SERVER = 'job="scorewire", instance=~"$instance"'
_RATE = "$__rate_interval"


def _stat(title: str, about: str, query: str, unit: str = "short") -> Panel:
    return Panel(
        title=title, about=about, queries=[Prometheus(query)], unit=unit, kind="stat", width=4, height=4
    )


def _mean(stage: str) -> Prometheus:
    name = f"scorewire_{stage}_seconds"
    return Prometheus(
        f"sum(rate({name}_sum{{{_VERSION}}}[{_RATE}])) / sum(rate({name}_count{{{_VERSION}}}[{_RATE}]))",
        stage,
    )


_NOW = Row(
    "Now",
    [
        _stat(
            "Calls",
            "Prediction calls per second.",
            f"sum(rate(scorewire_calls_total{{{_VERSION}}}[{_RATE}]))",
            "reqps",
        ),
        _stat(
            "Failed by the server",
            "Share of all calls that failed by the server. Runbook: docs/runbooks/service.md#scorewireerrorbudgetburnsfast",
            'scorewire:failures:ratio_rate5m or 0 * sum(up{job="scorewire"})',
            "percentunit",
        ),
        _stat(
            "99th percentile",
            "Time of the slowest 1 % of calls on the server. Runbook: docs/runbooks/service.md#scorewireslow",
            f"histogram_quantile(0.99, sum by (le) (rate(scorewire_call_seconds_bucket{{{_VERSION}}}[{_RATE}])))",
            "s",
        ),
        _stat(
            "Versions that serve",
            "Versions in state SERVING, over all servers.",
            'count(scorewire_versions{state="SERVING"})',
        ),
        _stat(
            "Servers",
            "Servers that give metrics. Runbook: docs/runbooks/service.md#scorewiredown",
            'sum(up{job="scorewire"})',
        ),
        _stat(
            "Alerts",
            "Alerts that fire now. Each has a runbook in docs/runbooks.",
            'count(ALERTS{alertname=~"Scorewire.*", alertstate="firing"}) or 0 * sum(up{job="scorewire"})',
        ),
    ],
)
_CALLS = Row(
    "Calls",
    [
        Panel(
            title="Calls by version",
            about="Prediction calls per second; a call that failed before a version was found for it has no model.",
            queries=[
                Prometheus(
                    f"sum by (model, version) (rate(scorewire_calls_total{{{_VERSION}}}[{_RATE}]))",
                    "{{model}} {{version}}",
                )
            ],
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Calls by code",
            about="Prediction calls per second by gRPC code.",
            queries=[
                Prometheus(f"sum by (code) (rate(scorewire_calls_total{{{_VERSION}}}[{_RATE}]))", "{{code}}")
            ],
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Latency by version",
            about="Median and 99th percentile of a call's time, from its arrival to its response."
            " Runbook: docs/runbooks/service.md#scorewireslow",
            queries=[
                Prometheus(
                    f"histogram_quantile({quantile}, sum by (model, version, le)"
                    f" (rate(scorewire_call_seconds_bucket{{{_VERSION}}}[{_RATE}])))",
                    f"{{{{model}}}} {{{{version}}}} {name}",
                )
                for quantile, name in ((0.5, "median"), (0.99, "99 %"))
            ],
            unit="s",
        ),
        Panel(
            title="Failed calls",
            about="Failed calls per second by version, code and reason, also those that callers caused."
            " Runbook: docs/runbooks/service.md#scorewirerejectedcalls",
            queries=[
                Prometheus(
                    "sum by (model, version, code, reason)"
                    f" (rate(scorewire_errors_total{{{_VERSION}}}[{_RATE}]))",
                    "{{model}} {{version}} {{code}} {{reason}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            title="Times of calls",
            about="How many calls took how long.",
            queries=[
                Prometheus(
                    f"sum by (le) (increase(scorewire_call_seconds_bucket{{{_VERSION}}}[{_RATE}]))",
                    "{{le}}",
                    format="heatmap",
                )
            ],
            kind="heatmap",
        ),
        Panel(
            title="Where the time goes",
            about="Mean time of a scored call in decoding, in the model and in encoding. If calls take much longer"
            " than the three together, they wait.",
            queries=[_mean("decode"), _mean("model"), _mean("encode")],
            unit="s",
        ),
    ],
)
_CALLERS = Row(
    "Callers",
    [
        Panel(
            title="Calls by principal",
            about="Calls and messages of streams per second, by who calls; only with --access, like the whole row.",
            queries=[
                Prometheus(
                    f'sum by (principal) (rate(scorewire_principal_calls_total{{instance=~"$instance"}}[{_RATE}]))',
                    "{{principal}}",
                )
            ],
            unit="reqps",
            stacked=True,
        ),
        Panel(
            title="Rows by principal",
            about="Rows of predictions per second, by who calls.",
            queries=[
                Prometheus(
                    f'sum by (principal) (rate(scorewire_principal_rows_total{{instance=~"$instance"}}[{_RATE}]))',
                    "{{principal}}",
                )
            ],
            unit="rps",
            stacked=True,
        ),
        Panel(
            title="Refused by right or limit",
            about="Calls per second of a principal without the right, or beyond its limits, by cause."
            " Runbook: docs/runbooks/access.md#scorewirecallerlimited",
            queries=[
                Prometheus(
                    "sum by (principal, cause)"
                    f' (rate(scorewire_principal_refused_total{{instance=~"$instance"}}[{_RATE}])) > 0',
                    "{{principal}} {{cause}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            title="Refused credentials",
            about="Calls per second that were refused for their credential, by cause."
            " Runbook: docs/runbooks/access.md#scorewirecredentialsrefused",
            queries=[
                Prometheus(
                    f'sum by (cause) (rate(scorewire_credentials_refused_total{{instance=~"$instance"}}[{_RATE}])) > 0',
                    "{{cause}}",
                )
            ],
            unit="reqps",
        ),
    ],
)
_SATURATION = Row(
    "Saturation",
    [
        Panel(
            title="Calls in flight",
            about="Prediction calls in flight, and open streams. Runbook: docs/runbooks/service.md#scorewiremanyinflight",
            queries=[
                Prometheus('scorewire_in_flight{instance=~"$instance"}', "{{instance}} calls"),
                Prometheus('scorewire_streams{instance=~"$instance"}', "{{instance}} streams"),
            ],
            width=8,
        ),
        Panel(
            title="Processors",
            about="Processors in use by each server.",
            queries=[Prometheus(f"rate(process_cpu_seconds_total{{{_SERVER}}}[{_RATE}])", "{{instance}}")],
            unit="none",
            width=8,
        ),
        Panel(
            title="Memory",
            about="Resident memory of each server.",
            queries=[Prometheus(f"process_resident_memory_bytes{{{_SERVER}}}", "{{instance}}")],
            unit="bytes",
            width=8,
        ),
        Panel(
            title="Connections",
            about="Open connections (native engine), and open files of the process.",
            queries=[
                Prometheus('scorewire_connections{instance=~"$instance"}', "{{instance}} connections"),
                Prometheus(f"process_open_fds{{{_SERVER}}}", "{{instance}} files"),
            ],
            width=8,
        ),
        Panel(
            title="Bytes that calls hold",
            about="Bytes of messages that have arrived and of responses that are not sent (native engine).",
            queries=[Prometheus('scorewire_buffered_bytes{instance=~"$instance"}', "{{instance}}")],
            unit="bytes",
            width=8,
        ),
        Panel(
            title="Limits met",
            about="Calls and connections per second that met a limit of the transport (native engine)."
            " Runbook: docs/runbooks/service.md#scorewirelimitmet",
            queries=[
                Prometheus(
                    f'sum by (limit) (rate(scorewire_limits_met_total{{instance=~"$instance"}}[{_RATE}]))',
                    "{{limit}}",
                )
            ],
            unit="ops",
            width=8,
        ),
    ],
)
_RECORDS = Row(
    "Records",
    [
        Panel(
            title="Rows on their way to the store",
            about="Rows in memory and in the spool. Runbook: docs/runbooks/records.md#scorewirespoolfills",
            queries=[
                Prometheus(
                    'scorewire_record_rows_held{state!="stored", instance=~"$instance"}',
                    "{{instance}} {{state}}",
                )
            ],
            width=8,
        ),
        Panel(
            title="Rows recorded",
            about="Rows per second that were spooled, and rows that were dropped by cause."
            " Runbook: docs/runbooks/records.md#scorewirerecordslost",
            queries=[
                Prometheus(
                    f'sum(rate(scorewire_record_rows_spooled_total{{instance=~"$instance"}}[{_RATE}]))',
                    "spooled",
                ),
                Prometheus(
                    f'sum by (cause) (rate(scorewire_record_rows_dropped_total{{instance=~"$instance"}}[{_RATE}]))',
                    "dropped: {{cause}}",
                ),
            ],
            unit="rps",
            width=8,
        ),
        Panel(
            title="Spool",
            about="Bytes of the spool on disk.",
            queries=[Prometheus('scorewire_record_spool_bytes{instance=~"$instance"}', "{{instance}}")],
            unit="bytes",
            width=8,
        ),
    ],
)
_GATEWAY = Row(
    "Gateway",
    [
        Panel(
            title="Requests",
            about="HTTP requests per second by route and code.",
            queries=[
                Prometheus(
                    f"sum by (route, code) (rate(scorewire_gateway_requests_total[{_RATE}]))",
                    "{{route}} {{code}}",
                )
            ],
            unit="reqps",
        ),
        Panel(
            title="Time of requests",
            about="99th percentile of the time of HTTP requests, by route.",
            queries=[
                Prometheus(
                    "histogram_quantile(0.99, sum by (route, le)"
                    f" (rate(scorewire_gateway_request_seconds_bucket[{_RATE}])))",
                    "{{route}}",
                )
            ],
            unit="s",
        ),
    ],
)

_TRACES = Row(
    "Traces",
    [
        Panel(
            title="Spans",
            about="Spans per second that the collector took, and that were lost by cause; only with --traces."
            " Runbook: docs/runbooks/gateway.md#scorewiretraceslost",
            queries=[
                Prometheus(
                    f'sum(rate(scorewire_traces_sent_total{{instance=~"$instance"}}[{_RATE}]))', "sent"
                ),
                Prometheus(
                    f'sum by (cause) (rate(scorewire_traces_dropped_total{{instance=~"$instance"}}[{_RATE}]))',
                    "dropped: {{cause}}",
                ),
            ],
            unit="ops",
        ),
    ],
)

SERVICE = Dashboard(
    name="service",
    title="Scorewire: service",
    about="How well servers answer, and how busy they are.",
    variables=[
        Variable(
            name="instance",
            label="Server",
            query=Prometheus('label_values(up{job="scorewire"}, instance)'),
            every=".*",
        ),
        Variable(
            name="model",
            label="Model",
            query=Prometheus("label_values(scorewire_versions, model)"),
            every=".*",
        ),
        Variable(
            name="version",
            label="Version",
            query=Prometheus('label_values(scorewire_versions{model=~"$model"}, version)'),
            every=".*",
        ),
    ],
    rows=[_NOW, _CALLS, _CALLERS, _SATURATION, _RECORDS, _GATEWAY, _TRACES],
)

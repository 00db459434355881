"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from importlib.metadata import version
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# The label of requests whose path the gateway does not have.
_NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        info = Gauge("scorewire_gateway_info", "The gateway's release.", ["version"], registry=self.registry)
        info.labels(version("scorewire-gateway")).set(1)
        self.requests = Counter(
            "scorewire_gateway_requests",
            "Requests that were answered, by route, method and HTTP code.",
            ["route", "method", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "scorewire_gateway_request_seconds",
            "Time from the head of a request to the end of its answer, by route.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "scorewire_gateway_requests_in_flight",
            "Requests that are being answered now.",
            registry=self.registry,
        )
        self.rows = Counter(
            "scorewire_gateway_rows", "Rows that were scored, by model.", ["model"], registry=self.registry
        )
        self.uploads_cut = Counter(
            "scorewire_gateway_uploads_cut",
            "Answers to uploads that ended before their end, by who ended them: client or server.",
            ["cause"],
            registry=self.registry,
        )


class MetricsMiddleware:
    """Counts and times each request; the label `route` is the pattern of a path, never the path itself."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = perf_counter()
        # That of a request whose client leaves before it has an answer.
        code = 499

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(code)).inc()
            self._metrics.seconds.labels(route).observe(perf_counter() - begin)

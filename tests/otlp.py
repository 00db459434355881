"""An OTLP collector in the test's own process, which keeps what it gets and misbehaves as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
Answer = Callable[[ExportTraceServiceRequest, grpc.ServicerContext], ExportTraceServiceResponse]


def attributes(owner: Any) -> dict[str, Any]:
    """The attributes of a span or a resource, by key."""
    pairs: list[KeyValue] = list(owner.attributes)
    found = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
    assert len(found) == len(pairs)
    return found


def takes(_: ExportTraceServiceRequest, __: grpc.ServicerContext) -> ExportTraceServiceResponse:
    """Take everything."""
    return ExportTraceServiceResponse()


def rejects(spans: int) -> Answer:
    """Take all but a number of spans."""
    partial = ExportTracePartialSuccess(rejected_spans=spans, error_message="too old")
    return lambda *_: ExportTraceServiceResponse(partial_success=partial)


def fails(code: grpc.StatusCode, retry_seconds: float | None = None) -> Answer:
    """Fail with a code; tell when to try again, if there is a time."""

    def answer(_: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        if retry_seconds is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromNanoseconds(int(retry_seconds * 1e9))
            status = status_pb2.Status(code=code.value[0])
            status.details.add().Pack(info)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "not now")
        raise AssertionError

    return answer


class Collector(grpc.GenericRpcHandler):
    """A collector on a free port.

    Attributes:
        answer: what becomes of the next requests.
        requests: the requests that were taken.
        attempts: how many requests have come.
        metadata: the metadata of the last request.
    """

    def __init__(self) -> None:
        self.answer: Answer = takes
        self.requests: list[ExportTraceServiceRequest] = []
        self.attempts = 0
        self.metadata: dict[str, str | bytes] = {}
        self._lock = threading.Lock()
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )

    def _export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        with self._lock:
            self.attempts += 1
            self.metadata = dict(context.invocation_metadata())
            answer = self.answer
        response = answer(request, context)
        with self._lock:
            self.requests.append(request)
        return response

    @property
    def spans(self) -> list[Span]:
        """The spans that were taken."""
        with self._lock:
            return [
                span
                for request in self.requests
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def children(self, parent: Span) -> list[Span]:
        """The spans that name a span as their parent."""
        return [span for span in self.spans if span.parent_span_id == parent.span_id]


@contextmanager
def collecting(
    collector: Collector | None = None,
    *,
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector() if collector is None else collector
    # An exporter waits for the answer to a request before it sends another one.
    server = grpc.server(ThreadPoolExecutor(2), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((collector,))
    address = f"127.0.0.1:{port}"
    bound = (
        server.add_insecure_port(address)
        if credentials is None
        else server.add_secure_port(address, credentials)
    )
    assert bound
    server.start()
    collector.address = f"127.0.0.1:{bound}"
    try:
        yield collector
    finally:
        server.stop(0).wait()

"""What a request to a collector says of the server, and that it has the spans."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from scorewire_server.tracing.request import export_request, resource
from tests.otlp import attributes


@pytest.mark.parametrize("count", [0, 1, 10, 1000, 100_000])
def test_a_request_has_the_spans_of_one_scope_of_one_resource(count: int) -> None:
    spans = [Span(name=str(number)) for number in range(count)]
    encoded = export_request(resource("name"), ScopeSpans(spans=spans).SerializeToString())
    (group,) = ExportTraceServiceRequest.FromString(encoded).resource_spans
    (scope,) = group.scope_spans
    assert (scope.scope.name, bool(scope.scope.version)) == ("scorewire_server", True)
    assert list(scope.spans) == spans
    assert group.resource.attributes


def test_each_start_of_the_server_is_an_instance_of_its_own() -> None:
    first, second = attributes(resource("name")), attributes(resource("name"))
    assert first["service.name"] == "name"
    assert set(first) == {"service.name", "service.version", "service.instance.id", "host.name"}
    assert first["service.instance.id"] != second["service.instance.id"]

"""The requests that send spans to a collector.

The engine has encoded the spans already. They are put into the request as bytes, since
reading and writing them again would cost more than all the rest.
"""

from __future__ import annotations

import socket
from importlib.metadata import version
from uuid import uuid4

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

_BYTES = 2
_MORE = 0x80


def resource(service_name: str) -> Resource:
    """What tells this start of the server from all others."""
    attributes = {
        "service.name": service_name,
        "service.version": version("scorewire-server"),
        "service.instance.id": str(uuid4()),
        "host.name": socket.gethostname(),
    }
    pairs = [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in attributes.items()]
    return Resource(attributes=pairs)


def export_request(resource: Resource, spans: bytes) -> bytes:
    """An `ExportTraceServiceRequest` with spans.

    Args:
        resource: what the spans are of.
        spans: the spans as fields of a `ScopeSpans`.
    """
    scope = InstrumentationScope(name="scorewire_server", version=version("scorewire-server"))
    scope_spans = ScopeSpans(scope=scope).SerializeToString() + spans
    resource_spans = ResourceSpans(resource=resource).SerializeToString()
    resource_spans += _field(ResourceSpans.SCOPE_SPANS_FIELD_NUMBER, scope_spans)
    return _field(ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER, resource_spans)


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes as protobuf writes it."""
    head = bytearray([number << 3 | _BYTES])
    length = len(data)
    while length >= _MORE:
        head.append(length % _MORE | _MORE)
        length //= _MORE
    head.append(length)
    return bytes(head) + data

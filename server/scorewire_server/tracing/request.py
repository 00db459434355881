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
    scope_spans = ScopeSpans(scope=scope).SerializeToString()
    scope_head = _head(ResourceSpans.SCOPE_SPANS_FIELD_NUMBER, len(scope_spans) + len(spans))
    resource_spans = ResourceSpans(resource=resource).SerializeToString() + scope_head + scope_spans
    head = _head(ExportTraceServiceRequest.RESOURCE_SPANS_FIELD_NUMBER, len(resource_spans) + len(spans))
    # The spans are copied once.
    return b"".join((head, resource_spans, spans))


def _head(number: int, length: int) -> bytes:
    """The begin of a field of bytes, as protobuf writes it."""
    head = bytearray([number << 3 | _BYTES])
    while length >= _MORE:
        head.append(length % _MORE | _MORE)
        length //= _MORE
    head.append(length)
    return bytes(head)

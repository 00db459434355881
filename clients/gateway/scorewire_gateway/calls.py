"""What one HTTP request hands on to the server: credentials, trace, and deadline.

Credentials go to the server as they came, and into no log.
"""

from __future__ import annotations

import re
from typing import TypedDict

from starlette.requests import Request

from scorewire import Code
from scorewire_gateway.errors import RequestError, invalid_field
from scorewire_gateway.settings import Settings

# As in grpc-gateway and the protocol of gRPC over HTTP/2.
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
PASSED_HEADERS = ("authorization", "traceparent", "tracestate")
# Servers of gRPC take 8 KiB of metadata, with what gRPC adds.
_MAX_BYTES = 6144


class CallOptions(TypedDict):
    """What each call to the server for one HTTP request has, as keyword arguments of the client's methods."""

    timeout: float
    metadata: list[tuple[str, str]]


def call_options(request: Request, settings: Settings) -> CallOptions:
    """The deadline, the credentials and the trace of a request.

    Raises:
        RequestError: one of them cannot be read or passed on.
    """
    return CallOptions(timeout=timeout_of(request, settings), metadata=metadata_of(request))


def timeout_of(request: Request, settings: Settings) -> float:
    """Seconds for the answer to a request: its header Grpc-Timeout, and --timeout at most.

    Raises:
        RequestError: the header cannot be read.
    """
    text = request.headers.get("grpc-timeout")
    if text is None:
        return settings.timeout
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise invalid_field(
            "Grpc-Timeout",
            "must be a whole number of at most 8 digits and one of H, M, S, m, u, n, such as 500m",
        )
    wanted = int(found[1]) * _UNITS[found[2]]
    if not wanted:
        raise RequestError(
            "Grpc-Timeout leaves no time", code=Code.DEADLINE_EXCEEDED, reason="DEADLINE_EXCEEDED"
        )
    return min(wanted, settings.timeout)


def metadata_of(request: Request) -> list[tuple[str, str]]:
    """The headers of a request that go to the server as metadata.

    Raises:
        RequestError: such a header is too long, or has characters that metadata cannot have.
    """
    found = []
    left = _MAX_BYTES
    for name in PASSED_HEADERS:
        for value in request.headers.getlist(name):
            left -= len(name) + len(value)
            if left < 0 or not (value.isascii() and value.isprintable()):
                raise invalid_field(
                    name,
                    f"must be printable ASCII, and all headers that are passed on at most {_MAX_BYTES} bytes",
                )
            found.append((name, value))
    return found

"""The collector that gets the traces: its address, its certificate, and the headers that it wants."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from scorewire_contract.service.settings import parse_collector
from scorewire_contract.service.start import StartError

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_MAX_HEADER_FILE_BYTES = 1 << 16
_HEADER = re.compile(r"([a-z0-9_.\-]+)[ \t]*:[ \t]*([\x20-\x7e]*)")
# Where systems keep all authorities in one file, if OpenSSL's own folder has no such file.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_OPTIONS = [
    # A collector that was away is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # The exporter repeats requests itself, and counts them.
    ("grpc.enable_retries", 0),
]


class ExportCall(Protocol):
    """A request that is on its way: what grpc gives for a call and for its answer."""

    def done(self) -> bool: ...  # noqa: D102
    def cancel(self) -> bool: ...  # noqa: D102
    def add_done_callback(self, fn: Callable[[Any], None], /) -> None: ...  # noqa: D102
    def code(self) -> grpc.StatusCode: ...  # noqa: D102
    def details(self) -> str: ...  # noqa: D102
    def trailing_metadata(self) -> Iterable[tuple[str, Any]] | None: ...  # noqa: D102
    def result(self) -> ExportTraceServiceResponse: ...  # noqa: D102


class Collector:
    """A connection to an OTLP collector.

    Args:
        url: http://HOST:PORT or https://HOST:PORT.
        headers_file: lines NAME: VALUE, sent with every request; None for no headers.

    Raises:
        StartError: the file of headers cannot be used, or the system has no authorities for TLS.
    """

    def __init__(self, url: str, headers_file: Path | None = None) -> None:
        target, tls = parse_collector(url)
        self._headers_file = headers_file
        self._headers: list[tuple[str, str]] = []
        if headers_file is not None:
            try:
                self._headers = _read_headers(headers_file)
            except (OSError, ValueError) as error:
                raise StartError(f"--traces-headers-file {headers_file}: {_why(error)}") from None
        if tls:
            credentials = grpc.ssl_channel_credentials(system_roots())
            self._channel = grpc.secure_channel(target, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target, _OPTIONS)
        self._export: Callable[..., ExportCall] = self._channel.unary_unary(
            _EXPORT,
            response_deserializer=ExportTraceServiceResponse.FromString,
        ).future

    def export(self, request: bytes, seconds: float) -> ExportCall:
        """Begin to send a request, which fails if it takes longer than these seconds."""
        return self._export(request, timeout=seconds, metadata=self._current_headers())

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _current_headers(self) -> list[tuple[str, str]]:
        """The headers in the file now, so that a token can be replaced; those before if it is unreadable."""
        if self._headers_file is not None:
            try:
                self._headers = _read_headers(self._headers_file)
            except (OSError, ValueError):
                return self._headers
        return self._headers


def system_roots() -> bytes:
    """The certificates of the authorities that the system trusts, as PEM; SSL_CERT_FILE names another file.

    Raises:
        StartError: there are none.
    """
    paths = ssl.get_default_verify_paths()
    for name in (paths.cafile, *_BUNDLES):
        if name is None:
            continue
        try:
            found = Path(name).read_bytes()
        except OSError:
            continue
        if found.strip():
            return found
    raise StartError(
        "--traces with https needs the system's certificate authorities; install the package ca-certificates,"
        " or name a PEM file with the variable SSL_CERT_FILE"
    )


def _read_headers(path: Path) -> list[tuple[str, str]]:
    """Read a file of headers.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no header; the text does not show the line, which may have a secret.
    """
    with path.open("rb") as file:
        data = file.read(_MAX_HEADER_FILE_BYTES + 1)
    if len(data) > _MAX_HEADER_FILE_BYTES:
        raise ValueError(f"the file has more than {_MAX_HEADER_FILE_BYTES} bytes")
    headers = []
    for number, line in enumerate(data.decode("ascii", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        match = _HEADER.fullmatch(f"{name.strip().lower()}{colon}{value.strip()}")
        if match is None or match[1].startswith("grpc-") or match[1].endswith("-bin"):
            raise ValueError(f"line {number} is no header; write NAME: VALUE in ASCII")
        headers.append((match[1], match[2]))
    return headers


def _why(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)

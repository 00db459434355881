"""Tells why no connection came about, in words that say what to do."""

from __future__ import annotations

import re
import socket
import ssl

from scorewire._errors import ScorewireError, UnavailableError

_PROBE_SECONDS = 1.0
_PEER = re.compile(r"ipv[46]:(\[[0-9a-fA-F:.]+\]|[\d.]+):(\d+)")
# How grpc tells that the peer closed a connection before it could be used.
_CLOSED = re.compile(r"failed to connect .*(Socket closed|Connection reset|Broken pipe)", re.DOTALL)
# What grpc's TLS tells, and what it means.
_TLS_FAILURES = (
    (
        "WRONG_VERSION_NUMBER",
        "{peer} does not use TLS, and this client does: connect without it (no tls=, no --tls option)",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the certificate of {peer} is not trusted ({cause}): name the authority that signed it"
        " (TLS.from_files(root_certificates=...), --tls-ca)",
    ),
    (
        "Hostname Verification Check failed",
        "the certificate of {peer} is for another name than that of the address: connect by a name that the"
        " certificate has, or give that name (TLS(server_name=...), --tls-server-name)",
    ),
)
_NEEDS_TLS = "{peer} uses TLS, and this client does not: connect with it (tls=True, --tls)"


def explained(error: ScorewireError, *, secure: bool, timeout: float) -> ScorewireError:
    """The error of a call; where TLS on one side is the cause, one that says so and what to do.

    If a server closed a connection without TLS, it is asked whether it uses TLS.

    Args:
        error: the error of a call.
        secure: whether the client uses TLS.
        timeout: the most seconds that this may take.
    """
    text = str(error)
    if not isinstance(error, UnavailableError) or error.reason:
        return error
    found = _PEER.search(text)
    peer = f"the server at {found[1]}:{found[2]}" if found else "the server"
    if secure:
        for words, meaning in _TLS_FAILURES:
            if words in text:
                cause = text.partition(f"{words}: ")[2].removesuffix(": OK")
                return UnavailableError(meaning.format(peer=peer, cause=cause))
    elif found and _CLOSED.search(text) and _uses_tls(found[1].strip("[]"), int(found[2]), timeout):
        return UnavailableError(_NEEDS_TLS.format(peer=peer))
    return error


def _uses_tls(host: str, port: int, timeout: float) -> bool:
    """Whether a server answers a TLS handshake; nothing is sent after it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    seconds = min(_PROBE_SECONDS, max(timeout, 0.05))
    try:
        with (
            socket.create_connection((host, port), timeout=seconds) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
    except OSError:
        return False

"""The certificate that a server shows."""

from __future__ import annotations

import ssl

from scorewire_server.engine.port import StartError
from scorewire_server.settings import Settings


def read_certificate(settings: Settings) -> tuple[bytes, bytes] | None:
    """The certificate chain and the private key as PEM; None where TLS is off.

    Raises:
        StartError: they cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return None
    try:
        # A library that says what is wrong with them.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        return cert.read_bytes(), key.read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"--tls-cert {cert} and --tls-key {key} cannot be used: {error}") from None

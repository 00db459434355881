"""Reads the revocation lists of --tls-client-crl as a file that is followed."""

from __future__ import annotations

from collections.abc import Sequence

from scorewire_server.access.tables import AccessError
from scorewire_server.engine import revocations
from scorewire_server.engine.revocations import Revocations

MAX_AUTHORITIES_BYTES = 4 << 20
MAX_LISTS_BYTES = 64 << 20


def parse_revocations(contents: Sequence[bytes]) -> Revocations:
    """Read revocation lists.

    Args:
        contents: the authorities of --tls-client-ca, and the lists of --tls-client-crl, both as PEM.

    Raises:
        AccessError: the lists cannot be used.
    """
    authorities, lists = contents
    try:
        return revocations.parse_revocations(authorities, lists)
    except ValueError as error:
        raise AccessError(str(error)) from None

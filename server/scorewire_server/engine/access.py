"""Who may call what, as an engine needs it.

A call shows a credential: a bearer token in its metadata, or the certificate of its
connection. A valid credential gives a `Grant`: which principal calls, and until when
the credential is valid. The control plane reads principals and API keys from the
access file and hands them to the engine as an `AccessTable`. Other credentials, which
take more work, the engine has verified by `AccessOptions.verify`, once for each, and
remembers the grants.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Literal, TypeAlias

from scorewire_contract.patterns import Patterns
from scorewire_server.engine.peer import Peer
from scorewire_server.errors import CallError

# The metadata entry with a bearer token, as of RFC 6750, and what stands before the token, in any case.
AUTHORIZATION = "authorization"
_BEARER = b"bearer "
# The longest token. Longer ones are refused unread.
MAX_TOKEN_BYTES = 8192


def bearer_token(values: Sequence[bytes]) -> bytes | None:
    """The token in the only entry of `authorization`; None if there is none, or several, or no token."""
    if len(values) != 1:
        return None
    scheme, token = values[0][: len(_BEARER)], values[0][len(_BEARER) :]
    return token if scheme.lower() == _BEARER and 0 < len(token) <= MAX_TOKEN_BYTES else None


class Right(Enum):
    """What a principal may do with a model."""

    PREDICT = "predict"
    OBSERVE = "observe"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of a rate (GCRA): so many a second, and so many at once after a pause."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalLimits:
    """What a principal may take; None is no limit.

    Attributes:
        calls: calls; each message of a stream of predictions counts as one.
        rows: rows of predictions. They are known once a message is read, so a message is taken while the
            principal has any left, and its rows may leave a debt.
        in_flight: calls at one time, open streams among them.
        share: the weight of the principal where the server is overloaded and principals compete for it.
    """

    calls: Rate | None = None
    rows: Rate | None = None
    in_flight: int | None = None
    share: float = 1.0


_NOTHING = Patterns()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a name of the access file, with rights and limits."""

    name: str
    rights: Mapping[Right, Patterns] = field(default_factory=dict)
    limits: PrincipalLimits = PrincipalLimits()

    def may(self, right: Right, model: str) -> bool:
        """Whether the principal has a right to a model, which need not exist."""
        return self.rights.get(right, _NOTHING).match(model)

    def may_know(self, model: str) -> bool:
        """Whether the principal has any right to a model, and so may know of it and its schema."""
        return any(patterns.match(model) for patterns in self.rights.values())


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid credential gives.

    Attributes:
        principal: who calls.
        expires: when the credential ends, in seconds since 1970; None is never.
    """

    principal: Principal
    expires: float | None = None

    @property
    def expired(self) -> bool:
        """Whether the credential has ended."""
        return self.expires is not None and time() >= self.expires


@dataclass(frozen=True, slots=True)
class Credential:
    """What the control plane has to verify.

    Attributes:
        kind: token, a bearer token without its prefix, or certificate, in DER.
        value: the token or the certificate.
        peer: the other end of the connection.
    """

    kind: Literal["token", "certificate"]
    value: bytes = field(repr=False)
    peer: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTable:
    """All that the access file says, but for what `AccessOptions.verify` needs.

    Attributes:
        principals: all principals, by name.
        keys: the grants of API keys, by the SHA-256 of the whole key (32 bytes).
        failures: the limit of credentials of one address that have to be verified and fail.
        open_paths: the methods that need no credential. A call of one has no principal, whatever it shows.
    """

    principals: Mapping[str, Principal]
    keys: Mapping[bytes, Grant] = field(repr=False)
    failures: Rate = Rate(100, 200)
    open_paths: frozenset[str] = frozenset()


# Verifies a credential that is no API key: gives its grant, or None. It takes the same time for all that it
# refuses, and never raises. It is to be called from the event loop.
Verify: TypeAlias = Callable[[Credential], Awaitable[Grant | None]]
# Learns of a call that was refused before the control plane heard of it: its path, from where it came, who
# called if that was found out, and why.
Refused: TypeAlias = Callable[[str, Peer, Principal | None, CallError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessOptions:
    """How an engine finds out who calls. Without these options, everybody may call.

    Attributes:
        table: the principals and their keys; `Engine.use_access` replaces it.
        verify: verifies other credentials.
        refused: learns of refused calls of the paths in `audited`; the engine bounds how often.
        audited: the paths whose refusals are told to `refused`.
    """

    table: AccessTable
    verify: Verify
    refused: Refused
    audited: frozenset[str]

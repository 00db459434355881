"""The interface between engines and the control plane.

An engine owns the socket and answers predictions from the last snapshot. It hands
every other call, as bytes, to a control method. Control methods are written once for
all engines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from scorewire_server.engine.access import AccessTable, Principal
from scorewire_server.engine.context import CallContext
from scorewire_server.engine.recording import NO_SOURCES, RecordCounts, Sources
from scorewire_server.engine.snapshot import LoadedVersion, Snapshot
from scorewire_server.engine.statistics import Statistics
from scorewire_server.engine.tracing import TraceQueue


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A control method with one request and one answer; the handler raises `CallError`s."""

    path: str
    handler: Callable[[bytes, CallContext], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A control method with many requests or many answers; the handler raises `CallError`s.

    An engine that stops ends the handler's iteration, and the caller sees the call end
    with OK.
    """

    path: str
    handler: Callable[[AsyncIterator[bytes], CallContext], AsyncIterator[bytes]]


ControlMethod: TypeAlias = UnaryMethod | StreamMethod


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its private key, as PEM, and how certificates of clients are verified.

    Attributes:
        chain: the certificates, the server's own first.
        key: the private key.
        not_before: when the server's certificate becomes valid.
        not_after: when the server's certificate expires.
        client_ca: the authorities of clients' certificates, as PEM; None if clients are not asked for one.
        client_crl: the revocation lists of these authorities, as PEM; None without lists.
    """

    chain: bytes
    key: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime
    client_ca: bytes | None = None
    client_crl: bytes | None = None


class Engine(Protocol):
    """What answers calls."""

    @property
    def statistics(self) -> Statistics:
        """The statistics so far; any thread may ask for them."""
        ...

    @property
    def records(self) -> RecordCounts | None:
        """What became of the rows so far, also after `stop`; None if the engine does not record.

        Any thread may ask.
        """
        ...

    @property
    def traces(self) -> TraceQueue | None:
        """The traced calls that have ended, also after `stop`; None if the engine does not trace."""
        ...

    async def start(self) -> str:
        """Bind the address and answer calls.

        Returns:
            The real address as HOST:PORT.

        Raises:
            StartError: the address or the certificate cannot be used.
        """
        ...

    def prepare(self, version: LoadedVersion) -> None:
        """Prepare for a version that will be published; any thread may call.

        Raises:
            Exception: this engine cannot hold the version.
        """
        ...

    def publish(self, snapshot: Snapshot, *, loading: bool = False, sources: Sources = NO_SOURCES) -> None:
        """Answer new calls from this snapshot; tell no statistics of versions that it does not have.

        Args:
            snapshot: the new snapshot.
            loading: whether the first bundles are still being loaded. Predictions for models that are
                not in the snapshot then wait, up to their deadlines, until `loading` is false.
            sources: what is recorded of each route of the snapshot; nothing of other routes.
        """
        ...

    def use_certificate(self, certificate: Certificate) -> None:
        """Show a certificate to new connections, and verify their clients'; open connections go on.

        Raises:
            StartError: this engine cannot use the certificate; it keeps the one before.
        """
        ...

    def use_access(self, table: AccessTable) -> None:
        """Ask callers for credentials of a new table. Only for an engine that was made with `AccessOptions`.

        Remembered grants end: each credential that is no API key is verified again at its next call, and
        within a second for open streams. A stream whose credential is valid no more ends as UNAUTHENTICATED.
        """
        ...

    def count_denied(self, principal: Principal) -> None:
        """Count a control call that was refused for a missing right. Only with `AccessOptions`, too."""
        ...

    def in_use(self, version: LoadedVersion) -> bool:
        """Whether a call or a copy for a shadow still uses a version that the last snapshot may lack."""
        ...

    async def stop(self, grace_seconds: float) -> None:
        """Ask clients to begin no more calls, answer the calls that still come, then close.

        Calls that are open when the grace is over fail as DRAINING. At the end the spool
        of records is written and closed.
        """
        ...
